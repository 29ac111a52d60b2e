"""What the masters say, waited for while none of them answers, and what is done under their lock.

A master that restarts, or a new one that is elected, is silent for seconds. An install with nodes before and behind it
shall not end for that, so masters that answered before are waited for. Nothing is decided meanwhile, and nothing is
taken for a pass. A master that has just started knows only what the volume servers have told it since: who empties a
node asks first whether every shard is accounted for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.clock import monotonic_seconds, sleep_seconds
from teraferry.installer.adapters.cluster import seaweedfs_maps as maps
from teraferry.installer.adapters.cluster import seaweedfs_moving as moving
from teraferry.installer.adapters.cluster.seaweedfs_placement import Placement, parse_placement
from teraferry.installer.adapters.cluster.seaweedfs_rpc import AdminLock, CallFailedError, call_leader

AWAY_SECONDS: Final = 60.0
"""One that is started anew elects itself after 16 s at most (measured); of three, the others elect one after 2 s."""

LOCK_ATTEMPTS: Final = 3
"""A lock that was lost while the masters were away is taken anew, and what was under way is looked at anew."""

SHOWN_SECONDS: Final = 30.0
"""Volume servers tell the master about a change at once; a whole heartbeat is 5 s."""

TOLD_SECONDS: Final = 10.0
"""After a master was started anew, every volume server has told it what it holds (measured: 5 s)."""

LOOK_AGAIN_SECONDS: Final = 0.5


class Masters:
    """The masters of one cluster, as one process asks them.

    Args:
        addresses: Their HTTP addresses, as site.toml names them.
        lock_wait_seconds: How long another holder of the storage's lock is waited for.
    """

    def __init__(self, addresses: Sequence[str], *, lock_wait_seconds: float) -> None:
        self.addresses = tuple(addresses)
        self._lock_wait_seconds = lock_wait_seconds
        self._answered = False  # when one was asked last

    def placement(self) -> Placement:
        """Return what the leader says now; masters that answered before are waited for.

        Raises:
            RefusedError: ``cluster-unreachable`` or ``cannot-tell``, 40.
        """
        from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

        give_up = monotonic_seconds() + (AWAY_SECONDS if self._answered else 0)
        while True:
            try:
                answer = call_leader(self.addresses, "VolumeList", pb.VolumeListRequest(), pb.VolumeListResponse)
            except CallFailedError as error:
                if monotonic_seconds() >= give_up:
                    self._answered = False
                    raise self._unreachable(error) from error
                sleep_seconds(LOOK_AGAIN_SECONDS)
            else:
                self._answered = True
                return parse_placement(answer)

    def is_shown(self, is_so: Callable[[Placement], bool], *, seconds: float = TOLD_SECONDS) -> bool:
        """Wait until the leader shows it, and tell whether it did.

        Raises:
            RefusedError: As ``placement``.
        """
        deadline = monotonic_seconds() + seconds
        while not is_so(self.placement()):
            if monotonic_seconds() > deadline:
                return False
            sleep_seconds(0.1)
        return True

    def wait_for(self, what: str, is_so: Callable[[Placement], bool]) -> None:
        """Wait until the leader shows it.

        Raises:
            RefusedError: As ``placement``; ``cannot-tell`` also when it does not come.
        """
        if not self.is_shown(is_so, seconds=SHOWN_SECONDS):
            found = f"{what}: not shown by the master within {SHOWN_SECONDS:.0f} s"
            raise moving.cannot_tell(found, "it in VolumeList")

    def under_lock(self, act: Callable[[AdminLock], None]) -> None:
        """Do what may be repeated while the storage's lock is held; begin again when it was lost on the way.

        Raises:
            RefusedError: ``storage-locked``, ``storage-lock-lost``, or what ``act`` raised; 40.
        """
        for attempt in range(1, LOCK_ATTEMPTS + 1):
            try:
                with AdminLock(self.addresses, wait_seconds=self._lock_wait_seconds) as lock:
                    moving.persist(partial(act, lock), pause=partial(_pause, lock))
            except RefusedError as refused:
                if refused.reference != "storage-lock-lost" or attempt == LOCK_ATTEMPTS:
                    raise
            else:
                return

    def _unreachable(self, error: CallFailedError) -> RefusedError:
        return moving.refuse(
            "cluster-unreachable",
            f"masters {', '.join(self.addresses)}: {error}, expected the leader to answer",
            hint="Check that the masters run and stand rightly in site.toml: `teraferry-installer doctor`.",
            masters=list(self.addresses),
        )


def _pause(lock: AdminLock) -> None:
    lock.require_held()
    sleep_seconds(maps.SETTLE_SECONDS)
