"""Registry and journal of a site in memory, for a process that can be killed at any touch of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from teraferry.bundles.digest import Buffer, Digest
from teraferry.installer.ports import Entry, Journal
from tests.fakes.rollout_site import Hands, Killed, Life, Touched


class SiteRegistry(Hands[Touched]):
    """``Registry``; a tag before every blob of every image is there is a violation."""

    def __init__(self, world: Touched, life: Life, needed: frozenset[Digest]) -> None:
        super().__init__(world, life)
        self._inner = world.registry
        self._needed = needed

    def require_ready(self) -> None:
        self.reach("require_ready")
        self._inner.require_ready()

    def has_blob(self, repository: str, digest: Digest, *, length_bytes: int | None = None) -> bool:
        self.reach("has_blob")
        return self._inner.has_blob(repository, digest, length_bytes=length_bytes)

    def mount_blob(self, repository: str, digest: Digest, *, source: str) -> bool:
        self.reach("mount_blob: before")
        done = self._inner.mount_blob(repository, digest, source=source)
        self.reach("mount_blob: after")
        return done

    def push_blob(self, repository: str, digest: Digest, length_bytes: int, pieces: Iterable[Buffer]) -> None:
        self.reach("push_blob: before")
        self._inner.push_blob(repository, digest, length_bytes, pieces)
        self.reach("push_blob: after")

    def read_blob(self, repository: str, digest: Digest) -> Iterator[Buffer]:
        self.reach("read_blob")
        return self._inner.read_blob(repository, digest)

    def put_manifest(self, repository: str, reference: str, content: bytes, media_type: str) -> None:
        self.reach(f"put_manifest {repository}: before")
        if not reference.startswith("sha256:") and not self._needed <= {digest for _, digest in self._inner.links}:
            self.world.violations.append(f"{repository}:{reference} tagged before every blob was there")
        self._inner.put_manifest(repository, reference, content, media_type)
        self.reach(f"put_manifest {repository}: after")

    def get_manifest(self, repository: str, reference: str) -> bytes | None:
        self.reach("get_manifest")
        return self._inner.get_manifest(repository, reference)


class SiteJournal(Hands[Touched]):
    """A journal that is read once a process; a line can be torn by the death of its writer.

    Args:
        inner: The real one, or the one in memory.
        tear: Leaves the first bytes of a line behind those that are there.
    """

    def __init__(self, world: Touched, life: Life, inner: Journal, tear: Callable[[bytes], object]) -> None:
        super().__init__(world, life)
        self._inner = inner
        self._tear = tear
        self._entries: list[Entry] | None = None  # what is there, once it was read

    def append(self, *, time_utc: str, run: str, event: str, step: str = "", facts: Mapping[str, object]) -> Entry:
        what = f"journal {event} {step}".strip()
        self.reach(f"{what}: before")
        try:
            self.reach(f"{what}: torn")
        except Killed:
            self._tear(b'{"event":"')
            raise
        known = self.replay()
        entry = self._inner.append(time_utc=time_utc, run=run, event=event, step=step, facts=facts)
        self._entries = [*known, entry]
        self.reach(f"{what}: after")
        return entry

    def replay(self) -> Sequence[Entry]:
        if self._entries is None:
            self._entries = list(self._inner.replay())
        return tuple(self._entries)
