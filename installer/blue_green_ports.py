"""What two clusters and the way between them must be able to do, and what they answer. One adapter a file.

Clusters are "blue" and "green". As in ``ports``: a fake passes the same contract tests as the real adapter, and who
cannot tell says so; None and an error are never taken for nought.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TrafficObservation:
    """Where the switch itself says that new connections go. Established ones stay where they are."""

    active: str  # "blue" or "green": where a new connection goes now
    standing: str  # where it goes when nobody holds it elsewhere, and after a reboot
    held_seconds: float | None  # how long ``active`` still holds without a renewal; None when it is ``standing``


class TrafficSwitch(Protocol):
    """Sends new connections of the virtual address to blue or to green; no established one is moved, or cut unasked."""

    @property
    def has_dead_man(self) -> bool:
        """Tell whether a hold that nobody renews ends by itself, without any process of ours."""

    def set_up(self, standing: str) -> None:
        """Have what switching needs, with ``standing`` as the standing side where there was nothing yet. Idempotent.

        Raises:
            RefusedError: ``switch-failed`` or ``switch-cannot-tell``, 40.
        """

    def observe(self) -> TrafficObservation:
        """Return what the switch says, now.

        Raises:
            RefusedError: ``switch-cannot-tell``, 40.
        """

    def hold(self, cluster: str, *, seconds: float) -> None:
        """Cutover: send new connections to ``cluster`` for so long, unless renewed. Read back before it returns.

        Raises:
            RefusedError: ``switch-failed``, 40; new connections go where they went.
        """

    def renew(self, *, seconds: float) -> None:
        """Let what is held hold for so long from now. Read back before it returns.

        Raises:
            RefusedError: ``hold-lapsed``, 40: nothing was held any more; new connections are on the standing side.
        """

    def release(self) -> None:
        """Send new connections to the standing side, at once. Idempotent."""

    def commit(self, cluster: str) -> None:
        """Make ``cluster`` the standing side, durably: a reboot brings it back. Idempotent."""

    def established(self, cluster: str) -> int | None:
        """Count the connections of the virtual address that ``cluster`` serves; None when that cannot be told."""

    def require_can_cut(self) -> None:
        """See that ``cut`` can be done here; nothing is.

        Raises:
            RefusedError: ``switch-cannot-cut``, 40.
        """

    def cut(self, cluster: str) -> None:
        """End the established connections that ``cluster`` serves, which gets no new ones any more. Idempotent.

        Raises:
            RefusedError: ``switch-failed``, ``switch-cannot-cut`` or ``switch-cannot-tell``, 40: some may be left, or
                ``cluster`` has new connections and nothing was cut.
        """


@dataclass(frozen=True, slots=True)
class ReplicationObservation:
    """What replication from one cluster to the other says of itself. Counts since it began."""

    received: int
    processed: int
    in_flight: int
    failed: int


class Replicator(Protocol):
    """Keeps what is written on one cluster on the other as well."""

    @property
    def writers(self) -> str:
        """Return "two" when both clusters take writes at once, "one" when one of them is the primary."""

    def start(self) -> None:
        """Have replication run: both ways with two writers, else out of the primary. Idempotent; no child of ours.

        Where it had stopped, because a cluster was away or died, it goes on from where it was.

        Raises:
            RefusedError: ``replication-failed``, 40.
        """

    def observe(self, source: str) -> ReplicationObservation:
        """Return where replication out of ``source`` stands.

        Raises:
            RefusedError: ``replication-cannot-tell``, 40.
        """

    def sync_state(self, source: str, *, marker: str, stalled_after_seconds: float) -> None:
        """Return once a ``marker`` written on ``source`` was read on the other, and all before it is there.

        Received equals processed, nothing is in flight, nothing failed. Gives up when nothing moved for so long.
        The same marker may be asked for again after a kill, and is written anew then.

        Raises:
            RefusedError: ``replication-stalled``, ``replication-failed`` or ``replication-cannot-tell``, 40.
        """

    def pending(self, source: str) -> Sequence[str] | None:
        """Name the acknowledged writes on ``source`` that the other lacks; None when that cannot be told.

        None is never reported as nothing. ``source`` may be dead: then what can be proven without it counts.
        """

    def conflicts(self, *, marker: str) -> Sequence[str]:
        """Name what was written on both clusters since ``sync_state`` wrote ``marker``, and nobody resolved yet.

        Both versions are kept by then, and stay until a person took one of them. With one writer: always none.

        Raises:
            RefusedError: ``replication-cannot-tell``, 40.
        """


class Promotion(Protocol):
    """Moves the one primary of a ``Replicator`` whose ``writers`` are "one"; the same adapter is both.

    In order: ``hold_writes``, ``Replicator.sync_state``, ``promote``, ``release_writes``. Clients wait meanwhile, none
    of their writes fails.
    """

    def primary(self) -> str:
        """Return the cluster that takes writes, and that they go to once they are released.

        Raises:
            RefusedError: ``replication-cannot-tell``, 40: both, or neither, or nobody answers.
        """

    def hold_writes(self, *, seconds: float) -> None:
        """Let new writes wait, and return once none is under way. Idempotent.

        The hold ends by itself after ``seconds``, whoever is killed: then writes go on to the primary.

        Raises:
            RefusedError: ``write-hold-failed``, 40; writes go on.
        """

    def promote(self, cluster: str) -> None:
        """Make ``cluster`` the primary while writes are held; the old one takes no write any more first. Idempotent.

        Raises:
            RefusedError: ``write-hold-lapsed``, 40: writes were not held any more, and nothing was promoted;
                ``promotion-failed``, 40: ask ``primary`` who is.
        """

    def release_writes(self) -> None:
        """Let writes go on, to the primary. Idempotent.

        Raises:
            RefusedError: ``write-hold-failed``, 40; the hold still ends by itself.
        """


@dataclass(frozen=True, slots=True)
class HealthAnswer:
    """What the application said when it was asked whether it is well; unjudged."""

    status: int  # of HTTP
    milliseconds: float  # from the question to the last byte
    content: bytes


class HealthProbe(Protocol):
    """Asks the application on one cluster whether it is well."""

    def ask(self, cluster: str) -> HealthAnswer:
        """Return its whole answer, within the time that a check may take.

        Raises:
            CannotAnswerError: There is none; never taken for health.
        """
