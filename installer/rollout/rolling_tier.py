"""Tier 1 as an install sees it: gated by the cluster's health before the first write, between nodes and at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from teraferry.bundles.errors import Fact, OperatorNeededError, RefusedError
from teraferry.installer.ports import Entry
from teraferry.installer.rollout.blue_green_journal import BACKWARDS
from teraferry.installer.rollout.execute import INTENT, RunRecord
from teraferry.installer.rollout.gates import Baseline, Health, baseline_of
from teraferry.installer.rollout.journal import fact_of
from teraferry.installer.rollout.key_gate import KeyGate
from teraferry.installer.rollout.plan import DRAIN, PATCH, Plan
from teraferry.installer.rollout.rolling import execute_rolling_update
from teraferry.installer.rollout.rolling_parts import RollingParts, require_full_health
from teraferry.installer.rollout.runs import OpenRun, open_run_of, require_signed_digests_run


@dataclass(frozen=True, slots=True)
class RollingRollout:
    """``Rollout``, node by node."""

    parts: RollingParts

    @property
    def keys(self) -> KeyGate:
        """The gate of the keys that must survive."""
        return self.parts.keys

    def is_in_hand(self, own: Sequence[Entry]) -> bool:
        """Tell whether a node was drained or patched."""
        return any(each in entry.step for entry in own if entry.event == INTENT for each in (DRAIN, PATCH))

    def require_ready(self, entries: Sequence[Entry], *, run: str) -> Mapping[str, Any]:
        """Return the stripe groups that must not be forgotten, after the gate in front of the first write."""
        interrupted = open_run_of(entries)
        if interrupted is not None and interrupted.run == run:
            begun_with = {"stripe_groups": fact_of(interrupted.first, "stripe_groups")}
            # A node in hand is finished first, since that brings redundancy back; the rollout's own gates decide then.
            if not self._has_in_hand(entries, run):
                baseline = _baseline(begun_with)
                require_full_health(self.parts, baseline=baseline, why="health before going on")
            return begun_with
        self.parts.progress.start("check cluster health")
        health = self._full_before_the_start(interrupted, entries)
        self.parts.progress.say("gate", f"before the start: {health.summary()}")
        return {"stripe_groups": sorted(baseline_of(self.parts.cluster.observe()).stripe_groups)}

    def roll_out(self, plan: Plan, record: RunRecord, begun_with: Mapping[str, Any]) -> None:
        """Roll ``plan`` out; see ``execute_rolling_update``."""
        execute_rolling_update(plan, self.parts, record, baseline=_baseline(begun_with))

    def outcome(self, own: Sequence[Entry]) -> Mapping[str, Fact]:  # noqa: ARG002
        """Return nothing: what became of each node is in the plan and the journal."""
        return {}

    def require_done(self, plan: Plan, begun_with: Mapping[str, Any]) -> None:
        """Compare every node with what was signed; the cluster must be at 100 %."""
        require_signed_digests_run(plan, self.parts.workloads)
        require_whole_at_the_end(self.parts, _baseline(begun_with), "every node runs the signed version")

    def _full_before_the_start(self, interrupted: OpenRun | None, entries: Sequence[Entry]) -> Health:
        try:
            return require_full_health(self.parts, baseline=None, why="health before the start")
        except RefusedError as error:
            if interrupted is None or not self._has_in_hand(entries, interrupted.run):
                raise
            what = f"An install of {interrupted.facts.get('version')} was interrupted here. Type install with its kit"
            if interrupted.run.startswith(BACKWARDS):
                what = "A rollback was interrupted here. Type rollback"
            raise RefusedError(
                error.reference,
                error.message,
                hint=f"{what} first: it finishes the node it has in hand. Then type this command again.",
                facts=error.facts,
            ) from error

    def _has_in_hand(self, entries: Sequence[Entry], run: str) -> bool:
        return self.is_in_hand([entry for entry in entries if entry.run == run])


def require_whole_at_the_end(parts: RollingParts, baseline: Baseline, so_far: str) -> None:
    """Look at health once more before a run is ended.

    Raises:
        OperatorNeededError: ``final-health-degraded``, 60.
    """
    try:
        require_full_health(parts, baseline=baseline, why="final health")
    except RefusedError as error:
        raise OperatorNeededError(
            "final-health-degraded",
            f"{so_far}, but {error.message}",
            hint="Bring the cluster back to full health, then type the same command again: it ends the run.",
            exit_status=60,
            facts={"cluster": "degraded", "cause": error.reference},
        ) from error


def baseline_of_run(first: Entry) -> Baseline:
    """Return what must not be forgotten, as a run wrote it down when it began."""
    return _baseline({"stripe_groups": fact_of(first, "stripe_groups")})


def _baseline(begun_with: Mapping[str, Any]) -> Baseline:
    return Baseline(frozenset(int(group) for group in begun_with["stripe_groups"]))
