"""``cut_after``: what the old side still serves that long after the cutover is cut, where the site asked for it.

Only after the commit, only on the side that has no new connections, and never before its time: the time is counted by
the process that waits, anew when an earlier one was killed. Where nothing is left before then, nobody is cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from teraferry.installer.rollout.blue_green_parts import BlueGreenParts
from teraferry.installer.rollout.blue_green_plan import other_cluster
from teraferry.installer.rollout.execute import Action, RunRecord
from teraferry.installer.rollout.plan import Step

LOOK_EVERY_SECONDS: Final = 5.0


def require_can_cut(parts: BlueGreenParts) -> None:
    """Find out before anybody is moved that the site asked for what its switch cannot do.

    Raises:
        RefusedError: ``switch-cannot-cut`` or ``switch-cannot-tell``, 40.
    """
    if parts.window.cut_after_seconds is not None:
        parts.switch.require_can_cut()


class CutConnections:
    """The one step, and since when its time runs."""

    def __init__(self, parts: BlueGreenParts, record: RunRecord, *, standby: str) -> None:
        self._parts = parts
        self._record = record
        self._old = other_cluster(standby)
        self._since_seconds: float | None = None
        self._cut: int | None = 0  # None when nobody could count them

    def begin(self) -> None:
        """Remember that new connections were moved a moment ago."""
        self._since_seconds = self._parts.monotonic_seconds()

    def action(self, step: Step) -> Action:
        """Return the step as an action."""
        is_done = lambda: self._record.is_done(step.id)  # noqa: E731
        return Action(step, is_done, self._none_left, self._wait_and_cut, self._confirm, {})

    def _none_left(self) -> bool:
        return self._parts.switch.established(self._old) == 0

    def _wait_and_cut(self) -> None:
        parts = self._parts
        since = parts.monotonic_seconds() if self._since_seconds is None else self._since_seconds
        until = since + (parts.window.cut_after_seconds or 0)
        while (left_seconds := until - parts.monotonic_seconds()) > 0:
            if self._none_left():
                return
            parts.require_not_stopped()
            parts.progress.waiting(f"connections of {self._old} to end", f"cut in {left_seconds:.0f} s")
            parts.sleep_seconds(min(left_seconds, LOOK_EVERY_SECONDS))
        self._cut = parts.switch.established(self._old)
        parts.switch.cut(self._old)

    def _confirm(self) -> Mapping[str, object]:
        left = self._parts.switch.established(self._old)
        told = "how many cannot be told" if self._cut is None else str(self._cut)
        self._parts.progress.say("cut", f"connections of {self._old} that were cut: {told}", cut=self._cut)
        return {"cut": self._cut, "still_served": left}
