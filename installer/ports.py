"""What the site's parts must be able to do, and what they answer. One adapter a file.

A fake in ``tests/fakes`` passes the same contract tests as the real adapter. An adapter that
cannot tell raises ``RefusedError`` with reference ``cannot-tell`` (or a more telling one);
it never guesses, since a guess would be taken for a pass. What only a blue-green rollout needs is in
``blue_green_ports``.
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

    @property
    def missing(self) -> frozenset[int]:
        """The shards that are on line nowhere."""
        return frozenset(range(self.data_shards + self.parity_shards)).difference(*self.holders.values())


@dataclass(frozen=True, slots=True)
class ReplicatedVolume:
    """One normal volume and who holds a copy."""

    id: int
    copies_wanted: int
    holders: frozenset[str]  # node addresses


@dataclass(frozen=True, slots=True)
class Said:
    """One condition on the whole cluster, and what it answered: of storage that does not tell its shards."""

    condition: str
    passes: bool
    found: str


@dataclass(frozen=True, slots=True)
class ClusterObservation:
    """What the storage itself says at one moment."""

    nodes: frozenset[str]  # addresses of the volume servers that are in
    stripe_groups: tuple[StripeGroup, ...]
    volumes: tuple[ReplicatedVolume, ...]
    said: tuple[Said, ...] = ()
    unknown: frozenset[str] = frozenset()  # addresses of which nobody can tell whether they are in
    holding: frozenset[str] = frozenset()  # not said to be empty, of storage that does not tell its shards


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


@dataclass(frozen=True, slots=True)
class Place:
    """What a node says of the place of one file that is to be brought to it."""

    path: str
    free_bytes: int  # for whoever installs, on the file system that ``path`` lies on
    staged_bytes: int  # of the new file that are there already


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node says of itself before anything is brought to it."""

    seconds_since_epoch: float  # its clock
    places: tuple[Place, ...]
    units_missing: tuple[str, ...]  # asked for, and not known to its systemd
    has_curl: bool = True  # can fetch a file by itself


class NodeProbe(Protocol):
    """Looks at one node; changes nothing there."""

    def look(self, files: Sequence[tuple[str, Digest]], units: Sequence[str]) -> NodeFacts:
        """Return what the node says, now.

        Args:
            files: (path that will run it, digest) of every file that goes there.
            units: systemd units that run them.

        Raises:
            RefusedError: ``node-unreachable`` or ``cannot-tell``, 40.
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

    def rejoin(self, node: str) -> None:
        """Tell the cluster that ``node`` is back, where it must be told. Idempotent; ``observe`` says what it did."""

    def rebalance(self, *, home: str = "") -> None:
        """Keep one of each shard; ``observe`` tells when that is so. Idempotent.

        Args:
            home: The node that was drained, and whose own shards stay: what ``drain`` put elsewhere goes. Empty
                for the one this process drained last, which a resumed run cannot know.
        """

    def serves(self, address: str) -> bool:
        """Tell whether the filer at ``address`` answers requests."""


@dataclass(frozen=True, slots=True)
class MasterView:
    """What one master says of all of them."""

    leader: str  # its address; empty when it knows of none
    members: frozenset[str]  # addresses


class Quorum(Protocol):
    """The masters of a storage cluster, which elect one of them. Arguments are their addresses."""

    def observe(self) -> Mapping[str, MasterView]:
        """Return master -> what it says now; one that does not answer is left out."""

    def step_down(self, master: str) -> None:
        """Let another one lead, where a storage can be asked for that; ``observe`` says what it did. Idempotent."""


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
