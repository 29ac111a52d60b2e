"""What a journal tells, in the words of a person. Pure: the same journal gives the same story.

Nothing is summed up that the journal does not say. An event this version has no words for is told by its own name
with its facts, so that a journal written by a newer installer is told whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.digest import Digest
from teraferry.installer.kit_registry.generation import BEGUN, RETURNED
from teraferry.installer.ports import Entry
from teraferry.installer.rollout import blue_green_journal as blue_green
from teraferry.installer.rollout import key_journal
from teraferry.installer.rollout.execute import DONE, ENDED, FAILED, GATE, INTENT, ROLLBACK, STARTED, STOPPED, UNDONE
from teraferry.installer.rollout.journal import head_of
from teraferry.installer.rollout.runs import SUPERSEDED
from teraferry.installer.status import ROLLBACK_PREFIX, Status, status_of
from teraferry.installer.trust.record import ACCEPTED, PINNED, REPLACED

_WORDS: Final = {
    ACCEPTED: "release accepted",
    DONE: "done",
    ENDED: "run ended",
    FAILED: "failed",
    GATE: "looked again",
    INTENT: "begun",
    PINNED: "root pinned",
    REPLACED: "root replaced",
    ROLLBACK: "rollback began",
    STARTED: "run began",
    STOPPED: "stopped by the operator",
    UNDONE: "undone",
    BEGUN: "the site's registry is set up or changed",
    RETURNED: "the site's registry went back to the program before",
    "load-started": "load began",
    "loaded": "images loaded",
    "receipt-made": "receipt made",
    "locks-taken-over": "another machine's locks taken over",
    SUPERSEDED: "a run that was half done is given up",
    blue_green.CONFLICTS: "written on both clusters, and differing",
    blue_green.LAPSED: "new connections went back by themselves: nobody renewed",
    blue_green.PENDING: "writes wait for recovery",
    blue_green.RECOVERED: "writes that waited came home",
    key_journal.KEPT: "keys seen to be kept",
    key_journal.LOST: "KEY LOST",
    key_journal.RECORDED: "keys recorded",
    key_journal.UNDECIDED: "keys could not be judged",
}
_GRAVE: Final = frozenset(
    {
        FAILED,
        ROLLBACK,
        STOPPED,
        REPLACED,
        RETURNED,
        "locks-taken-over",
        key_journal.UNDECIDED,
        blue_green.CONFLICTS,
        blue_green.LAPSED,
        blue_green.PENDING,
    }
)
_OUTCOMES: Final = {"done": "done", "rolled-back": "rolled back: the old release serves"}
_SHOWN_FACT_CHARACTERS: Final = 600


@dataclass(frozen=True, slots=True)
class Line:
    """One entry."""

    sequence: int
    time_utc: str
    words: str
    step: str
    facts: tuple[tuple[str, str], ...]
    weight: str  # "", "grave" or "critical"


@dataclass(frozen=True, slots=True)
class NodeStory:
    """What became of one node in one run."""

    name: str
    began: str | None
    ended: str | None
    outcome: str


@dataclass(frozen=True, slots=True)
class RunStory:
    """One install, from its first entry to its last."""

    run: str
    version: str
    outcome: str
    is_good: bool
    began: str
    ended: str
    facts: tuple[tuple[str, str], ...]  # of its beginning
    nodes: tuple[NodeStory, ...]
    troubles: tuple[Line, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """A whole journal."""

    status: Status
    pending: str  # "3 writes on green"; empty when none wait for recovery
    conflicts_since: str  # the marker after which both clusters were written to; empty when nothing is unresolved
    head: Digest
    entries: int
    first: str
    last: str
    runs: tuple[RunStory, ...]  # the newest first
    between: tuple[Line, ...]  # what belongs to no install: trust, loads, looks at keys


def story_of(entries: Sequence[Entry]) -> Story:
    """Return the story of a journal whose chain was verified."""
    began: dict[str, list[Entry]] = {entry.run: [] for entry in entries if entry.event == STARTED}
    between: list[Entry] = []
    for entry in entries:
        began.get(entry.run, between).append(entry)
    runs = tuple(map(_run_story, began.values()))
    pending = blue_green.pending_of(entries)
    return Story(
        status=status_of(entries),
        pending=pending.summary() if pending is not None else "",
        conflicts_since=blue_green.conflict_marker_of(entries) or "",
        head=head_of(entries),
        entries=len(entries),
        first=_moment(entries[0]) if entries else "",
        last=_moment(entries[-1]) if entries else "",
        runs=runs[::-1],
        between=tuple(map(_line, between)),
    )


def _run_story(entries: Sequence[Entry]) -> RunStory:
    start = next(entry for entry in entries if entry.event == STARTED)
    end = next((entry for entry in entries if entry.event == ENDED), None)
    lines = tuple(_line(entry) for entry in entries)
    return RunStory(
        run=start.run,
        version=str(start.facts.get("version", "")),
        outcome=_outcome(end),
        is_good=end is not None and end.facts.get("outcome") == "done",
        began=_moment(entries[0]),
        ended=_moment(entries[-1]),
        facts=_facts({name: value for name, value in start.facts.items() if name != "nodes"}),
        nodes=_nodes(start, entries, is_over=end is not None),
        troubles=tuple(line for line in lines if line.weight),
        lines=lines,
    )


def _outcome(end: Entry | None) -> str:
    if end is None:
        return "half done"
    said = str(end.facts.get("outcome"))
    return _OUTCOMES.get(said, said)


def _nodes(start: Entry, entries: Sequence[Entry], *, is_over: bool) -> tuple[NodeStory, ...]:
    names = start.facts.get("nodes")
    return tuple(_node_story(str(name), entries, is_over=is_over) for name in names) if isinstance(names, list) else ()


def _node_story(name: str, entries: Sequence[Entry], *, is_over: bool) -> NodeStory:
    own = [entry for entry in entries if entry.step.endswith(f" {name}")]
    if not own:
        return NodeStory(name, None, None, "not touched")
    standing: dict[str, bool] = {}  # step -> whether it is done
    for entry in own:
        if entry.event in (INTENT, DONE):
            standing[entry.step] = entry.event == DONE
        elif entry.event == UNDONE:
            standing.pop(entry.step, None)
    if not standing or any(step.startswith(ROLLBACK_PREFIX) for step, done in standing.items() if done):
        outcome = "brought back to the old release"
    elif all(standing.values()):
        outcome = "done"
    else:
        outcome = "failed" if own[-1].event == FAILED else "given up" if is_over else "in hand"
    return NodeStory(name, _moment(own[0]), _moment(own[-1]), outcome)


def _line(entry: Entry) -> Line:
    weight = "critical" if entry.event == key_journal.LOST else "grave" if entry.event in _GRAVE else ""
    words = _WORDS.get(entry.event, entry.event.replace("-", " "))
    return Line(entry.sequence, _moment(entry), words, entry.step, _facts(entry.facts), weight)


def _facts(facts: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    # No OpenPGP key signed; anything else that is nothing was asked for and could not be told.
    shown = {name: value for name, value in facts.items() if (name, value) != ("openpgp", None)}
    return tuple((name.replace("_", " "), _cut(_text(value))) for name, value in shown.items())


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "cannot be told"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items() if each != "")
    if isinstance(value, list):
        return ("; " if any(isinstance(each, dict) for each in value) else ", ").join(map(_text, value))
    return json.dumps(value)


def _cut(text: str) -> str:
    if len(text) > _SHOWN_FACT_CHARACTERS:
        return f"{text[:_SHOWN_FACT_CHARACTERS]} … ({len(text)} characters; `journal show` has them all)"
    return text


def _moment(entry: Entry) -> str:
    """Return ``2026-11-26 01:31:54`` of RFC 3339: microseconds help nobody."""
    return entry.time_utc[:19].replace("T", " ")
