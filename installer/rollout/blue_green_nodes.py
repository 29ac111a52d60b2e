"""The nodes of the standby cluster are brought to the new version while nobody is served by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from teraferry.bundles.errors import RefusedError
from teraferry.installer.blue_green_ports import TrafficObservation
from teraferry.installer.ports import Workload
from teraferry.installer.rollout.blue_green_parts import BlueGreenParts
from teraferry.installer.rollout.blue_green_plan import other_cluster
from teraferry.installer.rollout.execute import Action, RunRecord
from teraferry.installer.rollout.plan import Plan, Step, Target
from teraferry.installer.rollout.staging import stage_action

START_SECONDS = 120.0
"""How long a started node may take to run the right digest."""

POLL_SECONDS = 0.5

STANDS_ELSEWHERE = "switch-stands-elsewhere"


class StandbyNodes:
    """The actions on single nodes."""

    def __init__(self, plan: Plan, parts: BlueGreenParts, record: RunRecord) -> None:
        self._plan = plan
        self._parts = parts
        self._record = record
        self._standby = plan.standby

    def stage(self, step: Step, target: Target) -> Action:
        """Bring one file to one node, beside the running version."""
        parts = self._parts
        return stage_action(
            step, target, self._workload(target), pieces=parts.pieces, progress=parts.progress, is_moot=_never
        )

    def bring_up(self, step: Step) -> Action:
        """Restart one node on the new version; it must run the signed digest."""
        targets = self._plan.targets_of(step.node)

        def act() -> None:
            self._require_idle()
            self._parts.progress.start(f"bring up {step.node}")
            for target in targets:
                self._workload(target).stop()
                self._workload(target).select(target.digest)
            # A node whose state was wiped must not come back as if nothing had happened.
            self._parts.keys.require_kept(self._record, f"before {step.node} rejoins", node=step.node)
            for target in targets:
                self._workload(target).start()

        def confirm() -> Mapping[str, object]:
            give_up = self._parts.monotonic_seconds() + START_SECONDS
            while not self._runs(targets):
                if self._parts.monotonic_seconds() >= give_up:
                    found = sorted(digest for each in targets for digest in self._workload(each).running())
                    raise _node_failed(step.node, f"it runs {found or 'nothing'}")
                self._parts.progress.waiting(f"{step.node} to come up", "it was just started")
                self._parts.sleep_seconds(POLL_SECONDS)
            return {"node": step.node, "running": [each.digest for each in targets]}

        old = {each.path: self._workload(each).selected() for each in targets}
        facts = {"node": step.node, "old": old}
        return Action(step, _never, partial(self._runs, targets), act, confirm, facts)

    def _require_idle(self) -> None:
        seen = self._parts.switch.observe()
        if self._standby in (seen.active, seen.standing):
            raise stands_elsewhere(seen, expected=other_cluster(self._standby))

    def _workload(self, target: Target) -> Workload:
        return self._parts.workloads[target.node, target.path]

    def _runs(self, targets: Sequence[Target]) -> bool:
        return all(
            self._workload(each).running() == frozenset({each.digest})
            and self._workload(each).selected() == each.digest
            for each in targets
        )


def stands_elsewhere(seen: TrafficObservation, *, expected: str) -> RefusedError:
    """Return the refusal of a switch that somebody else moved."""
    return RefusedError(
        STANDS_ELSEWHERE,
        f"traffic switch: new connections go to {seen.active}, {seen.standing} stands; expected {expected} for "
        "both, as the journal says",
        hint=f"Somebody moved traffic by hand. Bring {expected} back on the switch, then type the same command again.",
        facts={"active": seen.active, "standing": seen.standing, "expected": expected},
    )


def _never() -> bool:
    return False


def _node_failed(node: str, found: str) -> RefusedError:
    return RefusedError(
        "node-failed",
        f"node {node}: {found}, expected the signed version running",
        hint="Look at the node's own log, then type the same command again.",
        facts={"node": node},
    )
