"""The file of a bundle, handed out in chunks that matched their signed digest in memory.

The bytes that were digested are the bytes that are handed out. A chunk that is read again is digested again,
so a medium that answers differently the second time is noticed, never believed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from teraferry.bundles.digest import Buffer, Digest
from teraferry.bundles.errors import BundleError, Fact, medium_unreadable
from teraferry.bundles.index import IndexEntry, SignedBundle
from teraferry.bundles.limits import CHUNK_BYTES
from teraferry.bundles.recycled_memory import RecycledMemory

ReadAt = Callable[[int, int], bytes]
"""``(offset, count)`` to at most ``count`` bytes, none at the end; what ``os.pread`` does on an open file."""

NEW_COPY_HINT = "Copy the kit to the medium again, or take another medium; then run the same command again."

_KEPT_CHUNKS: Final = 4
"""Chunks where one entry ends and another begins; kept so that small entries do not each cost 4 MiB."""


class BundleFile:
    """The file as it lies on the medium: opened once, never followed through a link, never trusted."""

    def __init__(self, path: Path, signed: SignedBundle, read_at: ReadAt | None) -> None:
        self._path = path
        self._signed = signed
        self._read_at = read_at
        self._descriptor = -1

    def open(self) -> None:
        """Open the file and compare its length.

        Raises:
            BundleError: 10 ``bundle-missing``, ``bundle-not-regular``, ``bundle-truncated``, ``bundle-extended``;
                11 ``medium-unreadable``.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            self._descriptor = os.open(self._path, flags)
            status = os.fstat(self._descriptor)
        except FileNotFoundError as error:
            raise self._wrong("bundle-missing", found="no such file", expected=self._signed.name) from error
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise self._wrong("bundle-not-regular", found="a link", expected="a regular file") from error
            raise medium_unreadable(self._path, error, offset=0) from error
        if not stat.S_ISREG(status.st_mode):
            raise self._wrong("bundle-not-regular", found="not a regular file", expected="a regular file")
        wanted = self._signed.length_bytes
        if status.st_size != wanted:
            reference = "bundle-truncated" if status.st_size < wanted else "bundle-extended"
            raise self._wrong(reference, found=f"{status.st_size} bytes", expected=f"{wanted} as signed")

    def close(self) -> None:
        """Close the file; again is harmless."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def read(self, offset: int, count_bytes: int) -> memoryview:
        """Return exactly ``count_bytes``, unverified.

        Raises:
            BundleError: 10 ``bundle-truncated``; 11 ``medium-unreadable``.
        """
        content = memoryview(bytearray(count_bytes))
        self.read_into(content, offset)
        return content.toreadonly()

    def read_into(self, memory: memoryview, offset: int) -> None:
        """Fill ``memory`` with what lies at ``offset``, unverified.

        Raises:
            BundleError: 10 ``bundle-truncated``; 11 ``medium-unreadable``.
        """
        done = 0
        try:
            while done < len(memory):
                count = self._read_some(memory[done:], offset + done)
                if not count:
                    break
                done += count
        except OSError as error:
            raise medium_unreadable(self._path, error, offset=offset) from error
        if done != len(memory):
            found, expected = f"{done} bytes at offset {offset}", f"{len(memory)}"
            raise self._wrong("bundle-truncated", found=found, expected=expected)

    def _read_some(self, memory: memoryview, offset: int) -> int:
        if self._read_at is None:
            return os.preadv(self._descriptor, [memory], offset)
        content = self._read_at(offset, len(memory))
        memory[: len(content)] = content
        return len(content)

    def _wrong(self, reference: str, *, found: str, expected: str) -> BundleError:
        facts: dict[str, Fact] = {"file": str(self._path), "found": found, "expected": expected}
        return BundleError(
            reference, f"file {self._path}: {found}, expected {expected}", hint=NEW_COPY_HINT, facts=facts
        )


class VerifiedChunks:
    """Random access to the chunks before the index. Safe for several threads."""

    def __init__(self, file: BundleFile, *, path: Path, digests: Sequence[Digest], end_bytes: int) -> None:
        self._file = file
        self._path = path
        self._digests = digests
        self._end_bytes = end_bytes
        self._entries: Sequence[IndexEntry] = ()
        self._memory = RecycledMemory(CHUNK_BYTES)
        self._kept: OrderedDict[int, memoryview] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many chunks there are."""
        return len(self._digests)

    def name_entries(self, entries: Sequence[IndexEntry]) -> None:
        """Say which entries lie where, so that a bad chunk can be named by them."""
        self._entries = entries

    def unverified_chunk(self, number: int) -> memoryview:
        """Return a chunk as the medium gives it; ``require`` decides. It stays as it is for as long as it is held."""
        start = number * CHUNK_BYTES
        chunk = self._memory.lend()[: min(CHUNK_BYTES, self._end_bytes - start)]
        self._file.read_into(chunk, start)
        return chunk.toreadonly()

    def require(self, number: int, chunk: Buffer) -> None:
        """Compare a chunk in memory with its signed digest.

        Raises:
            BundleError: ``chunk-digest-mismatch``, 10, with file, chunk, offset and the entries it touches.
        """
        found = "sha256:" + hashlib.sha256(chunk).hexdigest()
        expected = self._digests[number]
        if found == expected:
            return
        start = number * CHUNK_BYTES
        touched = [
            entry.name
            for entry in self._entries
            if entry.offset_bytes < start + len(chunk) and entry.offset_bytes + entry.compressed_bytes > start
        ]
        raise BundleError(
            "chunk-digest-mismatch",
            f"chunk {number} of {self._path} at offset {start}: {found}, expected {expected}",
            hint=NEW_COPY_HINT,
            facts={
                "file": str(self._path),
                "chunk": number,
                "offset": start,
                "blob": touched[0] if touched else None,
                "blobs": touched[:100],
                "found": found,
                "expected": expected,
            },
        )

    def chunk(self, number: int, *, keep: bool = False) -> memoryview:
        """Return a verified chunk, read and digested now or kept from before."""
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
        chunk = self.unverified_chunk(number)
        self.require(number, chunk)
        if keep:
            with self._lock:
                self._kept[number] = chunk
                while len(self._kept) > _KEPT_CHUNKS:
                    self._kept.popitem(last=False)
        return chunk

    def views(self, start: int, end: int) -> Iterator[memoryview]:
        """Yield verified bytes of the file from ``start`` up to ``end``, a chunk at a time; none is held here after."""
        while start < end:
            number, inside = divmod(start, CHUNK_BYTES)
            chunk_end = min((number + 1) * CHUNK_BYTES, self._end_bytes)
            # Only a chunk that this range shares with its neighbours will be asked for again.
            shared = inside > 0 or chunk_end > end
            yield self.chunk(number, keep=shared)[inside : end - number * CHUNK_BYTES]
            start = chunk_end
