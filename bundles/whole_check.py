"""Every byte of a bundle read once and compared: the work of ``verify`` and of ``sign``.

The medium is read in one thread, chunks are digested in others, and the whole-file digest in a lane of its own,
all from the same bytes in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Final

from teraferry.bundles.digest import Digest, StreamDigest
from teraferry.bundles.entry_header import encoded_header, header_refusal
from teraferry.bundles.index import IndexEntry
from teraferry.bundles.limits import CHUNK_BYTES
from teraferry.bundles.member_reading import Place
from teraferry.bundles.progress import Progress
from teraferry.bundles.verified_chunks import VerifiedChunks

_IN_FLIGHT: Final = 4
"""Chunks read and not yet compared: bounds memory at 16 MiB."""


class HeaderSweep:
    """Compares each tar header with its index row while verified chunks pass in order."""

    def __init__(self, file: str, entries: Iterable[IndexEntry], *, mtime: int) -> None:
        self._file = file
        self._entries = iter(entries)
        self._mtime = mtime
        self._found = b""
        self._next()

    def check(self, start: int, chunk: memoryview) -> None:
        """Compare the headers in a verified chunk that lies at ``start``.

        Raises:
            BundleError: 10; ``entry-not-regular``, ``entry-header-disagrees``, ``member-malformed``.
        """
        while self._entry is not None:
            begin = self._entry.offset_bytes + len(self._found) - start
            if begin >= len(chunk):
                return
            self._found += chunk[begin : begin + len(self._expected) - len(self._found)]
            if len(self._found) < len(self._expected):
                return  # The header goes on in the next chunk.
            if self._found != self._expected:
                place, offset = Place(self._file, self._entry.name), self._entry.offset_bytes
                raise header_refusal(place, self._found, self._expected, offset=offset)
            self._next()

    def _next(self) -> None:
        self._found = b""
        self._entry = next(self._entries, None)
        if self._entry is not None:
            self._expected = encoded_header(self._entry.name, self._entry.plain_bytes, mtime=self._mtime)


def check_whole(chunks: VerifiedChunks, sweep: HeaderSweep, *, tail: memoryview, progress: Progress) -> Digest:
    """Compare every chunk and header, and return the digest of the whole file, which the caller compares.

    Args:
        chunks: Of the file before the index.
        sweep: Sees each chunk after it matched.
        tail: The verified bytes after the chunks; they are not read again.
        progress: Advanced by what matched.

    Raises:
        BundleError: 10 or 11.
    """
    whole = StreamDigest()
    with closing(chunks_in_order(chunks, whole=whole, progress=progress)) as passing:
        for start, chunk in passing:
            sweep.check(start, chunk)
    whole.update(tail)
    progress.advance(len(tail))
    return whole.digest()


def chunks_in_order(
    chunks: VerifiedChunks, *, whole: StreamDigest, progress: Progress
) -> Generator[tuple[int, memoryview], None, None]:
    """Yield every chunk with its offset, once it matched; after the last one ``whole`` has digested them all.

    Raises:
        BundleError: 10 or 11.
    """
    flight: deque[tuple[int, memoryview, Future[None], Future[None]]] = deque()
    with ThreadPoolExecutor(1, "chunk-digest") as chunk_lane, ThreadPoolExecutor(1, "whole-digest") as whole_lane:
        number = 0
        while number < chunks.count or flight:
            if number < chunks.count and len(flight) < _IN_FLIGHT:
                chunk = chunks.unverified_chunk(number)
                compared = chunk_lane.submit(chunks.require, number, chunk)
                flight.append((number, chunk, compared, whole_lane.submit(whole.update, chunk)))
                number += 1
                continue
            ready, chunk, compared, digested = flight.popleft()
            compared.result()
            yield ready * CHUNK_BYTES, chunk
            digested.result()
            progress.advance(len(chunk))


class PassingBytes:
    """The verified bytes of ``chunks_in_order`` for a reader that asks for them from front to back, each once."""

    def __init__(self, passing: Iterator[tuple[int, memoryview]]) -> None:
        self._passing = passing
        self._start = 0
        self._chunk = memoryview(b"")

    def views(self, start: int, end: int) -> Iterator[memoryview]:
        """Yield the bytes from ``start`` up to ``end``, a chunk at a time; see ``VerifiedChunks.views``."""
        while start < end:
            while start >= self._start + len(self._chunk):
                self._start, self._chunk = next(self._passing)
            view = self._chunk[start - self._start : end - self._start]
            yield view
            start += len(view)


def check_chunks(chunks: VerifiedChunks, *, jobs: int, progress: Progress) -> None:
    """Compare every chunk, several at a time and in no order.

    Raises:
        BundleError: 10 or 11, for the first bad chunk in the file's order.
    """

    def compare(number: int) -> None:
        chunk = chunks.unverified_chunk(number)
        chunks.require(number, chunk)
        progress.advance(len(chunk))

    with ThreadPoolExecutor(jobs, "chunk-digest") as pool:
        flight: deque[Future[None]] = deque()
        try:
            for number in range(chunks.count):
                if len(flight) >= 2 * jobs:
                    flight.popleft().result()
                flight.append(pool.submit(compare, number))
            while flight:
                flight.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
