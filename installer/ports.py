"""What the site's parts must be able to do, and what they answer. One adapter a file.

A fake in ``tests/fakes`` passes the same contract tests as the real adapter. An adapter that
cannot tell raises ``RefusedError`` with reference ``cannot-tell`` (or a more telling one);
it never guesses, since a guess would be taken for a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from teraferry.bundles.digest import Buffer, Digest
from teraferry.bundles.system.process import Completed


@dataclass(frozen=True, slots=True)
class StripeGroup:
    """One erasure-coded volume and who holds which of its shards."""

    id: int
    data_shards: int
    parity_shards: int
    holders: Mapping[str, frozenset[int]]  # node address -> shard numbers, empty ones left out


@dataclass(frozen=True, slots=True)
class ReplicatedVolume:
    """One normal volume and who holds a copy."""

    id: int
    copies_wanted: int
    holders: frozenset[str]  # node addresses


@dataclass(frozen=True, slots=True)
class ClusterObservation:
    """What the storage itself says at one moment."""

    nodes: frozenset[str]  # addresses of the volume servers that are in
    stripe_groups: tuple[StripeGroup, ...]
    volumes: tuple[ReplicatedVolume, ...]


class NodeTransport(Protocol):
    """Reaches one node."""

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
        """Run ``argv`` on the node and return what it did; a nonzero status does not raise.

        Raises:
            RefusedError: ``node-unreachable``, 40: it could not be run at all.
        """

    def upload(self, pieces: Iterable[Buffer], path: str, *, mode: int, digest: Digest) -> None:
        """Write ``path`` on the node durably: a .part beside it, digest checked there, then renamed.

        Raises:
            RefusedError: ``node-unreachable``, ``node-no-space`` or ``upload-damaged``; ``path`` is as before.
        """


class Cluster(Protocol):
    """The storage cluster that a tier 1 site runs. Node arguments are cluster addresses."""

    def observe(self) -> ClusterObservation:
        """Return the storage's own truth, now.

        Raises:
            RefusedError: ``cluster-unreachable`` or ``cannot-tell``, 40.
        """

    def drain(self, node: str) -> None:
        """Move everything off ``node``; no shard is ever missing meanwhile. Idempotent."""

    def leave(self, node: str) -> None:
        """Tell the cluster that ``node`` goes away; new requests stop coming. Idempotent."""

    def rebalance(self, *, home: str = "") -> None:
        """Keep one of each shard; ``observe`` tells when that is so. Idempotent.

        Args:
            home: The node that was drained, and whose own shards stay: what ``drain`` put elsewhere goes. Empty
                for the one this process drained last, which a resumed run cannot know.
        """

    def serves(self, address: str) -> bool:
        """Tell whether the filer at ``address`` answers requests."""


class Workload(Protocol):
    """What one node runs for one deploy entry."""

    def staged(self, digest: Digest) -> bool:
        """Tell whether the bytes ``digest`` names are on the node, whole."""

    def stage(self, pieces: Iterable[Buffer], digest: Digest, *, mode: int) -> None:
        """Bring the bytes to the node, beside the running version, durably. Idempotent."""

    def selected(self) -> Digest | None:
        """Return the digest that the next start will run; None when nothing is selected."""

    def select(self, digest: Digest) -> None:
        """Make the next start run ``digest``, atomically and durably. The old bytes stay."""

    def running(self) -> frozenset[Digest]:
        """Return the digests of the executables that run now, from the processes themselves."""

    def stop(self) -> None:
        """Stop it, gracefully; returns when it is gone. Idempotent."""

    def start(self) -> None:
        """Start it; never as a child of ours. Idempotent."""


class Lock(Protocol):
    """Keeps a second installer, on whatever machine, away from the site while one is at work or half done."""

    def acquire(self) -> None:
        """Take it on every node, or on none that was free. Ours already is as good.

        Raises:
            RefusedError: ``node-locked`` or ``node-lock-failed``, 42; ``node-unreachable``, 40.
        """

    def release(self) -> None:
        """Give it back; only ever what is ours. Never raises for a node that cannot be reached."""


class ComplianceProbe(Protocol):
    """Tells whether something runs that an install must not disturb. It answers in JSON; a gate judges it."""

    @property
    def name(self) -> str:
        """What site.toml calls it: ``legal_hold``, ``audit_export``."""

    def ask(self) -> bytes:
        """Return the answer, unjudged; one byte above ``conditions.MAX_ANSWER_BYTES`` at most.

        Raises:
            CannotAnswerError: There is none; never taken for "nothing runs".
        """


@dataclass(frozen=True, slots=True)
class TrafficObservation:
    """Where the switch itself says that new connections go. Established ones stay where they are."""

    active: str  # "blue" or "green": where a new connection goes now
    standing: str  # where it goes when nobody holds it elsewhere, and after a reboot
    held_seconds: float | None  # how long ``active`` still holds without a renewal; None when it is ``standing``


class TrafficSwitch(Protocol):
    """Sends new connections of the virtual address to blue or to green; no established one is ever moved or cut."""

    @property
    def has_dead_man(self) -> bool:
        """Tell whether a hold that nobody renews ends by itself, without any process of ours."""

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


@dataclass(frozen=True, slots=True)
class ReplicationObservation:
    """What replication from one cluster to the other says of itself. Counts since it began."""

    received: int
    processed: int
    in_flight: int
    failed: int


class Replicator(Protocol):
    """Keeps what is written on one cluster on the other as well. Clusters are "blue" and "green"."""

    @property
    def writers(self) -> str:
        """Return "two" when both clusters take writes at once, "one" when one of them is the primary."""

    def observe(self, source: str) -> ReplicationObservation:
        """Return where replication out of ``source`` stands.

        Raises:
            RefusedError: ``replication-cannot-tell``, 40.
        """

    def sync_state(self, source: str, *, marker: str, stalled_after_seconds: float) -> None:
        """Return once a ``marker`` written on ``source`` was read on the other, and all before it is there.

        Received equals processed, nothing is in flight, nothing failed. Gives up when nothing moved for so long.

        Raises:
            RefusedError: ``replication-stalled``, ``replication-failed`` or ``replication-cannot-tell``, 40.
        """

    def pending(self, source: str) -> Sequence[str] | None:
        """Name the acknowledged writes on ``source`` that the other lacks; None when that cannot be told.

        None is never reported as nothing.
        """

    def conflicts(self) -> Sequence[str]:
        """Name what was written on both clusters since ``sync_state``, and differs; both versions are kept."""


class Registry(Protocol):
    """The site's own OCI registry. ``repository`` has no host; contents are pushed by digest."""

    def require_ready(self) -> None:
        """Check that it answers and lets us in.

        Raises:
            RefusedError: 44, ``registry-unreachable``, ``registry-certificate``, ``registry-password``.
        """

    def has_blob(self, repository: str, digest: Digest, *, length_bytes: int | None = None) -> bool:
        """Tell whether the blob is there (HEAD), with that length when one is given."""

    def mount_blob(self, repository: str, digest: Digest, *, source: str) -> bool:
        """Try to take the blob over from another repository; False when it was not."""

    def push_blob(self, repository: str, digest: Digest, length_bytes: int, pieces: Iterable[Buffer]) -> None:
        """Upload one blob; the registry checks its digest. ``pieces`` is iterated anew for each attempt."""

    def read_blob(self, repository: str, digest: Digest) -> Iterator[Buffer]:
        """Return the bytes the registry serves for a blob, unverified: the caller digests them."""

    def put_manifest(self, repository: str, reference: str, content: bytes, media_type: str) -> None:
        """Upload a manifest under a tag or its digest."""

    def get_manifest(self, repository: str, reference: str) -> bytes | None:
        """Return the manifest's bytes (GET, never HEAD); None when it is not there."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal."""

    sequence: int  # 1, 2, 3 ... without a gap
    time_utc: str  # RFC 3339; told, never relied on
    run: str  # which install this belongs to
    event: str  # "run-started", "intent", "done", "gate", "failed", "run-ended" ...
    step: str  # id of the step, "" where there is none
    facts: Mapping[str, object]  # JSON values; no secret
    previous: Digest  # digest of the line before; of nothing for the first


class Journal(Protocol):
    """The append-only durable record of a site: resume point and audit trail."""

    def append(self, *, time_utc: str, run: str, event: str, step: str = "", facts: Mapping[str, object]) -> Entry:
        """Return only once the entry is on stable storage."""

    def replay(self) -> Sequence[Entry]:
        """Return every acknowledged entry, oldest first, the chain verified.

        Raises:
            OperatorNeededError: ``journal-corrupt``, 62.
        """
