"""Blobs from verified memory into the registry, several at a time.

A blob that the registry says it holds, with the right length, is not sent again. Saying so proves
nothing, so ``check_registry`` reads each one back; a registry that keeps a damaged blob also keeps it
when the right bytes are pushed again (it takes the name for the content), hence an error of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from teraferry.bundles.digest import Buffer, Digest, StreamDigest, hex_of
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.progress import Progress
from teraferry.installer.ports import Registry
from teraferry.installer.together import run_together


class StreamsBlobs(Protocol):
    """Hands out a blob's bytes, each verified before it is handed out."""

    def stream_blob(self, digest: Digest, *, receiver_digests: bool = False) -> Iterator[memoryview]:
        """Return the blob's bytes in pieces; each stays valid after the next is asked for.

        With ``receiver_digests`` the bytes are the signed ones all the same, but whether they are what their
        name says is left to whoever receives them.
        """


@dataclass(frozen=True, slots=True)
class BlobTask:
    """One blob and every repository that needs it."""

    digest: Digest
    length_bytes: int
    repositories: tuple[str, ...]


class _StoppedError(Exception):
    """Another blob failed; this upload is cancelled."""


class BlobLoader:
    """Pushes blobs and counts what it did. ``load`` is called once."""

    def __init__(
        self,
        reader: StreamsBlobs,
        registry: Registry,
        *,
        progress: Progress,
        check_registry: bool = False,
        require_not_stopped: Callable[[], None] = lambda: None,
    ) -> None:
        self._reader = reader
        self._registry = registry
        self._progress = progress
        self._check_registry = check_registry
        self._require_not_stopped = require_not_stopped
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.loaded_bytes = self.skipped_bytes = self.blobs_loaded = self.blobs_skipped = 0

    def load(self, tasks: Sequence[BlobTask], *, jobs: int) -> None:
        """Bring every blob into each repository that needs it.

        Raises:
            RefusedError: 44, from the registry, or ``registry-blob-corrupt``.
            BundleError: From the reader; the uploads under way are cancelled.
        """
        run_together([partial(self._load, task) for task in tasks], jobs=jobs, stop=self._stop)

    def _load(self, task: BlobTask) -> None:
        self._require_not_stopped()
        pieces = _Pieces(self._reader, task, progress=self._progress, stop=self._stop)
        missing = [name for name in task.repositories if not self._held(name, task)]
        holders = [name for name in task.repositories if name not in missing]
        pushed = False
        for repository in missing:
            if not holders or not self._registry.mount_blob(repository, task.digest, source=holders[0]):
                self._push(repository, task, pieces)
                pushed = True
            holders.append(repository)
        if self._check_registry:
            self._require_served(task, pieces)
        pieces.count_to_end()
        with self._lock:
            self.blobs_loaded += pushed
            self.blobs_skipped += not pushed
            self.loaded_bytes += task.length_bytes if pushed else 0
            self.skipped_bytes += 0 if pushed else task.length_bytes

    def _held(self, repository: str, task: BlobTask) -> bool:
        return self._registry.has_blob(repository, task.digest, length_bytes=task.length_bytes)

    def _push(self, repository: str, task: BlobTask, pieces: _Pieces) -> None:
        # A blob that is there with another length was cut short on the registry's disk.
        damaged = self._registry.has_blob(repository, task.digest)
        try:
            self._registry.push_blob(repository, task.digest, task.length_bytes, pieces)
        except RefusedError as refused:
            if refused.reference == "registry-refused":
                # The registry digests what it receives; if its complaint is right, the bundle is what is wrong.
                self._require_itself(task)
            raise
        if damaged and not self._held(repository, task):
            raise _corrupt(task, found="another length")

    def _require_itself(self, task: BlobTask) -> None:
        """Read the blob once more and compare its digest here.

        Raises:
            BundleError: ``entry-digest-mismatch``, 10: it was signed, but is not what its name says.
        """
        for _ in self._reader.stream_blob(task.digest):
            if self._stop.is_set():
                return

    def _require_served(self, task: BlobTask, pieces: _Pieces) -> None:
        if self._served_digest(task) == task.digest:
            return
        # Some registries replace what they hold; the others are found out by reading again.
        self._registry.push_blob(task.repositories[0], task.digest, task.length_bytes, pieces)
        found = self._served_digest(task)
        if found != task.digest:
            raise _corrupt(task, found=found)

    def _served_digest(self, task: BlobTask) -> Digest:
        stream = StreamDigest()
        for piece in self._registry.read_blob(task.repositories[0], task.digest):
            stream.update(piece)
            # No more than one byte too many is of interest: a lying registry could serve without an end.
            if stream.length_bytes > task.length_bytes or self._stop.is_set():
                break
        return stream.digest()


class _Pieces:
    """A blob's bytes, from the first one again for each attempt; counts progress once."""

    def __init__(self, reader: StreamsBlobs, task: BlobTask, *, progress: Progress, stop: threading.Event) -> None:
        self._reader = reader
        self._task = task
        self._progress = progress
        self._stop = stop
        self._counted_bytes = 0

    def __iter__(self) -> Iterator[Buffer]:
        sent_bytes = 0
        # PUT names the digest and the registry refuses other bytes; a second digest here would cost a third of the
        # processor time of a load, on the machine that often runs the registry too [measured].
        for piece in self._reader.stream_blob(self._task.digest, receiver_digests=True):
            if self._stop.is_set():
                raise _StoppedError
            yield piece
            sent_bytes += len(piece)
            self._count_to(sent_bytes)

    def count_to_end(self) -> None:
        """Count what was not sent, because it was there already."""
        self._count_to(self._task.length_bytes)

    def _count_to(self, done_bytes: int) -> None:
        # A second attempt, or a second repository, must not count the same bytes again.
        if done_bytes > self._counted_bytes:
            self._progress.advance(done_bytes - self._counted_bytes)
            self._counted_bytes = done_bytes


def _corrupt(task: BlobTask, *, found: str) -> RefusedError:
    digits = hex_of(task.digest)
    return RefusedError(
        "registry-blob-corrupt",
        f"blob {task.digest} in the registry: {found}, expected the bytes it is named for",
        hint="Stop the registry, delete its damaged copy (distribution keeps it in "
        f"docker/registry/v2/blobs/sha256/{digits[:2]}/{digits}/data), start it, then type the same command again.",
        exit_status=44,
        facts={"blob": task.digest, "found": found, "repositories": list(task.repositories)},
    )
