"""The steps of a rolling update on one node, as actions: how to see, do and check each.

``check_cluster_health`` → ``drain_node`` → ``patch_binary`` → ``rejoin_cluster`` → ``prove_keys`` (where there
are keys that must survive) → ``run_smoke_tests`` (where there are any) → ``wait_for_rebalance``.
What is true on the node decides, never the journal alone: a step whose effect is there is not
done again, and one whose purpose has passed is not looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from teraferry.bundles.errors import RefusedError
from teraferry.installer.rollout import plan as planning
from teraferry.installer.rollout.execute import UNDONE, Action, RunRecord
from teraferry.installer.rollout.gates import Baseline, is_drained
from teraferry.installer.rollout.plan import Plan, Step, Target
from teraferry.installer.rollout.rolling_nodes import NodeView
from teraferry.installer.rollout.rolling_parts import (
    Countdown,
    RollingParts,
    judge_now,
    require_full_health,
    require_quorum,
    wait_while_moving,
)
from teraferry.installer.rollout.staging import stage_action


class RollingSteps:
    """The actions of one run; state lives in the journal and on the nodes, not here."""

    def __init__(self, parts: RollingParts, record: RunRecord, baseline: Baseline) -> None:
        self._parts = parts
        self._record = record
        self._baseline = baseline
        self.nodes = NodeView(parts)
        self._already: dict[str, bool] = {}  # step prefix and node -> it ran the signed version before we came

    def actions(self, plan: Plan, *, prefix: str = "") -> list[Action]:
        """Return one action for each step of ``plan``, in order."""
        targets = {f"{prefix}{t.stage_id}": t for t in plan.targets}
        return [
            self._stage(step, targets[step.id]) if step.action == planning.STAGE else self._of_node(step, plan, prefix)
            for step in plan.steps
        ]

    def in_order(self, actions: Sequence[Action], plan: Plan, *, prefix: str = "") -> Iterator[Action]:
        """Yield the actions of ``plan`` in turn; of the masters, the one that leads when it is their turn comes last.

        Each election is one that clients wait for. One in hand comes first: without it no other may be touched.
        """
        masters = {target.node: target.address for target in plan.targets if target.role == "master"}
        yield from (each for each in actions if each.step.action == planning.STAGE or each.step.node not in masters)
        while masters:
            leaders = {view.leader for view in self._parts.quorum.observe().values()}
            turns = {node: (not self._is_in_hand(node, prefix), masters[node] in leaders) for node in masters}
            node = min(turns, key=lambda name: turns[name])
            del masters[node]
            yield from (each for each in actions if each.step.action != planning.STAGE and each.step.node == node)

    def _is_in_hand(self, node: str, prefix: str) -> bool:
        patched, finished = f"{prefix}{planning.PATCH} {node}", f"{prefix}{planning.REBALANCE} {node}"
        return self._record.is_begun(patched) and not self._record.is_done(finished)

    def reopen(self, plan: Plan, *, prefix: str = "") -> None:
        """Take back "finished" from nodes that do not run the signed version now: put back by hand, or gone down."""
        for node in plan.nodes:
            last = f"{prefix}{planning.REBALANCE} {node}"
            if self._record.is_done(last) and not self.nodes.runs(plan.targets_of(node)):
                self._record.note(UNDONE, last, node=node)

    def _of_node(self, step: Step, plan: Plan, prefix: str) -> Action:
        targets = plan.targets_of(step.node)
        build = {
            planning.CHECK: self.check_cluster_health,
            planning.DRAIN: self.drain_node,
            planning.PATCH: self.patch_binary,
            planning.REJOIN: self.rejoin_cluster,
            planning.PROVE: self.prove_keys,
            planning.SMOKE: self.run_smoke_tests,
            planning.REBALANCE: self.wait_for_rebalance,
        }[step.action]
        action = build(step, targets, prefix)
        if step.action == planning.SMOKE:
            # A node that ran the signed version before we came is left alone, but not taken for well unasked.
            return action
        return replace(action, is_moot=lambda: self._is_already_there(step.node, targets, prefix) or action.is_moot())

    def _is_already_there(self, node: str, targets: Sequence[Target], prefix: str) -> bool:
        """Tell whether the node ran the signed version before this run came to it: then it is left alone."""
        key = f"{prefix}{node}"
        if key not in self._already:
            begun = any(self._record.is_begun(f"{prefix}{kind} {node}") for kind in (planning.DRAIN, planning.PATCH))
            self._already[key] = not begun and self.nodes.is_selected(targets) and self.nodes.is_back(targets)
        return self._already[key]

    def _stage(self, step: Step, target: Target) -> Action:
        return stage_action(
            step,
            target,
            self.nodes.workload(target),
            pieces=self._parts.pieces,
            progress=self._parts.progress,
            is_moot=lambda: self._record.is_done(step.id) and self._touched(target.node),
        )

    def check_cluster_health(self, step: Step, targets: Sequence[Target], prefix: str) -> Action:
        """Gate: exactly 100 %, unless a killed run left this very node half-way."""

        def is_moot() -> bool:
            begun = self._record.is_begun(f"{prefix}{planning.PATCH} {step.node}")
            told_to_leave = begun or (
                self._parts.mode == "quick" and self._record.is_begun(f"{prefix}{planning.DRAIN} {step.node}")
            )
            # A run that was killed here must finish the node in hand: that is what restores redundancy.
            stopped = begun and not self.nodes.serves_old(targets)
            return stopped or (told_to_leave and targets[0].role == "volume" and self.nodes.is_out(targets))

        def confirm() -> Mapping[str, object]:
            if self._record.is_begun(f"{prefix}{planning.DRAIN} {step.node}"):
                # An interrupted drain left some shards on two nodes; that is ours to clear, not a fault to refuse.
                self._parts.cluster.rebalance(home=targets[0].address)
            health = require_full_health(self._parts, baseline=self._baseline, why=f"health before {step.node}")
            if targets[0].role == "master":
                require_quorum(self._parts, why=f"masters before {step.node}")
            self._parts.progress.say("gate", f"health before {step.node}: {health.summary()}", node=step.node)
            # After the last look there was a soak; a key lost in it must not cost another node.
            self._parts.keys.require_kept(self._record, f"before {step.node}")
            return {"health": health.summary()}

        return Action(step, is_moot, lambda: True, _nothing, confirm, {})

    def drain_node(self, step: Step, targets: Sequence[Target], prefix: str) -> Action:
        """Empty a volume server (safe), or let it leave the cluster (quick)."""
        address = targets[0].address
        safe = self._parts.mode == "safe"

        def is_moot() -> bool:
            return self._record.is_begun(f"{prefix}{planning.PATCH} {step.node}") and not self.nodes.serves_old(targets)

        def is_true() -> bool:
            if not safe:
                return self.nodes.is_out(targets)
            return is_drained(self._parts.cluster.observe(), address, baseline=self._baseline)

        def act() -> None:
            self._parts.progress.start(f"drain {step.node}")
            (self._parts.cluster.drain if safe else self._parts.cluster.leave)(address)

        def confirm() -> Mapping[str, object]:
            wait_while_moving(self._parts, is_true, f"{step.node} to be drained", reference="drain-stalled")
            return {"node": step.node, "mode": self._parts.mode}

        return Action(step, is_moot, is_true, act, confirm, {})

    def patch_binary(self, step: Step, targets: Sequence[Target], prefix: str) -> Action:
        """Stop the node and link the new version in."""

        def is_true() -> bool:
            return self.nodes.is_selected(targets) and not self.nodes.serves_old(targets)

        def act() -> None:
            self._parts.progress.start(f"patch {step.node}")
            if targets[0].role == "volume":
                # Shard requests stop coming before the process goes, so no reader meets a closed port.
                self._parts.cluster.leave(targets[0].address)
            if targets[0].role == "master":
                self._parts.quorum.step_down(targets[0].address)
            for target in targets:
                self.nodes.workload(target).stop()
                self.nodes.workload(target).select(target.digest)

        def confirm() -> Mapping[str, object]:
            if not is_true():
                raise node_failed(step.node, "the new version is not linked in")
            return {"node": step.node, "digests": [t.digest for t in targets]}

        old = {t.path: self.nodes.workload(t).selected() for t in targets}
        return Action(step, self._is_finished(targets, prefix), is_true, act, confirm, {"node": step.node, "old": old})

    def rejoin_cluster(self, step: Step, targets: Sequence[Target], prefix: str) -> Action:
        """Start the node; it must run the signed digest and be back in the cluster."""

        def is_true() -> bool:
            return self.nodes.is_back(targets)

        def act() -> None:
            self._parts.progress.start(f"rejoin {step.node}")
            # A node whose state was wiped must not come back into the cluster as if nothing had happened.
            self._parts.keys.require_kept(self._record, f"before {step.node} rejoins", node=step.node)
            for target in targets:
                self.nodes.workload(target).start()

        def confirm() -> Mapping[str, object]:
            countdown = Countdown(self._parts, self._parts.patience.rejoin_seconds)
            while not countdown.look(is_true):
                if countdown.is_over:
                    raise node_failed(step.node, self.nodes.found(targets))
                self._parts.progress.waiting(f"{step.node} to come back", "it was just started")
                self.nodes.tell_back(targets)
                self._parts.sleep_seconds(self._parts.patience.poll_seconds)
            return {"node": step.node, "running": [t.digest for t in targets]}

        return Action(step, self._is_finished(targets, prefix), is_true, act, confirm, {})

    def prove_keys(self, step: Step, targets: Sequence[Target], prefix: str) -> Action:
        """Gate: every key of the site is still there and proves itself."""

        def confirm() -> Mapping[str, object]:
            self._parts.keys.require_kept(self._record, f"after {step.node}")
            return {}

        return Action(step, self._is_finished(targets, prefix), lambda: True, _nothing, confirm, {})

    def run_smoke_tests(self, step: Step, targets: Sequence[Target], prefix: str) -> Action:
        """Gate: the node answers as the release and the site say that it must."""

        def confirm() -> Mapping[str, object]:
            return {"node": step.node, "passed": self._parts.smoke.require_passed(step.node)}

        return Action(step, self._is_finished(targets, prefix), lambda: True, _nothing, confirm, {})

    def wait_for_rebalance(self, step: Step, targets: Sequence[Target], prefix: str) -> Action:
        """Block until the cluster is at 100 % again, then soak."""

        def is_true() -> bool:
            return targets[0].role != "volume"

        def act() -> None:
            self._parts.progress.start(f"rebalance after {step.node}")
            self._parts.cluster.rebalance(home=targets[0].address)

        def confirm() -> Mapping[str, object]:
            wait_while_moving(
                self._parts,
                lambda: judge_now(self._parts, self._baseline).is_full,
                f"100 % after {step.node}",
                reference="rebalance-stalled",
            )
            health = require_full_health(self._parts, baseline=self._baseline, why=f"100 % after {step.node}")
            if targets[0].role == "master":
                require_quorum(self._parts, why=f"masters after {step.node}")
            self._soak(step.node)
            if not self.nodes.runs(targets):
                raise node_failed(step.node, "it stopped running the signed digest during the soak")
            self._parts.progress.say("gate", f"{step.node} is back: {health.summary()}", node=step.node)
            return {"health": health.summary()}

        return Action(step, self._is_finished(targets, prefix), is_true, act, confirm, {})

    def _touched(self, node: str) -> bool:
        return self._record.is_begun(f"{planning.PATCH} {node}")

    def _is_finished(self, targets: Sequence[Target], prefix: str) -> Callable[[], bool]:
        return lambda: self._record.is_done(f"{prefix}{planning.REBALANCE} {targets[0].node}")

    def _soak(self, node: str) -> None:
        until = self._parts.monotonic_seconds() + self._parts.patience.soak_seconds
        while (left := until - self._parts.monotonic_seconds()) > 0:
            self._parts.progress.waiting(f"soak of {node}", f"{left:.0f} s left")
            require_full_health(self._parts, baseline=self._baseline, why=f"soak of {node}")
            self._parts.sleep_seconds(min(left, self._parts.patience.poll_seconds))


def _nothing() -> None:
    """A gate has no effect of its own."""


def node_failed(node: str, found: str, *, expected: str = "the signed version") -> RefusedError:
    """Return the refusal for a node that is not what it must be after it was touched."""
    return RefusedError(
        "node-failed",
        f"node {node}: {found}, expected {expected} running and in the cluster",
        hint="Look at the node's own log; it is put back on its old version.",
        facts={"node": node},
    )
