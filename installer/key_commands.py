"""``keys snapshot`` and ``keys check``: look at the keys that must survive, outside any rollout.

A check that finds every key kept settles an alarm. Nothing else does, but a person who records a key
anew and says so: ``keys snapshot --accept NAME --reason TEXT``, which stays in the journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from teraferry.bundles.errors import UsageError
from teraferry.installer.ports import Journal
from teraferry.installer.rollout import key_journal
from teraferry.installer.rollout.execute import RunRecord
from teraferry.installer.rollout.key_gate import lost_error, undecided_error
from teraferry.keys.continuity.judge import Comparison, KeyFacts
from teraferry.keys.continuity.watch import KeyWatch


def check_keys(watch: KeyWatch, journal: Journal, record: RunRecord) -> Mapping[str, object]:
    """Compare every recorded key with what is there now.

    Raises:
        KeyContinuityError: 61 ``key-continuity-lost``.
        RefusedError: 40 ``key-continuity-undecided``.
        UsageError: ``keys-not-recorded``, 2.
    """
    recorded = key_journal.recorded_of(journal.replay())
    missing = [name for name in watch.names if name not in recorded]
    if missing or not recorded:
        raise UsageError(
            "keys-not-recorded",
            f"keys {', '.join(missing) or 'of site.toml'}: never recorded, expected a record to compare with",
            hint="Type: teraferry-installer keys snapshot",
            facts={"missing": missing},
        )
    found = watch.compare(recorded)
    _note(record, found, "keys check")
    _require_intact(found, "keys check")
    return key_journal.fields_of(found)


def record_keys(
    watch: KeyWatch, journal: Journal, record: RunRecord, *, backups: Path, accept: Sequence[str], reason: str
) -> Mapping[str, object]:
    """Record every declared key that is not recorded yet, and those that are accepted as they are now.

    Args:
        watch: The declared keys.
        journal: Where records are.
        record: Writes the new one.
        backups: Folder for copies of wrapped blobs; they are made first.
        accept: Names of keys to record anew, whatever was recorded of them; one that is not declared any more
            is forgotten.
        reason: Why; stays in the journal.

    Raises:
        KeyContinuityError: 61: a recorded key, not accepted, is lost or changed.
        RefusedError: 40: a key could not be asked, or is not there to be recorded.
        UsageError: 2; ``key-unknown``, ``keys-not-declared``.
    """
    recorded = key_journal.recorded_of(journal.replay())
    _require_known(watch, recorded, accept)
    kept = {name: facts for name, facts in recorded.items() if name not in accept}
    found = watch.compare(kept)
    _note(record, found, "keys snapshot")
    _require_intact(found, "keys snapshot")
    facts = {name: kept.get(name) or watch.record(name) for name in watch.names}
    copied = watch.back_up(backups)
    record.note(
        key_journal.RECORDED,
        "keys snapshot",
        **key_journal.facts_of_record(facts.values(), accepted=accept, reason=reason),
    )
    return {
        **key_journal.fields_of(found),
        "recorded": [name for name in facts if name not in kept],
        "keys": [
            {"name": each.name, "node": each.node, "store": each.store, "proof": each.proof, "identity": each.identity}
            for each in facts.values()
        ],
        "backups": sorted(set(copied.values())),
    }


def _require_known(watch: KeyWatch, recorded: Mapping[str, KeyFacts], accept: Sequence[str]) -> None:
    if not watch.names and not recorded:
        raise UsageError(
            "keys-not-declared",
            "site file: no [[key]], expected the keys that must survive",
            hint="Describe each of them in site.toml under [[key]]: docs/keys.md",
        )
    for name in accept:
        if name not in recorded and name not in watch.names:
            raise UsageError(
                "key-unknown",
                f"key {name[:80]}: neither recorded nor in site.toml, expected one of "
                f"{', '.join(sorted({*recorded, *watch.names}))}",
                hint="Type the name as `teraferry-installer keys check` shows it.",
            )


def _note(record: RunRecord, found: Comparison, when: str) -> None:
    facts = key_journal.facts_of_comparison(found)
    if found.lost or found.changed:
        record.note(key_journal.LOST, when, **facts)
    elif found.undecided:
        record.note(key_journal.UNDECIDED, when, **facts)
    elif found.kept:
        record.note(key_journal.KEPT, when, **facts)


def _require_intact(found: Comparison, when: str) -> None:
    if found.lost or found.changed:
        raise lost_error(found, when)
    if found.undecided:
        raise undecided_error(found, when, touched=False)
