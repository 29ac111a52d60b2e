"""The steps of a blue-green rollout, as actions: how to see, do and check each.

``set_up_switch`` → staging → ``bring_up`` of each node of the standby → smoke tests → ``rehearse_check`` →
``sync_state`` → ``ask_compliance`` → ``switch_virtual_ip`` → ``monitor_stability`` → ``promote_primary`` (with one
writer) → ``commit_switch`` → ``cut_connections`` (where the site asks for it). Where traffic is, the switch itself
says; the journal says where the run was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from teraferry.bundles.errors import RefusedError
from teraferry.installer.blue_green_ports import TrafficObservation
from teraferry.installer.rollout import blue_green_plan as planning
from teraferry.installer.rollout.blue_green_cut import CutConnections
from teraferry.installer.rollout.blue_green_journal import (
    CONFLICTS,
    LAPSED,
    marker_of,
    was_commit_begun,
    was_cut_over,
    write_conflict,
)
from teraferry.installer.rollout.blue_green_nodes import StandbyNodes, stands_elsewhere
from teraferry.installer.rollout.blue_green_parts import BlueGreenParts
from teraferry.installer.rollout.blue_green_window import (
    let_writes_go,
    level_once_more,
    move_primary,
    rehearse_check,
    watch_window,
)
from teraferry.installer.rollout.execute import UNDONE, Action, RunRecord
from teraferry.installer.rollout.plan import BRING_UP, PROVE, SMOKE, STAGE, Plan, Step


@dataclass(frozen=True, slots=True)
class Where:
    """Where an earlier process of this run left the traffic; everything false when it never cut over."""

    in_window: bool = False  # the standby still holds it
    committed: bool = False  # the standby is the standing side


class BlueGreenSteps:
    """The actions of one run; state lives in the journal, on the nodes and in the switch, not here."""

    def __init__(self, plan: Plan, parts: BlueGreenParts, record: RunRecord) -> None:
        self._plan = plan
        self._parts = parts
        self._record = record
        self._where = Where()
        self._asked = False  # the compliance lock was seen open by this very process
        self._nodes = StandbyNodes(plan, parts, record)
        self._cut = CutConnections(parts, record, standby=plan.standby)
        self.standby = plan.standby
        self.active = planning.other_cluster(plan.standby)

    def reopen(self) -> None:
        """Find out where the run stands, and say so; a window that nobody renewed is taken back.

        Raises:
            RefusedError: ``switch-cannot-tell`` or ``switch-stands-elsewhere``, 40.
        """
        own = self._record.entries()
        if not was_cut_over(own):
            return
        let_writes_go(self._parts)
        seen = self._parts.switch.observe()
        if seen.standing == self.standby:
            if not was_commit_begun(own):
                raise stands_elsewhere(seen, expected=self.active)
            self._where = Where(committed=True)
        elif seen.active == self.standby:
            self._where = Where(in_window=True)
            text = f"an earlier process was ended after the cutover; {self.standby} still has the new connections and "
            self._parts.progress.say("window", text + "is watched anew", cluster=self.standby)
        else:
            self._take_back(seen)

    def actions(self) -> list[Action]:
        """Return one action for each step of the plan, in order."""
        staged = {target.stage_id: target for target in self._plan.targets}
        build: Mapping[str, Callable[[Step], Action]] = {
            planning.SET_UP: self._set_up,
            BRING_UP: self._bring_up,
            PROVE: self._prove_keys,
            SMOKE: self._smoke,
            planning.REHEARSE: self._rehearse,
            planning.SYNC: self.sync_state,
            planning.ASK: self._ask,
            planning.SWITCH: self.switch_virtual_ip,
            planning.MONITOR: self.monitor_stability,
            planning.PROMOTE: self._promote,
            planning.COMMIT: self._commit,
            planning.CUT: self._cut.action,
        }
        return [
            self._of_node(self._nodes.stage(step, staged[step.id]))
            if step.action == STAGE
            else build[step.action](step)
            for step in self._plan.steps
        ]

    def sync_state(self, step: Step) -> Action:
        """Bring the standby level with the active cluster."""

        def confirm() -> Mapping[str, object]:
            replicator = self._parts.replicator
            self._parts.progress.start(f"sync {self.active} to {self.standby}")
            replicator.start()
            if self._parts.promotion is not None and self._parts.promotion.primary() == self.standby:
                return {"primary": self.standby}
            if replicator.writers == "two" and was_cut_over(self._record.entries()):
                # An earlier window wrote here; that must not be lost by another cutover either.
                self.drain_standby()
                self.require_no_conflicts()
            self._sync(self.active, self.marker)
            seen = replicator.observe(self.active)
            return {"marker": self.marker, "received": seen.received, "processed": seen.processed}

        return self._before_cutover(step, confirm)

    def switch_virtual_ip(self, step: Step) -> Action:
        """Cutover: new connections go to the standby, established ones stay."""
        switch = self._parts.switch

        def act() -> None:
            if not self._asked:
                raise RuntimeError("no cutover without a look at the compliance lock in this process")
            self._parts.progress.start(f"cutover to {self.standby}")
            switch.hold(self.standby, seconds=self._parts.window.hold_seconds)
            self._cut.begin()

        def confirm() -> Mapping[str, object]:
            seen = switch.observe()
            if seen.active != self.standby:
                raise RefusedError(
                    "switch-failed",
                    f"traffic switch: new connections go to {seen.active}, expected {self.standby}",
                    hint="See what the switch says, then type the same command again.",
                )
            return {"held_seconds": seen.held_seconds, "still_served": switch.established(self.active)}

        return Action(step, self._is_past_cutover, lambda: False, act, confirm, {"cluster": self.standby})

    def monitor_stability(self, step: Step) -> Action:
        """Watch the standby for the whole window, and renew its hold; anything wrong is let go at once."""

        def confirm() -> Mapping[str, object]:
            return {"found": watch_window(self._parts, self.standby).summary()}

        return Action(step, lambda: self._where.committed, lambda: True, _nothing, confirm, {})

    @property
    def marker(self) -> str:
        """What is written on the active cluster and must be read on the standby."""
        return marker_of(self._record.run)

    def drain_standby(self) -> None:
        """Bring what was written on the standby to the active cluster.

        Raises:
            RefusedError: 40: it did not all come over, or nobody can tell.
        """
        self._sync(self.standby, f"{self.marker}-back")

    def require_no_conflicts(self) -> None:
        """Refuse while a write on both clusters is not resolved.

        Raises:
            RefusedError: ``write-conflict`` or ``replication-cannot-tell``, 40.
        """
        names = list(self._parts.replicator.conflicts(marker=self.marker))
        if names:
            self._record.note(CONFLICTS, marker=self.marker, count=len(names), names=names[:100])
            raise write_conflict(names)

    def _sync(self, source: str, marker: str) -> None:
        stalled = self._parts.window.stalled_after_seconds
        self._parts.replicator.sync_state(source, marker=marker, stalled_after_seconds=stalled)

    def _take_back(self, seen: TrafficObservation) -> None:
        begun = [step for step in planning.WINDOW_STEPS if self._record.is_begun(step)]
        if not begun:
            return
        text = (
            f"an earlier process was ended after it began the cutover to {self.standby}, and nobody renewed it: new "
            f"connections are on {seen.active}; it goes on from there, what was written on {self.standby} first"
        )
        self._record.note(LAPSED, cluster=self.standby, active=seen.active)
        self._parts.progress.say("hold-lapsed", text, active=seen.active, cluster=self.standby)
        for step in begun:
            self._record.note(UNDONE, step, reason="hold-lapsed")

    def _is_past_cutover(self) -> bool:
        return self._where.in_window or self._where.committed

    def _before_cutover(self, step: Step, confirm: Callable[[], Mapping[str, object]]) -> Action:
        return Action(step, self._is_past_cutover, lambda: True, _nothing, confirm, {})

    def _set_up(self, step: Step) -> Action:
        def confirm() -> Mapping[str, object]:
            seen = self._parts.switch.observe()
            if seen.standing != self.active or seen.active != self.active:
                raise stands_elsewhere(seen, expected=self.active)
            return {"standing": seen.standing}

        return Action(
            step, self._is_past_cutover, lambda: False, lambda: self._parts.switch.set_up(self.active), confirm, {}
        )

    def _bring_up(self, step: Step) -> Action:
        return self._of_node(self._nodes.bring_up(step))

    def _of_node(self, action: Action) -> Action:
        return replace(action, is_moot=self._is_past_cutover)

    def _prove_keys(self, step: Step) -> Action:
        def confirm() -> Mapping[str, object]:
            self._parts.keys.require_kept(self._record, f"after {step.node}")
            return {}

        return self._before_cutover(step, confirm)

    def _smoke(self, step: Step) -> Action:
        def confirm() -> Mapping[str, object]:
            return {"node": step.node, "passed": self._parts.smoke.require_passed(step.node)}

        return self._before_cutover(step, confirm)

    def _rehearse(self, step: Step) -> Action:
        def confirm() -> Mapping[str, object]:
            return {"found": rehearse_check(self._parts, self.standby).summary()}

        return self._before_cutover(step, confirm)

    def _ask(self, step: Step) -> Action:
        def confirm() -> Mapping[str, object]:
            # Keys first: whatever they take, the lock is asked last, right before the cutover.
            self._parts.keys.require_kept(self._record, "before the cutover")
            self._parts.compliance.require_open()
            self._asked = True
            return {"probes": [probe.name for probe, _ in self._parts.compliance.probes]}

        return self._before_cutover(step, confirm)

    def _promote(self, step: Step) -> Action:
        promotion = self._parts.promotion
        if promotion is None:
            raise ValueError("a site with one writer has a part that promotes")

        def act() -> None:
            self._parts.progress.start(f"promote {self.standby}")
            move_primary(self._parts, self.active, self.standby, marker=f"{self.marker}-promotion")

        def confirm() -> Mapping[str, object]:
            self._parts.replicator.start()
            return {"primary": self.standby}

        is_true = lambda: promotion.primary() == self.standby  # noqa: E731
        return Action(step, lambda: self._where.committed, is_true, act, confirm, {})

    def _commit(self, step: Step) -> Action:
        switch = self._parts.switch

        def is_true() -> bool:
            return switch.observe() == TrafficObservation(self.standby, self.standby, None)

        def act() -> None:
            if self._parts.replicator.writers == "two":
                if not self._where.committed:
                    level_once_more(self._parts, self.active, f"{self.marker}-commit")
                self.require_no_conflicts()
            # Only what is held now was watched to this moment.
            if not self._where.committed:
                switch.renew(seconds=self._parts.window.hold_seconds)
            switch.commit(self.standby)

        def confirm() -> Mapping[str, object]:
            if not is_true():
                raise RefusedError(
                    "switch-failed",
                    f"traffic switch: {switch.observe()}, expected {self.standby} to stand after the commit",
                    hint="See what the switch says, then type the same command again.",
                )
            left = switch.established(self.active)
            told = "how many cannot be told" if left is None else str(left)
            text = f"{self.standby} stands; established connections still served by {self.active}: {told}"
            self._parts.progress.say("committed", text, still_served=left)
            return {"standing": self.standby, "still_served": left}

        return Action(step, lambda: False, is_true, act, confirm, {})


def _nothing() -> None:
    """A gate has no effect of its own."""
