"""The lanes of the writer: compress in parallel, put in order, digest everything once.

Each piece goes through a pool that encodes it, then through one lane that puts it where it lies in the file
(``chunk_output``). The plain bytes have a digest lane of their own. zlib, hashlib and libdeflate release the
interpreter's lock for large buffers, so lanes are threads. A fixed set of pieces, filled again and again, bounds
memory; an error of any lane reaches the caller within a few pieces.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Literal

import deflate

from teraferry.bundles.chunk_output import ChunkOutput
from teraferry.bundles.digest import Buffer, StreamDigest
from teraferry.bundles.gzip_member import GZIP_HEADER, stored_member_parts, trailer
from teraferry.bundles.limits import MEMBER_PLAIN_BYTES
from teraferry.bundles.page_memory import page_memory
from teraferry.bundles.progress import Progress

Encoding = Literal["stored", "deflated"]

Member = Iterable[Buffer]
"""One gzip member in the parts that are written one after the other."""

COMPRESSION_LEVEL: Final = 1
"""libdeflate's fastest: 9 % larger than gzip -6 at seven times its speed on real files."""

SAMPLE_BYTES: Final = 1024 * 1024
"""What is tried of an entry before it is stored or deflated: the first 1 MiB, padding included."""

LEAST_SAVED_PERCENT: Final = 3
"""An entry is stored when deflating its sample saves less: layers gain about 1 % and cost ten times the time."""

COMPRESSED_STARTS: Final = (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd")
"""How gzip streams and zstd frames begin. As much as a sample of either is stored untried: trying 1 MiB takes four
times as long as all its digests."""

MAX_JOBS: Final = 6
"""More pieces than this many threads need would break the budget of 150 MiB when they do not get smaller; six deflate
about as much as one lane digests."""

_SPARE_PIECES: Final = 3
"""Pieces that are read, written or digested while every job encodes one."""


@dataclass(slots=True)
class PackedEntry:
    """One entry while it is written; whole once the packer is drained."""

    name: str
    plain: StreamDigest = field(default_factory=StreamDigest)
    compressed_bytes: int = 0
    encoding: Encoding = "stored"


class Packer:
    """Puts members in order; used by one thread, works in several. Enter it to start the lanes."""

    def __init__(self, output: ChunkOutput, *, jobs: int, progress: Progress) -> None:
        self._output = output
        self._jobs = min(max(1, jobs), MAX_JOBS)
        self._progress = progress
        self._flight: deque[tuple[memoryview | None, tuple[Future[None], ...]]] = deque()
        self._free = [page_memory(MEMBER_PLAIN_BYTES) for _ in range(self._jobs + _SPARE_PIECES)]
        self._decision: Future[Encoding] | None = None

    def __enter__(self) -> Packer:
        _keep_freed_memory()
        self._pool = ThreadPoolExecutor(self._jobs, "encode")
        self._plain_lane = ThreadPoolExecutor(1, "plain-digest")
        self._output_lane = ThreadPoolExecutor(1, "output")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lane in (self._pool, self._plain_lane, self._output_lane):
            lane.shutdown(wait=True, cancel_futures=True)

    def free_piece(self) -> memoryview:
        """Return memory of ``MEMBER_PLAIN_BYTES`` to fill; waits for the oldest piece when all are on their way.

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
        """Put ``plain``, which is no content (a tar header, the archive's end), as a stored member."""
        self._follow(entry, self._pool.submit(_encode_stored, memoryview(plain)))

    def add_content(self, entry: PackedEntry, piece: memoryview, *, content_bytes: int, padding_bytes: int) -> None:
        """Put the content at the front of ``piece`` as one member; the piece is not the caller's any more.

        The first piece of an entry decides how the whole entry is encoded.
        """
        plain = piece[: content_bytes + padding_bytes]
        plain[content_bytes:] = bytes(padding_bytes)
        if self._decision is None:
            self._decision = Future()
            encoded = self._pool.submit(_encode_first, plain, decision=self._decision, entry=entry)
        else:
            encoded = self._pool.submit(_encode_next, plain, self._decision)
        digested = self._plain_lane.submit(entry.plain.update, plain[:content_bytes])
        self._follow(entry, encoded, digested, piece=piece, count_bytes=content_bytes)

    def add_deflated(self, entry: PackedEntry, plain: bytes) -> None:
        """Put one member of content, deflated whatever it saves."""
        entry.encoding = "deflated"
        self._follow(entry, self._pool.submit(_encode_deflated, memoryview(plain)))

    def after_plain(self, check: Callable[[], None]) -> None:
        """Run ``check`` once all plain bytes added so far are digested; its error reaches the caller."""
        self._flight.append((None, (self._plain_lane.submit(check),)))

    def drain(self) -> None:
        """Return once everything added is put and its plain bytes are digested.

        Raises:
            Whatever a lane raised first.
        """
        while self._flight:
            self._retire()

    def _follow(
        self,
        entry: PackedEntry,
        encoded: Future[Member],
        *others: Future[None],
        piece: memoryview | None = None,
        count_bytes: int = 0,
    ) -> None:
        def put() -> None:
            entry.compressed_bytes += self._output.put(encoded.result())
            self._progress.advance(count_bytes)

        self._flight.append((piece, (self._output_lane.submit(put), *others)))

    def _retire(self) -> None:
        piece, work = self._flight.popleft()
        for done in work:
            done.result()
        if piece is not None:
            self._free.append(piece)


def _keep_freed_memory() -> None:
    """Have glibc keep blocks as large as a member when they are freed.

    It gives back to the kernel, at once, every block as large as the largest that was ever freed, and libdeflate's
    binding takes a new one for each member: a page fault for every 4 KiB that is deflated to, 2 % of the whole time.
    """
    bytearray(4 * MEMBER_PLAIN_BYTES)


def _encode_stored(plain: memoryview) -> Member:
    return stored_member_parts(plain, crc32=deflate.crc32(plain))


def _encode_deflated(plain: memoryview) -> Member:
    return _around(deflate.deflate_compress(plain, COMPRESSION_LEVEL), plain)


def _around(stream: bytearray, plain: memoryview) -> Member:
    return GZIP_HEADER, stream, trailer(crc32=deflate.crc32(plain), plain_bytes=len(plain))


def _encode_first(plain: memoryview, *, decision: Future[Encoding], entry: PackedEntry) -> Member:
    """Decide from a sample how the entry is encoded, tell the entry's other pieces, encode this one."""
    try:
        sample = plain[:SAMPLE_BYTES]
        stream = _deflate_sample(sample)
        entry.encoding = "stored" if stream is None else "deflated"
    except BaseException as error:
        decision.set_exception(error)
        raise
    decision.set_result(entry.encoding)
    if stream is None:
        return _encode_stored(plain)
    return _around(stream, sample) if len(sample) == len(plain) else _encode_deflated(plain)


def _deflate_sample(sample: memoryview) -> bytearray | None:
    """Return the deflated sample of an entry, or None if the entry is to be stored."""
    if len(sample) == SAMPLE_BYTES and bytes(sample[:4]).startswith(COMPRESSED_STARTS):
        return None
    stream = deflate.deflate_compress(sample, COMPRESSION_LEVEL)
    saved = len(sample) - len(stream)
    return None if saved * 100 < LEAST_SAVED_PERCENT * len(sample) else stream


def _encode_next(plain: memoryview, decision: Future[Encoding]) -> Member:
    """Encode a later piece; the pool started the first one before, so the decision comes."""
    return _encode_stored(plain) if decision.result() == "stored" else _encode_deflated(plain)
