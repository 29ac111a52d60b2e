"""Tier 2 as an install sees it: what may refuse before the first write, and what is compared at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from teraferry.bundles.errors import Fact, OperatorNeededError, RefusedError
from teraferry.installer.blue_green_ports import TrafficObservation
from teraferry.installer.ports import Entry
from teraferry.installer.rollout.blue_green import execute_blue_green_switch
from teraferry.installer.rollout.blue_green_cut import require_can_cut
from teraferry.installer.rollout.blue_green_journal import (
    BACKWARDS,
    cluster_of,
    conflict_marker_of,
    is_in_hand,
    outcome_of,
    pending_of,
    write_conflict,
)
from teraferry.installer.rollout.blue_green_parts import BlueGreenParts
from teraferry.installer.rollout.blue_green_plan import other_cluster
from teraferry.installer.rollout.execute import RunRecord
from teraferry.installer.rollout.key_gate import KeyGate
from teraferry.installer.rollout.plan import Plan
from teraferry.installer.rollout.runs import OpenRun, open_run_of, require_signed_digests_run


@dataclass(frozen=True, slots=True)
class BlueGreenRollout:
    """``Rollout``, by a second cluster."""

    parts: BlueGreenParts
    standby: str  # the plan's

    @property
    def keys(self) -> KeyGate:
        """The gate of the keys that must survive."""
        return self.parts.keys

    def is_in_hand(self, own: Sequence[Entry]) -> bool:
        """Tell whether traffic was on the standby, or is brought back; until then nobody's service was touched."""
        return is_in_hand(own)

    def require_ready(self, entries: Sequence[Entry], *, run: str) -> Mapping[str, Any]:
        """Return which cluster is which, after everything that an earlier run may have left open.

        1. No other run is left in its window. 2. No writes wait for recovery. 3. No conflict is unresolved.
        4. The replicator is of the kind that the site says. 5. The switch can cut, where the site wants that.
        """
        interrupted = open_run_of(entries)
        if interrupted is not None and interrupted.run == run:
            return _sides(interrupted)
        if interrupted is not None and is_in_hand([entry for entry in entries if entry.run == interrupted.run]):
            raise _other_in_hand(interrupted)  # 1
        self._require_recovered(entries)  # 2
        marker = conflict_marker_of(entries)
        names = self.parts.replicator.conflicts(marker=marker) if marker is not None else ()
        if names:
            raise write_conflict(names)  # 3
        require_writers(self.parts)  # 4
        require_can_cut(self.parts)  # 5
        return {"active": other_cluster(self.standby), "standby": self.standby}

    def roll_out(self, plan: Plan, record: RunRecord, begun_with: Mapping[str, Any]) -> None:
        """Cut over; see ``execute_blue_green_switch``."""
        if not self.standby == plan.standby == begun_with["standby"]:
            raise ValueError(f"plan for {plan.standby}, but the run brings up {begun_with['standby']}")
        if plan.steps:
            execute_blue_green_switch(plan, self.parts, record)

    def outcome(self, own: Sequence[Entry]) -> Mapping[str, Fact]:
        """Return what clients went through."""
        return outcome_of(own)

    def require_done(self, plan: Plan, begun_with: Mapping[str, Any]) -> None:
        """Compare every node of the new standing side with what was signed; the switch must say that it stands."""
        require_signed_digests_run(plan, self.parts.workloads)
        standing = begun_with["standby"]
        seen = self.parts.switch.observe()
        if seen != TrafficObservation(standing, standing, None):
            raise OperatorNeededError(
                "final-switch-differs",
                f"traffic switch: new connections go to {seen.active}, {seen.standing} stands; expected {standing}",
                hint="See what the switch says, then type the same install again: it ends the run.",
                exit_status=62,
                facts={"active": seen.active, "standing": seen.standing, "expected": standing},
            )

    def _require_recovered(self, entries: Sequence[Entry]) -> None:
        pending = pending_of(entries)
        if pending is not None:
            raise RefusedError(
                "pending-recovery",
                f"{pending.cluster}: {pending.summary()} wait for recovery, expected none before it is touched",
                hint=f"Bring {pending.cluster} back with its disks as they are, then type: teraferry-installer "
                "rollback, which merges them.",
                facts={"cluster": pending.cluster, "pending": pending.count, "names": list(pending.names[:100])},
            )


def require_writers(parts: BlueGreenParts) -> None:
    """Refuse a site whose replicator cannot keep what its writers need.

    Raises:
        RefusedError: ``no-write-guarantee``, 40.
    """
    if parts.replicator.writers == "one" and (parts.promotion is None or parts.window.write_hold_seconds <= 0):
        raise RefusedError(
            "no-write-guarantee",
            "replication with one writer: nothing that moves the primary while writes wait, expected that",
            hint="Write write_hold_seconds into [replication] of site.toml, and name an engine that promotes.",
        )


def _sides(interrupted: OpenRun) -> Mapping[str, Any]:
    return {side: cluster_of(interrupted.first, side) for side in ("active", "standby")}


def _other_in_hand(interrupted: OpenRun) -> RefusedError:
    version = interrupted.facts.get("version")
    goes_on = f"Type install with the kit of {version}, which goes on, or: teraferry-installer rollback"
    if interrupted.run.startswith(BACKWARDS):
        goes_on = "Type: teraferry-installer rollback, which goes on"
    return RefusedError(
        "other-install-in-window",
        f"run {interrupted.run}: interrupted after its cutover, expected it ended or rolled back first",
        hint=goes_on,
        facts={"run": interrupted.run, "version": None if version is None else str(version)},
    )
