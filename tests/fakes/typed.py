"""Installs that are typed again and again, and killed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from teraferry.installer.install import InstallReport
from teraferry.installer.rollout.stopping import StoppedByOperatorError
from tests.fakes.rollout_site import Killed, Life

LOOKS = ("running", "selected", "staged", "has_blob", "get_manifest", "require_ready", "confirm")
"""Touches that change nothing, of any tier; each has some of its own."""


class Typed(ABC):
    """A site where somebody types ``install``."""

    @abstractmethod
    def install(self, life: Life | None = None) -> InstallReport:
        """Type ``install`` once, as a new process."""

    def killed(self, kill_at: int) -> Life:
        """Type ``install`` and kill it; a process that was quicker than its killer is fine, too."""
        life = Life(kill_at)
        try:
            self.install(life)
        except Killed:
            assert life.dead
        return life

    def killed_at(self, what: str, *, times: int = 1) -> None:
        """Type ``install`` and kill it when it touches ``what`` for the first time, or the second ..."""
        try:
            self.install(Life(at=(what, times)))
        except Killed:
            return
        raise AssertionError(f"it never came to {what}")


def stopped_after(life: Life, touches: int | None) -> Callable[[], None]:
    """Return what raises once ``life`` touched its site so often: somebody asked for a stop; never with None."""

    def require_not_stopped() -> None:
        if touches is not None and len(life.touches) >= touches:
            raise StoppedByOperatorError(changed=True)

    return require_not_stopped


def kill_points(touches: Sequence[str], *, looks: tuple[str, ...]) -> list[int]:
    """Return the touches at which to die, from 1: one for each state that a kill can leave the site in.

    A process that dies before a call, or at one that only ``looks``, leaves what it left after the call before.
    """
    return [
        n for n, what in enumerate(touches, start=1) if not what.startswith(looks) and not what.endswith(": before")
    ]
