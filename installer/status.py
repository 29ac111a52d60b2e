"""What runs here, what is half done, and what to type next: read from the journal alone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from teraferry.installer.ports import Entry
from teraferry.installer.rollout.blue_green_journal import BACKWARDS, pending_of, was_cut_over
from teraferry.installer.rollout.blue_green_plan import COMMIT
from teraferry.installer.rollout.execute import DONE, ENDED, FAILED, INTENT, ROLLBACK, UNDONE
from teraferry.installer.rollout.key_journal import alarms_of
from teraferry.installer.rollout.plan import BRING_UP, DRAIN, PATCH, REBALANCE
from teraferry.installer.rollout.runs import OpenRun, installed_version_of, open_run_of

ROLLBACK_PREFIX = "rollback "
"""Stands before the id of a step that brings a node back."""


@dataclass(frozen=True, slots=True)
class Status:
    """A site's state in the words of a person."""

    release: str | None  # the version the last complete install brought in
    state: str  # "nothing installed", "installed", "half done", "rolling back", "rolled back",
    # "cut over, not committed", "pending recovery", "key continuity lost"
    next: str  # what to type
    half_done: str | None  # the version of the run that is open
    finished_nodes: tuple[str, ...]  # of the open run: on its version, and the cluster was whole again after them
    node_in_hand: str | None
    last_failure: str | None
    keys_lost: tuple[str, ...] = ()  # "Company_Key on vol-1: ...": an alarm that stands
    pending: str | None = None  # tier 2: writes that wait on a cluster that died


def status_of(entries: Sequence[Entry]) -> Status:
    """Return where the site is, from its journal. A lost key comes before everything else."""
    seen = _rollout_status(entries)
    alarms = alarms_of(entries)
    if not alarms:
        return seen
    return replace(
        seen,
        state="key continuity lost",
        next="teraferry-installer keys check, once the key is found or brought back; touch nothing else",
        keys_lost=tuple(f"{alarm.key} on {alarm.node}: {alarm.found} (seen {alarm.when})" for alarm in alarms),
    )


def _rollout_status(entries: Sequence[Entry]) -> Status:
    installed = installed_version_of(entries)
    unfinished = open_run_of(entries)
    if unfinished is None and (pending := pending_of(entries)) is not None:
        what = f"teraferry-installer rollback, once {pending.cluster} is back; leave its disks alone until then"
        return Status(installed, "pending recovery", what, None, (), None, None, pending=pending.summary())
    if unfinished is None:
        outcomes = [entry.facts.get("outcome") for entry in entries if entry.event == ENDED]
        state = "rolled back" if outcomes[-1:] == ["rolled-back"] else "installed" if installed else "nothing installed"
        return Status(installed, state, "teraferry-installer install KIT", None, (), None, None)
    own = [entry for entry in entries if entry.run == unfinished.run]
    finished, in_hand = _nodes(own)
    if "standby" in unfinished.facts:
        return _blue_green(installed, unfinished, own)
    is_rolling_back = any(entry.event == ROLLBACK for entry in own)
    failures = [str(entry.facts.get("message")) for entry in own if entry.event == FAILED]
    version = str(unfinished.facts.get("version", "the release before"))
    is_backwards = unfinished.run.startswith(BACKWARDS)
    goes_on = f"teraferry-installer install KIT with the kit of {version}: it goes on from here"
    if is_backwards:
        goes_on = "teraferry-installer rollback: it goes on from here"
    elif not is_rolling_back:
        goes_on += "; or teraferry-installer rollback"
    return Status(
        installed,
        "rolling back" if is_rolling_back or is_backwards else "half done",
        goes_on,
        version,
        finished,
        in_hand,
        failures[-1] if failures else None,
    )


def _blue_green(installed: str | None, unfinished: OpenRun, own: Sequence[Entry]) -> Status:
    """Return where an interrupted run of tier 2 is."""
    version = unfinished.facts.get("version")
    if any(entry.event == ROLLBACK for entry in own):
        state = "rolling back"
    else:
        state = "cut over, not committed" if was_cut_over(own) else "half done"
    is_committed = any(entry.event == DONE and entry.step == COMMIT for entry in own)
    if is_committed:
        state = "committed, connections of the other side are not cut yet"
    goes_on = f"teraferry-installer install KIT with the kit of {version}: it goes on from here"
    what = f"{goes_on}; or teraferry-installer rollback" if was_cut_over(own) and not is_committed else goes_on
    if unfinished.run.startswith(BACKWARDS):
        what = "teraferry-installer rollback: it goes on from here"
    begun = {entry.step for entry in own if entry.event == INTENT}
    done = {entry.step for entry in own if entry.event == DONE}
    nodes = [step.partition(" ")[2] for step in sorted(begun) if step.startswith(BRING_UP)]
    finished = tuple(node for node in nodes if f"{BRING_UP} {node}" in done)
    in_hand = next((node for node in nodes if node not in finished), None)
    failures = [str(entry.facts.get("message")) for entry in own if entry.event == FAILED]
    last = failures[-1] if failures else None
    return Status(installed, state, what, str(version or "the release before"), finished, in_hand, last)


def _nodes(own: Sequence[Entry]) -> tuple[tuple[str, ...], str | None]:
    """Return the nodes that finished, and the one that was touched and is not done, in either direction."""
    finished: list[str] = []
    in_hand: str | None = None
    for entry in own:
        step = entry.step.removeprefix(ROLLBACK_PREFIX)
        action, _, node = step.partition(" ")
        if entry.event == UNDONE or (entry.event == INTENT and action in (DRAIN, PATCH)):
            in_hand = node if entry.event == INTENT else None
            finished = [name for name in finished if name != node]
        elif entry.event == DONE and action == REBALANCE:
            in_hand = None
            if step == entry.step:
                finished.append(node)
    return tuple(finished), in_hand
