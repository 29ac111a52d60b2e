"""Tier 1: one node at a time, and only while the cluster's health is exactly 100 %.

A node that comes back wrong is put back on its old version before anything else is decided;
then the run stops, or rolls all back, as the site says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from teraferry.bundles.digest import Digest
from teraferry.bundles.errors import OperatorNeededError, RolledBackError, TeraFerryError
from teraferry.installer.rollout import plan as planning
from teraferry.installer.rollout.execute import ROLLBACK, STOPPED, UNDONE, RunRecord, execute
from teraferry.installer.rollout.gates import Baseline
from teraferry.installer.rollout.key_gate import KeyContinuityError
from teraferry.installer.rollout.plan import Plan, Step
from teraferry.installer.rollout.rolling_parts import (
    Countdown,
    RollingParts,
    check_cluster_health,
    require_full_health,
)
from teraferry.installer.rollout.rolling_steps import RollingSteps, node_failed
from teraferry.installer.rollout.runs import patched_by
from teraferry.installer.rollout.smoke import SmokeFailedError
from teraferry.installer.rollout.staging import lengths_bytes_of, stage_together
from teraferry.installer.rollout.stopping import StoppedByOperatorError, may_halt_before


def execute_rolling_update(plan: Plan, parts: RollingParts, record: RunRecord, *, baseline: Baseline) -> None:
    """Roll ``plan`` out, or go on with a run that was interrupted.

    Raises:
        RefusedError: 40, a gate refused and no node was touched.
        StoppedByOperatorError: 43, somebody asked for a stop; no node is out of the cluster by our doing.
        RolledBackError: 50, ``node-failed-rolled-back``; every node serves on its old version.
        OperatorNeededError: 60, ``halted-half-way``: mixed versions, no further node is touched.
        KeyContinuityError: 61, 60: a key is lost, or it could not be decided; nothing is put back.
    """
    roll = _Rolling(plan, parts, record, baseline)
    if record.is_rolling_back():
        roll.roll_back("an earlier run began to roll back")
    try:
        roll.roll_out()
    except (StoppedByOperatorError, KeyContinuityError):
        # Stopped: nothing failed, and the next install goes on from here. A key is lost, or nobody can tell:
        # putting nodes back would touch more of them, and could destroy what is left of the key.
        raise
    except TeraFerryError as error:
        roll.settle_failure(error)
        raise


def take_back(plan: Plan, parts: RollingParts, record: RunRecord, *, baseline: Baseline) -> None:
    """Take back an interrupted run because a person asks for it: the node in hand first, then those that are done.

    Args:
        plan: Of every node of the run that was touched; its digests do not matter.
        parts: The hands.
        record: The run.
        baseline: Of its beginning.

    Raises:
        OperatorNeededError: 60. KeyContinuityError: 60, 61. RefusedError: 40: a node did not come back.
    """
    roll = _Rolling(plan, parts, record, baseline)
    reason = "a person asked for it"
    if not record.is_rolling_back():
        try:
            roll.put_back_in_hand()
        except KeyContinuityError:
            raise
        except TeraFerryError as error:
            raise _rollback_halted(error, reason) from error
    try:
        roll.roll_back(reason)
    except RolledBackError:
        return


class _Rolling:
    """One run: its plan, and what becomes of it when a node fails."""

    def __init__(self, plan: Plan, parts: RollingParts, record: RunRecord, baseline: Baseline) -> None:
        self._plan = plan
        self._parts = parts
        self._record = record
        self._baseline = baseline
        self._steps = RollingSteps(parts, record, baseline)

    def roll_out(self) -> None:
        """Carry the plan out."""
        self._steps.reopen(self._plan)
        actions, parts = self._steps.actions(self._plan), self._parts
        stage_together(
            actions,
            self._record,
            parts.progress,
            lengths_bytes=lengths_bytes_of(self._plan),
            jobs=parts.staging_jobs,
            before_step=self._halt_if_asked,
        )
        in_turn = self._steps.in_order(actions, self._plan)
        execute(in_turn, self._record, parts.progress, before_step=self._halt_if_asked)

    def _halt_if_asked(self, step: Step) -> None:
        if not may_halt_before(step, mode=self._parts.mode):
            return
        try:
            self._parts.require_not_stopped()
        except StoppedByOperatorError:
            self._record.note(STOPPED, step.id)
            raise

    def settle_failure(self, error: TeraFerryError) -> None:
        """Put the node in hand back on its old version if it is wrong; then stop or roll all back, as the site says.

        Raises:
            RolledBackError: 50. OperatorNeededError: 60. Returns when no node was touched.
        """
        old = patched_by(self._record)
        in_hand = next((node for node in self._plan.nodes if self._is_in_hand(node)), None)
        if not old and in_hand is None:
            # Shards may have moved, or a node may have left; while health is 100 %, nothing is lost by that.
            if any(planning.DRAIN in step_id for step_id in self._record.begun()) and not self._healthy():
                raise self._halted(error, old)
            return
        if in_hand is not None and (_is_smoke_of(in_hand, error) or self._is_wrong(in_hand)):
            try:
                self._restore(in_hand, old)
            except KeyContinuityError:
                raise
            except TeraFerryError as second:
                raise self._halted(error, old, f"; {in_hand} could not be put back: {second.message}") from error
            old = {key: digest for key, digest in old.items() if key[0] != in_hand}
            if not old and self._healthy():
                raise RolledBackError(
                    "node-failed-rolled-back",
                    f"node {in_hand}: {error.message}; it is back on its old version and the cluster is at 100 %",
                    hint="Find out why with the node's own log, then type the same command again.",
                    facts={"node": in_hand, "cause": error.reference},
                ) from error
        if self._parts.on_failure == "rollback" and self._healthy():
            self.roll_back(error.message)
        raise self._halted(error, old) from error

    def put_back_in_hand(self) -> None:
        """Put every node that was touched and is not done back: on its old version, in the cluster, with its shards."""
        for node in self._plan.nodes:
            begun = any(self._record.is_begun(f"{what} {node}") for what in (planning.DRAIN, planning.PATCH))
            if not begun or self._record.is_done(f"{planning.REBALANCE} {node}"):
                continue
            # Of one that was emptied, and nothing else, what is selected is what it ran.
            workloads = {(node, t.path): self._parts.workloads[node, t.path] for t in self._plan.targets_of(node)}
            selected = {place: workload.selected() for place, workload in workloads.items()}
            known = {place: digest for place, digest in selected.items() if digest}
            self._take_out(node)
            self._restore(node, (patched_by(self._record) if self._is_in_hand(node) else {}) or known)

    def _take_out(self, node: str) -> None:
        """Take a node out as a rollout does, so that stopping it takes no shard off line; one that is out stays out."""
        targets = self._plan.targets_of(node)
        if targets[0].role != "volume" or self._steps.nodes.is_out(targets):
            return
        if self._parts.mode == "quick":
            require_full_health(self._parts, baseline=self._baseline, why=f"health before {node} is put back")
        step = next(each for each in self._plan.steps if (each.action, each.node) == (planning.DRAIN, node))
        drain = self._steps.drain_node(step, targets, "")
        if not drain.is_true():
            drain.act()
            drain.confirm()
        self._parts.cluster.leave(targets[0].address)

    def _halted(
        self, error: TeraFerryError, patched: Mapping[tuple[str, str], Digest], more: str = ""
    ) -> OperatorNeededError:
        cluster = "healthy" if self._healthy() else "degraded"
        nodes = sorted({node for node, _ in patched})
        return OperatorNeededError(
            "halted-half-way",
            f"rollout halted: {error.message}{more}. Cluster {cluster}; nodes on the new version: "
            f"{nodes or 'none'}; no further node is touched",
            hint="`teraferry-installer status` shows each node. When the cause is gone, type the same install again: "
            "it goes on from here.",
            facts={"cluster": cluster, "cause": error.reference, "patched": nodes},
        )

    def roll_back(self, reason: str) -> None:
        """Bring every node of this run back to what it ran before, newest first, each behind the same gates.

        Raises:
            RolledBackError: 50, when that is done. OperatorNeededError: 60, when it could not be.
        """
        targets = planning.reverse_targets(self._plan.targets, patched_by(self._record))
        back = planning.plan_targets(targets, mode=self._parts.mode, prefix="rollback ", keys=self._plan.keys)
        try:
            if not self._record.is_rolling_back():
                self._record.note(ROLLBACK, reason=reason)
            self._steps.reopen(back, prefix="rollback ")
            actions = self._steps.actions(back, prefix="rollback ")
            in_turn = self._steps.in_order(actions, back, prefix="rollback ")
            execute(in_turn, self._record, self._parts.progress)
            self._parts.keys.require_kept(self._record, "after the rollback")
        except KeyContinuityError:
            raise
        except TeraFerryError as error:
            raise _rollback_halted(error, f"the rollout had failed because: {reason}") from error
        raise RolledBackError(
            "rolled-back",
            f"rollout failed and was rolled back, every node serves on its old version: {reason}",
            hint="`teraferry-installer journal show` has every step; install again when the cause is gone.",
        )

    def _restore(self, node: str, old: Mapping[tuple[str, str], Digest]) -> None:
        self._parts.progress.say("restore", f"{node} is put back on its old version", node=node)
        targets = self._plan.targets_of(node)
        if not self._is_back_on(node, old):
            self._parts.keys.require_kept(self._record, f"before {node} is put back", node=node)
            for target in targets:
                workload = self._parts.workloads[node, target.path]
                workload.stop()
                if (node, target.path) in old:  # else nothing ran there before
                    workload.select(old[node, target.path])
                    workload.start()
            self._wait_for_old(node, old)
        if targets[0].role == "volume":
            # It comes back with the shards it was drained of.
            self._parts.cluster.rebalance(home=targets[0].address)
        for step in self._plan.steps:
            if step.node == node and step.action != planning.STAGE and self._record.is_begun(step.id):
                self._record.note(UNDONE, step.id, node=node)
        self._parts.keys.require_kept(self._record, f"after {node} was put back")

    def _wait_for_old(self, node: str, old: Mapping[tuple[str, str], Digest]) -> None:
        """Wait for the restored node. One that serves something else would pass for well in the cluster's eyes.

        Raises:
            RefusedError: ``node-failed``, 40.
        """
        countdown = Countdown(self._parts, self._parts.patience.rejoin_seconds)
        while not countdown.look(lambda: self._is_back_on(node, old)):
            if countdown.is_over:
                raise node_failed(
                    node, self._steps.nodes.found(self._plan.targets_of(node)), expected="its old version"
                )
            self._parts.progress.waiting(f"{node} to come back", "it was put back on its old version")
            self._steps.nodes.tell_back(self._plan.targets_of(node))
            self._parts.sleep_seconds(self._parts.patience.poll_seconds)

    def _is_back_on(self, node: str, old: Mapping[tuple[str, str], Digest]) -> bool:
        """Tell whether a node runs its old version, would start it, and is in the cluster."""
        targets, nodes = self._plan.targets_of(node), self._steps.nodes
        before = [replace(t, digest=old[node, t.path]) for t in targets if (node, t.path) in old]
        if any(nodes.workload(target).running() for target in targets if (node, target.path) not in old):
            return False
        return not before or (nodes.is_selected(before) and nodes.is_back(before))

    def _healthy(self) -> bool:
        try:
            return check_cluster_health(self._parts, baseline=self._baseline, why="health after the failure").is_full
        except TeraFerryError:
            # What cannot be observed is not healthy; the failure that brought us here is what is reported.
            return False

    def _is_in_hand(self, node: str) -> bool:
        return self._record.is_begun(f"{planning.PATCH} {node}") and not self._record.is_done(
            f"{planning.REBALANCE} {node}"
        )

    def _is_wrong(self, node: str) -> bool:
        """Tell whether the node came back wrong, or not at all; one that cannot be asked is wrong, too."""
        try:
            return not self._steps.nodes.is_back(self._plan.targets_of(node))
        except TeraFerryError:
            return True


def _rollback_halted(error: TeraFerryError, why: str) -> OperatorNeededError:
    """Return what is said of a way back that did not come to its end."""
    return OperatorNeededError(
        "rollback-halted",
        f"rollback halted: {error.message}; {why}",
        hint="When the cause is gone, type the same command again: it goes on from there.",
        facts={"cause": error.reference},
    )


def _is_smoke_of(node: str, error: TeraFerryError) -> bool:
    """Tell whether ``node`` is wrong though it runs what was signed and is in the cluster."""
    return isinstance(error, SmokeFailedError) and error.node == node
