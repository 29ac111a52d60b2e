"""The gate that keys must pass: before any step, around every node, after a rollback, at the end.

A key that is lost or changed stops everything: no node is put back, none is rolled back, none is
touched further, and the alarm stands in the journal until somebody settles it. A key that could not
be asked halts as well, since that is no pass; the next install asks again. Both tiers use this gate.

Source: ``docs/keys.md``, section "When keys are checked".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from teraferry.bundles.errors import Fact, OperatorNeededError, RefusedError, TeraFerryError
from teraferry.bundles.progress import Progress
from teraferry.installer.ports import Entry, Journal
from teraferry.installer.rollout import key_journal
from teraferry.installer.rollout.execute import RunRecord
from teraferry.installer.rollout.plan import TOUCHES
from teraferry.keys.continuity.judge import Comparison, Finding, KeyFacts
from teraferry.keys.continuity.recovery import Recovery, require_recoverable
from teraferry.keys.continuity.watch import KeyWatch

CHECK_HINT = (
    "Touch nothing. Find the key on that node, or bring it back from its recovery copy; the wrapped blobs are in "
    "key-backups of the state folder. Then type: teraferry-installer keys check"
)


class KeyContinuityError(OperatorNeededError):
    """61: a key is lost or changed. 60: it could not be decided half-way. Nobody may put things right by himself."""


class KeyGate:
    """The keys of one site, between a rollout and everything it would touch next.

    Args:
        watch: The declared keys.
        journal: Where records and alarms are; the one that the rollout writes to.
        backups: Folder for copies of wrapped blobs.
        recoveries: Key name -> how it could be brought back.
        progress: Told of every look.
    """

    def __init__(
        self,
        watch: KeyWatch,
        journal: Journal,
        *,
        backups: Path,
        recoveries: Mapping[str, Recovery],
        progress: Progress,
    ) -> None:
        self._watch = watch
        self._journal = journal
        self._backups = backups
        self._recoveries = recoveries
        self._progress = progress

    @property
    def watch(self) -> KeyWatch:
        """The keys themselves."""
        return self._watch

    def recorded(self) -> dict[str, KeyFacts]:
        """Return what is recorded of each key now."""
        return key_journal.recorded_of(self._journal.replay())

    def require_ready(self, record: RunRecord) -> dict[str, KeyFacts]:
        """Ask everything that can refuse before the first step, and return what is to be recorded.

        1. No alarm stands. 2. Every recorded key is kept. 3. Every declared key is there and proves itself.
        4. Every one could be brought back, or somebody wrote down to do without.

        Raises:
            KeyContinuityError: 61 ``key-continuity-lost``, 60 ``key-continuity-undecided``.
            RefusedError: 40; ``key-recovery-unproven``, ``key-absent``, ``key-continuity-undecided`` ...
        """
        require_no_alarm(self._journal.replay())  # 1
        recorded = self.recorded()
        if not recorded and not self._watch.names:
            return {}
        self._require(record, self._watch.compare(recorded), "before the first step", silent=not record.entries())  # 2
        facts = {name: recorded.get(name) or self._watch.record(name) for name in self._watch.names}  # 3
        for name in self._watch.names:
            require_recoverable(facts[name], self._recoveries[name])  # 4
        return facts

    def foresee(self) -> tuple[list[dict[str, str | bool]], str]:
        """Return each declared key and how it could be brought back, and what the gate sees now; writes nothing.

        Raises:
            RefusedError: 40; ``key-recovery-unproven``, ``key-absent``, or a key that could not be asked at all.
        """
        recorded = self.recorded()
        rows: list[dict[str, str | bool]] = []
        for name in self._watch.names:
            facts = recorded.get(name) or self._watch.record(name)
            recovery = require_recoverable(facts, self._recoveries[name])
            row = {"name": name, "node": facts.node, "store": facts.store, "proof": facts.proof, "recovery": recovery}
            rows.append({**row, "recorded": name in recorded})
        found = self._watch.compare(recorded)
        worst = (*found.lost, *found.changed, *found.undecided)
        if worst:
            return rows, "refused: " + "; ".join(f"key {each}" for each in worst)
        return rows, f"{len(rows)} keys kept" if rows else "no key is declared"

    def examine(self, name: str) -> str:
        """Return what is well with one key, for ``doctor``; writes nothing.

        Raises:
            KeyContinuityError: 61. RefusedError: 40; ``key-recovery-unproven`` and whatever else is wrong with it.
        """
        recorded = self.recorded().get(name)
        if recorded is not None:
            found = self._watch.compare({name: recorded})
            if found.lost or found.changed:
                raise lost_error(found, "now")
            if found.undecided:
                raise undecided_error(found, "now", touched=False)
        facts = recorded or self._watch.record(name)
        recovery = require_recoverable(facts, self._recoveries[name])
        said = self._watch.said_of(name)
        known = "as recorded" if recorded is not None else "never recorded: `teraferry-installer keys snapshot`"
        proof = f"proved by {facts.proof}" + (f" ({said})" if said else "")
        return f"there, {known}, {proof}; {recovery}"

    def back_up(self) -> None:
        """Copy every wrapped blob to the state folder, durably; what is there already is left.

        Raises:
            RefusedError: ``key-backup-failed``, 44: nothing may be begun.
        """
        self._watch.back_up(self._backups)

    def begin(self, record: RunRecord, facts: Mapping[str, KeyFacts]) -> None:
        """Write the record of the keys, once a run."""
        if facts and not any(entry.event == key_journal.RECORDED for entry in record.entries()):
            record.note(key_journal.RECORDED, "before the first step", **key_journal.facts_of_record(facts.values()))

    def require_kept(self, record: RunRecord, when: str, *, node: str | None = None) -> None:
        """Look at keys, and go on only when each was seen to be kept.

        Args:
            record: The run this look belongs to.
            when: For the journal and for people: "after vol-2".
            node: Only keys on this node; all when None.

        Raises:
            KeyContinuityError: 61 ``key-continuity-lost``; 60 ``key-continuity-undecided``.
            RefusedError: 40 ``key-continuity-undecided``: and no node was touched yet.
        """
        recorded = self.recorded()
        wanted = self._watch.names if node is None else self._watch.on_node(node)
        names = {*wanted, *(name for name, facts in recorded.items() if node is None or facts.node == node)}
        if names:
            known = [name for name in recorded if name in names]
            found = self._watch.compare(recorded, names=known)
            # Without a record there is nothing to compare with, and that is no pass.
            unknown = [
                Finding(name, node or "its node", ("it was never recorded",)) for name in sorted(names - {*known})
            ]
            self._require(record, replace(found, undecided=(*found.undecided, *unknown)), when)

    def _require(self, record: RunRecord, found: Comparison, when: str, *, silent: bool = False) -> None:
        if found.lost or found.changed:
            record.note(key_journal.LOST, when, **key_journal.facts_of_comparison(found))
            raise lost_error(found, when)
        if found.undecided:
            record.note(key_journal.UNDECIDED, when, **key_journal.facts_of_comparison(found))
            raise undecided_error(found, when, touched=_has_touched(record))
        if found.kept and not silent:
            # Silent before a run is opened: a later gate may still refuse, and then nothing was written.
            record.note(key_journal.KEPT, when, **key_journal.facts_of_comparison(found))
            names = ", ".join(each.name for each in found.kept)
            self._progress.say("gate", f"keys {when}: {names} kept", when=when)


def require_no_alarm(entries: Sequence[Entry]) -> None:
    """Refuse while a key is known to be lost or changed, and nobody settled it.

    Raises:
        KeyContinuityError: ``key-continuity-lost``, 61.
    """
    alarms = key_journal.alarms_of(entries)
    if alarms:
        found = Comparison(lost=tuple(Finding(each.key, each.node, (each.found,)) for each in alarms))
        raise lost_error(found, alarms[0].when)


def lost_error(found: Comparison, when: str) -> KeyContinuityError:
    """Return the alarm: which key, which node, what was seen."""
    worst = (*found.lost, *found.changed)
    told = "; ".join(f"key {each}" for each in worst)
    return KeyContinuityError(
        "key-continuity-lost",
        f"CRITICAL: {told} (seen {when}), expected it to survive; no further node is touched",
        hint=CHECK_HINT,
        exit_status=61,
        facts={**_facts(found), "key": worst[0].name, "node": worst[0].node, "when": when},
    )


def undecided_error(found: Comparison, when: str, *, touched: bool) -> TeraFerryError:
    """Return why it halts: a key could not be asked, which is no pass and no loss."""
    told = "; ".join(f"key {each}" for each in found.undecided)
    message = f"{told} (asked {when}): it could not be decided whether it is kept; no further node is touched"
    hint = "The key is not known to be lost. Mend what stands in the way, then type the same command again."
    first = found.undecided[0]
    facts: dict[str, Fact] = {**_facts(found), "key": first.name, "node": first.node, "when": when}
    if touched:
        return KeyContinuityError("key-continuity-undecided", message, hint=hint, exit_status=60, facts=facts)
    return RefusedError("key-continuity-undecided", message, hint=hint, exit_status=40, facts=facts)


def _facts(found: Comparison) -> dict[str, Fact]:
    return dict(key_journal.fields_of(found))


def _has_touched(record: RunRecord) -> bool:
    return any(action in step_id for step_id in record.begun() for action in TOUCHES)
