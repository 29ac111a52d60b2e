"""What the journal says of keys that must survive: what was recorded, and whether an alarm stands. Pure.

An alarm stands from the entry that says a key is lost or changed until that key was seen to be kept, or
somebody deliberately recorded it anew. While it stands no install begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from teraferry.installer.ports import Entry
from teraferry.installer.rollout.journal import corrupt, fact_of
from teraferry.keys.continuity.judge import Comparison, Finding, KeyFacts

RECORDED: Final = "keys-recorded"
KEPT: Final = "keys-kept"
LOST: Final = "keys-lost"
UNDECIDED: Final = "keys-undecided"


@dataclass(frozen=True, slots=True)
class Alarm:
    """A key that was found lost or changed, and nothing since says otherwise."""

    key: str
    node: str
    found: str  # for people
    when: str  # at which gate


class _Row(msgspec.Struct, frozen=True):
    """One key in an entry about a look at keys."""

    key: str
    node: str
    found: str


def recorded_of(entries: Sequence[Entry]) -> dict[str, KeyFacts]:
    """Return what is recorded of each key now: the newest record, which always holds all of them.

    Raises:
        OperatorNeededError: ``journal-corrupt``, 62: an entry of ours that is none.
    """
    newest = next((entry for entry in reversed(entries) if entry.event == RECORDED), None)
    if newest is None:
        return {}
    try:
        facts = msgspec.convert(fact_of(newest, "keys"), tuple[KeyFacts, ...])
    except msgspec.ValidationError as error:
        raise corrupt(newest.sequence, "no record of keys") from error
    return {each.name: each for each in facts}


def alarms_of(entries: Iterable[Entry]) -> tuple[Alarm, ...]:
    """Return the alarms that stand.

    Raises:
        OperatorNeededError: ``journal-corrupt``, 62: an entry that does not say of which key it is.
    """
    standing: dict[str, Alarm] = {}
    for entry in entries:
        if entry.event == LOST:
            for row in _rows(entry, "lost", "changed"):
                standing[row.key] = Alarm(row.key, row.node, row.found, entry.step)
        elif entry.event == KEPT:
            for row in _rows(entry, "kept"):
                standing.pop(row.key, None)
        elif entry.event == RECORDED:
            accepted: Any = entry.facts.get("accepted", [])
            for name in accepted:
                standing.pop(str(name), None)
    return tuple(standing.values())


def facts_of_record(keys: Iterable[KeyFacts], *, accepted: Sequence[str] = (), reason: str = "") -> dict[str, object]:
    """Return the facts of an entry that records keys; nothing of them is secret."""
    return {"keys": [msgspec.to_builtins(each) for each in keys], "accepted": list(accepted), "reason": reason}


def facts_of_comparison(found: Comparison) -> dict[str, object]:
    """Return the facts of an entry about a look at keys."""
    return {
        kind: [{"key": each.name, "node": each.node, "found": "; ".join(each.reasons)} for each in findings]
        for kind, findings in _kinds(found)
        if findings
    }


def fields_of(found: Comparison) -> dict[str, list[str]]:
    """Return the result fields ``kept``, ``changed``, ``lost`` and ``undecided``: names of keys."""
    return {kind: [each.name for each in findings] for kind, findings in _kinds(found)}


def _kinds(found: Comparison) -> tuple[tuple[str, tuple[Finding, ...]], ...]:
    return ("kept", found.kept), ("changed", found.changed), ("lost", found.lost), ("undecided", found.undecided)


def _rows(entry: Entry, *kinds: str) -> tuple[_Row, ...]:
    facts: Mapping[str, Any] = entry.facts
    rows = [row for kind in kinds for row in facts.get(kind, ())]
    try:
        return msgspec.convert(rows, tuple[_Row, ...])
    except msgspec.ValidationError as error:
        raise corrupt(entry.sequence, f"{entry.event} without its keys") from error
