"""A deadline that counts progress: a wait may take hours while something moves, and ends when nothing does."""

from __future__ import annotations

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.clock import monotonic_seconds


class Watch:
    """Gives up when nothing moved for so long."""

    def __init__(self, stalled_after_seconds: float) -> None:
        self._stalled_after_seconds = stalled_after_seconds
        self._seen = -1
        self._moved_at = monotonic_seconds()

    def moved(self) -> None:
        """Note that something moved."""
        self._moved_at = monotonic_seconds()

    def see(self, count: int) -> None:
        """Note a count; another one than before is a movement."""
        if count != self._seen:
            self._seen = count
            self.moved()

    def require_moving(self, what: str) -> None:
        """Check that something moved of late.

        Raises:
            RefusedError: ``replication-stalled``, 40.
        """
        idle = monotonic_seconds() - self._moved_at
        if idle > self._stalled_after_seconds:
            raise RefusedError(
                "replication-stalled",
                f"{what}: not on the other cluster, and nothing moved for {idle:.0f} s, expected it to arrive",
                hint="Check that replication runs and reaches both clusters, then type the same command again.",
                facts={"what": what, "stalled_after_seconds": self._stalled_after_seconds},
            )
