"""Tier 2: the standby is brought up and tried, new connections move to it, and stay only if all is well for a while.

Before the cutover a failure touches nobody: the active cluster serves all along. After it, anything wrong sends new
connections back at once, and then what was written on the standby comes home. What cannot come, since the standby is
dead, is counted and named; it is never called nothing unless that is proven, and the standby's disks are left alone.
"""

from __future__ import annotations

from typing import Final, NoReturn

from teraferry.bundles.errors import Fact, OperatorNeededError, RolledBackError, TeraFerryError
from teraferry.installer.rollout import blue_green_plan as planning
from teraferry.installer.rollout.blue_green_journal import (
    failure_in_window,
    outcome_of,
    was_commit_begun,
    was_cut_over,
)
from teraferry.installer.rollout.blue_green_nodes import STANDS_ELSEWHERE
from teraferry.installer.rollout.blue_green_parts import BlueGreenParts
from teraferry.installer.rollout.blue_green_steps import BlueGreenSteps
from teraferry.installer.rollout.blue_green_way_back import WayBack
from teraferry.installer.rollout.blue_green_window import let_go
from teraferry.installer.rollout.execute import ROLLBACK, STOPPED, RunRecord, execute
from teraferry.installer.rollout.key_gate import KeyContinuityError
from teraferry.installer.rollout.plan import BRING_UP, PROVE, SMOKE, STAGE, Plan, Step
from teraferry.installer.rollout.staging import lengths_bytes_of, stage_together
from teraferry.installer.rollout.stopping import StoppedByOperatorError

POSTPONED: Final = 41

MAY_HALT_BEFORE: Final = frozenset(
    {planning.SET_UP, STAGE, BRING_UP, PROVE, SMOKE, planning.REHEARSE, planning.SYNC, planning.ASK, planning.CUT}
)
"""Up to the cutover nobody is served by the standby; the window is seen to its end, one way or the other. What is cut
after the commit can wait."""


def execute_blue_green_switch(plan: Plan, parts: BlueGreenParts, record: RunRecord) -> None:
    """Bring ``plan`` to the standby and cut over to it, or go on with a run that was interrupted.

    Raises:
        RefusedError: 40, 41: nobody was ever served by the standby.
        StoppedByOperatorError: 43, somebody asked for a stop before the cutover.
        RolledBackError: 50: the active cluster serves, and always did but for the window.
        OperatorNeededError: 62: where traffic or the primary is could not be seen to be right.
        KeyContinuityError: 61, 60: a key is lost, or it could not be decided.
    """
    switch = _BlueGreen(plan, parts, record)
    if record.is_rolling_back():
        switch.roll_back("an earlier process began to roll back")
    failed = failure_in_window(record.entries())
    if failed is not None:
        switch.roll_back(f"an earlier process saw that {failed}")
    try:
        switch.roll_out()
    except (StoppedByOperatorError, KeyContinuityError):
        raise
    except TeraFerryError as error:
        switch.settle_failure(error)
        raise
    except (Exception, KeyboardInterrupt):
        # A fault of ours must not leave the standby with traffic that nobody watches.
        switch.let_go_unless_committed()
        raise


def roll_back_run(plan: Plan, parts: BlueGreenParts, record: RunRecord, *, reason: str) -> RolledBackError:
    """Roll an interrupted run back because a person asked for it, and return what is to be said of it.

    Raises:
        OperatorNeededError: 60-62.
    """
    try:
        _BlueGreen(plan, parts, record).roll_back(reason)
    except RolledBackError as done:
        return done


class _BlueGreen:
    """One run: its plan, and what becomes of it when something fails."""

    def __init__(self, plan: Plan, parts: BlueGreenParts, record: RunRecord) -> None:
        self._plan = plan
        self._parts = parts
        self._record = record
        self._steps = BlueGreenSteps(plan, parts, record)
        self._way_back = WayBack(parts, record, standby=plan.standby)
        self._standby = plan.standby
        self._active = planning.other_cluster(plan.standby)

    def roll_out(self) -> None:
        """Carry the plan out."""
        self._steps.reopen()
        actions, parts = self._steps.actions(), self._parts
        stage_together(
            actions,
            self._record,
            parts.progress,
            lengths_bytes=lengths_bytes_of(self._plan),
            jobs=parts.staging_jobs,
            before_step=self._halt_if_asked,
        )
        execute(actions, self._record, parts.progress, before_step=self._halt_if_asked)

    def settle_failure(self, error: TeraFerryError) -> None:
        """Decide what a failed step means: nothing for whoever is served, or the way back.

        Raises:
            RolledBackError: 50. OperatorNeededError: 62. Returns when nothing was touched, or it is postponed.
        """
        if self._record.is_done(planning.COMMIT):
            raise self._not_cut(error)
        if was_commit_begun(self._record.entries()):
            self._require_not_committed(error)
        if any(self._record.is_begun(step) for step in planning.WINDOW_STEPS):
            let_go(self._parts)
            self.roll_back(error.message, cause=error)
        if error.exit_status == POSTPONED or error.reference == STANDS_ELSEWHERE:
            return
        if was_cut_over(self._record.entries()):
            self.roll_back(error.message, cause=error)
        if any(step_id.startswith(BRING_UP) for step_id in self._record.begun()):
            raise RolledBackError(
                "standby-failed",
                f"{self._standby}: {error.message}; {self._active} serves as before, nothing was cut over",
                hint=error.hint,
                facts={**error.facts, "cause": error.reference, "cluster": self._standby},
            ) from error

    def roll_back(self, reason: str, *, cause: TeraFerryError | None = None) -> NoReturn:
        """Send new connections back, bring home what was written meanwhile, and say what could not come.

        Raises:
            RolledBackError: 50, when that is done. OperatorNeededError: 62, when it could not be.
        """
        self._parts.progress.say("rollback", f"back to {self._active}: {reason}", active=self._active)
        try:
            if not self._record.is_rolling_back():
                self._record.note(ROLLBACK, reason=reason)
            execute(self._way_back.actions(), self._record, self._parts.progress)
            self._parts.keys.require_kept(self._record, "after the rollback")
        except KeyContinuityError:
            raise
        except TeraFerryError as error:
            raise OperatorNeededError(
                "switch-back-unproven",
                f"rollback to {self._active}: {error.message}; it began because: {reason}",
                hint="See what the switch says. Then type the same install again, or `teraferry-installer rollback`: "
                "it goes on from there.",
                exit_status=62,
                facts={"cause": error.reference, "reason": reason},
            ) from error
        raise self._rolled_back(reason, cause)

    def let_go_unless_committed(self) -> None:
        """Take traffic from a standby that was not committed."""
        if was_cut_over(self._record.entries()):
            let_go(self._parts)

    def _rolled_back(self, reason: str, cause: TeraFerryError | None) -> RolledBackError:
        found = self._way_back.outcome()
        told = outcome_of(self._record.entries())
        facts: dict[str, Fact] = {**told, **found.facts(), "reason": reason, "active": self._active}
        hint = "`teraferry-installer journal show` has every step; type the same install again when the cause is gone."
        if found.is_pending:
            hint = (
                f"Leave the disks of {self._standby} alone. When it is back, type: teraferry-installer rollback, which "
                "merges them."
            )
        elif found.conflicts:
            hint = "Both versions are kept. Take the right one of each (docs/rollout.md), then type install again."
        return RolledBackError(
            "rolled-back",
            f"rollout failed and was rolled back, {self._active} serves the old release: {reason}; {found.summary()}",
            hint=hint,
            facts={**facts, "cause": cause.reference if cause is not None else None},
        )

    def _require_not_committed(self, error: TeraFerryError) -> None:
        """Refuse to go back from a commit that was made, or may have been.

        Raises:
            OperatorNeededError: ``commit-unfinished``, 62.
        """
        try:
            standing = self._parts.switch.observe().standing
        except TeraFerryError:
            # If it was made, going back would take traffic from where it belongs; if not, the hold ends by itself.
            standing = "it cannot be told what"
        if standing != self._active:
            raise OperatorNeededError(
                "commit-unfinished",
                f"commit of {self._standby}: {error.message}; {standing} stands now, expected the commit to end well",
                hint="See what the switch says, then type the same install again: it goes on from what it says.",
                exit_status=62,
                facts={"cause": error.reference, "standing": standing},
            ) from error

    def _not_cut(self, error: TeraFerryError) -> OperatorNeededError:
        return OperatorNeededError(
            "connections-not-cut",
            f"{self._standby} stands, the release is in place; connections of {self._active} were not cut: "
            f"{error.message}",
            hint="See what the switch says, then type the same install again: it goes on with the cut.",
            exit_status=62,
            facts={"cause": error.reference, "standing": self._standby},
        )

    def _halt_if_asked(self, step: Step) -> None:
        if step.action not in MAY_HALT_BEFORE:
            return
        try:
            self._parts.require_not_stopped()
        except StoppedByOperatorError:
            self._record.note(STOPPED, step.id)
            raise
