"""``rollback`` of a tier 2 site: whatever is half done goes back, what waits comes home, or the old side stands again.

1. An install that was interrupted after its cutover: new connections go back, its writes come home.
2. Writes that wait on the disks of a cluster that died: it is back now, and they are merged.
3. Neither: the standby, which kept the release before, is cut over to as an install would, window and all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from teraferry.bundles.errors import Fact, RefusedError, RolledBackError
from teraferry.bundles.progress import Progress
from teraferry.installer.ports import Entry, Journal, Lock
from teraferry.installer.rollout.blue_green import execute_blue_green_switch, roll_back_run
from teraferry.installer.rollout.blue_green_cut import require_can_cut
from teraferry.installer.rollout.blue_green_journal import (
    BACKWARDS,
    CONFLICTS,
    RECOVERED,
    PendingRecovery,
    brought_to,
    cluster_of,
    committed_of,
    marker_of,
    outcome_of,
    pending_of,
)
from teraferry.installer.rollout.blue_green_parts import BlueGreenParts
from teraferry.installer.rollout.blue_green_plan import other_cluster
from teraferry.installer.rollout.blue_green_way_back import drain_home, pending_writes
from teraferry.installer.rollout.blue_green_window import let_go
from teraferry.installer.rollout.execute import ENDED, STARTED, Clock, RunRecord
from teraferry.installer.rollout.plan import Plan
from teraferry.installer.rollout.runs import OpenRun, held_for_run, open_run_of


@dataclass(frozen=True, slots=True)
class RollbackParts:
    """The hands of a rollback; ``cli`` puts the adapters in."""

    journal: Journal
    lock: Lock
    clock: Clock
    progress: Progress
    switch: BlueGreenParts
    plan_back: Callable[[str], Plan]  # cluster -> the steps that cut over to it
    confirm: Callable[[str], None]  # asks the operator; raises to stop


def roll_back(parts: RollbackParts) -> Mapping[str, Fact]:
    """Roll back what there is to roll back, and say what was done.

    Returns:
        The result fields: ``did``, and what became of the writes.

    Raises:
        RefusedError: 40-43. RolledBackError: 50: the cutover to the release before failed, and was taken back.
        OperatorNeededError: 60-62.
    """
    entries = parts.journal.replay()
    unfinished, pending = open_run_of(entries), pending_of(entries)
    if unfinished is not None and "standby" not in unfinished.facts:
        raise _nothing(f"run {unfinished.run} is of tier 1")
    backwards = unfinished is not None and unfinished.run.startswith(BACKWARDS)
    if unfinished is not None and not backwards:
        _require_not_committed(parts, unfinished)
        parts.confirm(f"Roll back the interrupted install of {unfinished.facts.get('version')}?")
        let_go(parts.switch)  # Clients first: a cluster that died must not keep them while its nodes are asked for.
        with held_for_run(parts.lock, parts.journal):
            return _end_interrupted(parts, unfinished)
    if pending is not None and not backwards:
        with held_for_run(parts.lock, parts.journal):
            return _recover(parts, pending)
    committed = committed_of(entries)
    if not backwards and committed.run.startswith(BACKWARDS):
        # Typed once more, it would bring the very release back that somebody wanted to be rid of.
        raise _nothing("the release before stands already")
    if not backwards and not committed.run:
        raise _nothing("no tier 2 install was ever committed")
    with held_for_run(parts.lock, parts.journal):
        return _cut_back(parts, entries, unfinished)


def _require_not_committed(parts: RollbackParts, unfinished: OpenRun) -> None:
    standby = cluster_of(unfinished.first, "standby")
    if parts.switch.switch.observe().standing == standby:
        raise RefusedError(
            "commit-begun",
            f"run {unfinished.run}: {standby} stands already, expected a run that is not committed",
            hint=f"Type install with the kit of {unfinished.facts.get('version')}: it ends the run. Then type: "
            "teraferry-installer rollback",
            facts={"run": unfinished.run, "standing": standby},
        )


def _end_interrupted(parts: RollbackParts, unfinished: OpenRun) -> Mapping[str, Fact]:
    standby = cluster_of(unfinished.first, "standby")
    record = RunRecord(parts.journal, run=unfinished.run, clock=parts.clock)
    done = roll_back_run(parts.plan_back(standby), parts.switch, record, reason="a person asked for it")
    record.note(ENDED, outcome="rolled-back")
    parts.progress.say("rolled-back", done.message)
    return {"did": "rolled-back", **done.facts}


def _recover(parts: RollbackParts, pending: PendingRecovery) -> Mapping[str, Fact]:
    cluster, record = pending.cluster, RunRecord(parts.journal, run=pending.run, clock=parts.clock)
    waiting = pending_writes(parts.switch, cluster)
    parts.confirm(f"Merge the writes that wait on {cluster} into {other_cluster(cluster)}?")
    drain_home(parts.switch, cluster, marker=f"{marker_of(record.run)}-recovery")
    left = pending_writes(parts.switch, cluster)
    if left is None or left:
        raise RefusedError(
            "pending-recovery",
            f"{cluster}: {'writes that cannot be told' if left is None else len(left)} still wait, expected none",
            hint=f"See that {cluster} is wholly back and replication runs, then type: teraferry-installer rollback",
            facts={"cluster": cluster, "pending": None if left is None else len(left)},
        )
    clashes = list(parts.switch.replicator.conflicts(marker=marker_of(record.run)))
    if clashes:
        record.note(CONFLICTS, marker=marker_of(record.run), count=len(clashes), names=clashes[:100])
    merged = pending.count if waiting is None else len(waiting)
    record.note(RECOVERED, cluster=cluster, merged=merged)
    return {"did": "recovered", "cluster": cluster, "merged": merged, "conflicts": clashes[:100]}


def _cut_back(parts: RollbackParts, entries: Sequence[Entry], unfinished: OpenRun | None) -> Mapping[str, Fact]:
    standing = committed_of(entries).cluster
    standby = cluster_of(unfinished.first, "standby") if unfinished else other_cluster(standing)
    run = unfinished.run if unfinished else f"{BACKWARDS}{len(entries) + 1}"
    record = RunRecord(parts.journal, run=run, clock=parts.clock)
    brought: Mapping[str, Any] = brought_to(entries, standby)
    version = str(brought.get("version", "what was there before the first install"))
    keys = parts.switch.keys.require_ready(record)
    if unfinished is None:
        parts.switch.compliance.require_open()
        require_can_cut(parts.switch)
    parts.confirm(f"Cut over from {other_cluster(standby)} to {standby}, which runs {version}?")
    if not any(entry.event == STARTED for entry in record.entries()):
        record.note(STARTED, "", **{**brought, "tier": "2", "active": other_cluster(standby), "standby": standby})
    parts.switch.keys.begin(record, keys)
    try:
        execute_blue_green_switch(parts.plan_back(standby), parts.switch, record)
    except RolledBackError:
        record.note(ENDED, outcome="rolled-back")
        raise
    parts.switch.keys.require_kept(record, "at the end")
    record.note(ENDED, outcome="done")
    told = outcome_of(record.entries())
    return {"did": "cut-back", "standing": standby, "version": version, **told}


def _nothing(found: str) -> RefusedError:
    return RefusedError(
        "nothing-to-roll-back",
        f"rollback: {found}, expected a tier 2 install to roll back",
        hint='See `teraferry-installer status`. A tier 1 install rolls back by itself, with on_failure = "rollback".',
    )
