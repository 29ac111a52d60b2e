"""The lanes of the writer: compress in parallel, write in order, digest everything once.

Each piece goes through a pool that encodes it, then through one lane that writes in order, then through
two lanes that digest what was written. The plain bytes have a lane of their own. zlib, hashlib and libdeflate
release the interpreter's lock for large buffers, so lanes are threads. A fixed set of slots, filled again and
again, bounds memory and spares page faults; an error of any lane reaches the caller within a few pieces.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, Final, Literal

import deflate

from teraferry.bundles.digest import Buffer, Digest, StreamDigest
from teraferry.bundles.gzip_member import GZIP_HEADER, frame_stored_member, stored_member_length, trailer
from teraferry.bundles.limits import CHUNK_BYTES, MEMBER_PLAIN_BYTES
from teraferry.bundles.progress import Progress

Encoding = Literal["stored", "deflated"]

Member = tuple[Buffer, ...]
"""One gzip member in the parts that are written one after the other."""

COMPRESSION_LEVEL: Final = 1
"""libdeflate's fastest: 9 % larger than gzip -6 at seven times its speed on real files."""

SAMPLE_BYTES: Final = 1024 * 1024
"""What is tried of an entry before it is stored or deflated: the first 1 MiB, padding included."""

LEAST_SAVED_PERCENT: Final = 3
"""An entry is stored when deflating its sample saves less: layers gain about 1 % and cost ten times the time."""

MAX_JOBS: Final = 8
"""More slots than this many threads need would break the budget of 150 MiB."""

_SPARE_SLOTS: Final = 3
"""Pieces that are read, written or digested while every job encodes one."""

_WRITE_BYTES: Final = 256 * 1024
"""Bytes of one write. Linux takes page cache in pieces as large as the write, and pieces of 4 MiB are dear:
1 GiB took 0.3 s of system time in writes of 256 KiB and up to 2.7 s in writes of 4 MiB (6.18, ext4)."""

_WRITEBACK_BYTES: Final = 32 * 1024 * 1024
"""Bytes written before the kernel is told to start writing them to the disk."""


@dataclass(slots=True)
class PackedEntry:
    """One entry while it is written; whole once the packer is drained."""

    name: str
    plain: StreamDigest = field(default_factory=StreamDigest)
    compressed_bytes: int = 0
    encoding: Encoding = "stored"


class Slot:
    """Memory for one piece on its way: its plain bytes, and its member when it is stored."""

    def __init__(self) -> None:
        self.plain = memoryview(bytearray(MEMBER_PLAIN_BYTES))
        self.member = memoryview(bytearray(stored_member_length(MEMBER_PLAIN_BYTES)))


class ChunkDigests:
    """Digests of every ``CHUNK_BYTES`` of a stream."""

    def __init__(self) -> None:
        self._chunk = hashlib.sha256()
        self._room = CHUNK_BYTES
        self._done: list[Digest] = []

    def update(self, piece: Buffer) -> None:
        """Take the next ``piece`` of the stream."""
        view = memoryview(piece)
        while len(view):
            part, view = view[: self._room], view[self._room :]
            self._chunk.update(part)
            self._room -= len(part)
            if not self._room:
                self._close()

    def finish(self) -> tuple[Digest, ...]:
        """Return all digests; the last chunk may be short."""
        if self._room < CHUNK_BYTES:
            self._close()
        return tuple(self._done)

    def _close(self) -> None:
        self._done.append("sha256:" + self._chunk.hexdigest())
        self._chunk = hashlib.sha256()
        self._room = CHUNK_BYTES


class Packer:
    """Writes members in order; used by one thread, works in several. Enter it to start the lanes."""

    def __init__(self, file: BinaryIO, *, jobs: int, progress: Progress) -> None:
        self._file = file
        self._jobs = min(max(1, jobs), MAX_JOBS)
        self._progress = progress
        self._flight: deque[tuple[Slot | None, Future[list[Future[None]]]]] = deque()
        self._free: list[Slot] = [Slot() for _ in range(self._jobs + _SPARE_SLOTS)]
        self._decision: Future[Encoding] | None = None
        self._told_bytes = 0
        self._telling: Future[None] | None = None
        self._chunks = ChunkDigests()
        self._range: ChunkDigests | StreamDigest = self._chunks
        self.whole = StreamDigest()

    def __enter__(self) -> Packer:
        self._pool = ThreadPoolExecutor(self._jobs, "encode")
        self._plain_lane = ThreadPoolExecutor(1, "plain-digest")
        self._output_lane = ThreadPoolExecutor(1, "output")
        self._whole_lane = ThreadPoolExecutor(1, "whole-digest")
        self._range_lane = ThreadPoolExecutor(1, "range-digest")
        self._disk_lane = ThreadPoolExecutor(1, "writeback")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lane in self._lanes():
            lane.shutdown(wait=True, cancel_futures=True)

    def _lanes(self) -> tuple[ThreadPoolExecutor, ...]:
        digests = (self._plain_lane, self._whole_lane, self._range_lane)
        return (self._pool, *digests, self._output_lane, self._disk_lane)

    def free_slot(self) -> Slot:
        """Return a slot to fill; waits for the oldest piece when all are on their way.

        Raises:
            Whatever a lane raised.
        """
        while not self._free:
            self._retire()
        return self._free.pop()

    def start_entry(self, name: str, header: bytes) -> PackedEntry:
        """Begin an entry with the stored member of its tar header and return its record."""
        entry = PackedEntry(name)
        self._decision = None
        self.add_frame(entry, header)
        return entry

    def add_frame(self, entry: PackedEntry, plain: bytes) -> None:
        """Write ``plain``, which is no content (a tar header, the archive's end), as a stored member."""
        slot = self.free_slot()
        slot.plain[: len(plain)] = plain
        self._follow(entry, slot, self._pool.submit(_encode_stored, slot, len(plain)))

    def add_content(self, entry: PackedEntry, slot: Slot, *, content_bytes: int, padding_bytes: int) -> None:
        """Write the piece in ``slot`` as one member; the slot is not the caller's any more.

        The first piece of an entry decides how the whole entry is encoded.
        """
        length = content_bytes + padding_bytes
        slot.plain[content_bytes:length] = bytes(padding_bytes)
        if self._decision is None:
            self._decision = Future()
            encoded = self._pool.submit(_encode_first, slot, length, decision=self._decision, entry=entry)
        else:
            encoded = self._pool.submit(_encode_next, slot, length, self._decision)
        plain = self._plain_lane.submit(entry.plain.update, slot.plain[:content_bytes])
        self._follow(entry, slot, encoded, plain, count_bytes=content_bytes)

    def add_deflated(self, entry: PackedEntry, piece: bytes) -> None:
        """Write one member of content, deflated whatever it saves."""
        entry.encoding = "deflated"
        slot = self.free_slot()
        slot.plain[: len(piece)] = piece
        self._follow(entry, slot, self._pool.submit(_encode_deflated, slot, len(piece)))

    def after_plain(self, check: Callable[[], None]) -> None:
        """Run ``check`` once all plain bytes added so far are digested; its error reaches the caller."""
        future = self._plain_lane.submit(check)
        self._flight.append((None, self._output_lane.submit(lambda: [future])))

    def finish_chunks(self) -> tuple[Digest, ...]:
        """Return the chunk digests of everything written; the packer is drained."""
        return self._chunks.finish()

    def start_tail(self) -> StreamDigest:
        """Digest what follows as one range, not as chunks; the packer is drained."""
        self._range = tail = StreamDigest()
        return tail

    def drain(self) -> None:
        """Return once everything added is written and digested.

        Raises:
            Whatever a lane raised first.
        """
        while self._flight:
            self._retire()

    def _follow(
        self, entry: PackedEntry, slot: Slot, encoded: Future[Member], *before: Future[None], count_bytes: int = 0
    ) -> None:
        def emit() -> list[Future[None]]:
            digested = list(before)
            for part in encoded.result():
                self._write(part)
                entry.compressed_bytes += len(part)
                digested.append(self._whole_lane.submit(self.whole.update, part))
                digested.append(self._range_lane.submit(self._range.update, part))
            self._write_back()
            self._progress.advance(count_bytes)
            return digested

        self._flight.append((slot, self._output_lane.submit(emit)))

    def _retire(self) -> None:
        slot, emitted = self._flight.popleft()
        for future in emitted.result():
            future.result()
        if slot is not None:
            self._free.append(slot)

    def _write(self, part: Buffer) -> None:
        view = memoryview(part)
        for start in range(0, len(view), _WRITE_BYTES):
            self._file.write(view[start : start + _WRITE_BYTES])

    def _write_back(self) -> None:
        """Tell the kernel of every 32 MiB; in a lane of its own, since a busy disk makes the telling wait."""
        written = self._file.tell()
        if written - self._told_bytes >= _WRITEBACK_BYTES:
            if self._telling is not None:
                self._telling.result()
            self._telling = self._disk_lane.submit(_start_writeback, self._file, self._told_bytes, written)
            self._told_bytes = written


def _start_writeback(file: BinaryIO, start: int, end: int) -> None:
    """Ask the kernel to write a range to the disk now, so that the fsync at the end is short.

    Linux starts writeback of dirty pages on DONTNEED and keeps them until they are clean.
    """
    try:
        descriptor = file.fileno()
    except io.UnsupportedOperation:
        return  # Memory has no disk behind it.
    os.posix_fadvise(descriptor, start, end - start, os.POSIX_FADV_DONTNEED)


def _encode_stored(slot: Slot, length: int) -> Member:
    plain = slot.plain[:length]
    return (frame_stored_member(plain, crc32=deflate.crc32(plain), into=slot.member),)


def _encode_deflated(slot: Slot, length: int) -> Member:
    return _around(deflate.deflate_compress(slot.plain[:length], COMPRESSION_LEVEL), slot.plain[:length])


def _around(stream: bytearray, plain: memoryview) -> Member:
    return GZIP_HEADER, stream, trailer(crc32=deflate.crc32(plain), plain_bytes=len(plain))


def _encode_first(slot: Slot, length: int, *, decision: Future[Encoding], entry: PackedEntry) -> Member:
    """Decide from a sample how the entry is encoded, tell the entry's other pieces, encode this one."""
    try:
        sample = slot.plain[: min(length, SAMPLE_BYTES)]
        stream = deflate.deflate_compress(sample, COMPRESSION_LEVEL)
        saved = len(sample) - len(stream)
        entry.encoding = "stored" if saved * 100 < LEAST_SAVED_PERCENT * len(sample) else "deflated"
    except BaseException as error:
        decision.set_exception(error)
        raise
    decision.set_result(entry.encoding)
    if entry.encoding == "stored":
        return _encode_stored(slot, length)
    return _around(stream, sample) if len(sample) == length else _encode_deflated(slot, length)


def _encode_next(slot: Slot, length: int, decision: Future[Encoding]) -> Member:
    """Encode a later piece; the pool started the first one before, so the decision comes."""
    return _encode_stored(slot, length) if decision.result() == "stored" else _encode_deflated(slot, length)
