"""The end of the writer's line: bytes in order come in, whole chunks go to the digests and to the disk.

Bytes are laid into memory of exactly one chunk. A full one is digested for its own sake and as part of the whole
file, in two lanes, while a third lane writes it; when all three are done it is filled again. So every byte of the
file is copied once, and what was digested is what was written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import BinaryIO, Final

from teraferry.bundles.digest import Buffer, Digest, StreamDigest, digest_of
from teraferry.bundles.limits import CHUNK_BYTES
from teraferry.bundles.page_memory import page_memory
from teraferry.bundles.system.direct_file import DirectFile

_BUFFERS: Final = 6
"""Chunks that are filled, digested or written at a time, 24 MiB: a lane behind a slow disk does not stop the others."""


class ChunkOutput:
    """Used by one thread at a time, works in three more. Enter it to start them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = DirectFile(file)
        self._free = deque(page_memory(CHUNK_BYTES) for _ in range(_BUFFERS))
        self._flight: deque[tuple[memoryview, list[Future[None]]]] = deque()
        self._buffer = self._free.popleft()
        self._filled = 0  # bytes in the buffer
        self._digested = 0  # of these, those that the digest lanes were given
        self._work: list[Future[None]] = []  # that the lanes were given of it
        self._chunks: list[Digest] = []
        self._in_tail = False
        self._tail = StreamDigest()
        self.whole = StreamDigest()

    def __enter__(self) -> ChunkOutput:
        self._whole_lane = ThreadPoolExecutor(1, "whole-digest")
        self._range_lane = ThreadPoolExecutor(1, "range-digest")
        self._disk_lane = ThreadPoolExecutor(1, "disk")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lane in (self._whole_lane, self._range_lane, self._disk_lane):
            lane.shutdown(wait=True, cancel_futures=True)

    def put(self, parts: Iterable[Buffer]) -> int:
        """Take the next bytes of the file and return how many they were; waits while the lanes are behind.

        Raises:
            OSError: What was put before could not be written.
        """
        count = 0
        for part in parts:
            count += len(part)
            if self._filled + len(part) > CHUNK_BYTES:
                part = self._put_to_the_end(memoryview(part))
            end = self._filled + len(part)
            self._buffer[self._filled : end] = part
            self._filled = end
        return count

    def finish_chunks(self) -> tuple[Digest, ...]:
        """Return the digest of every chunk so far, the last one perhaps short; what follows is the tail.

        Raises:
            OSError: What was put before could not be written.
        """
        self._digest()
        self._drain()
        self._in_tail = True
        return tuple(self._chunks)

    def finish(self) -> Digest:
        """Return the digest of the tail once the whole file is written.

        Raises:
            OSError: Not all of it could be.
        """
        self._send()
        self._drain()
        return self._tail.digest()

    def _put_to_the_end(self, part: memoryview) -> memoryview:
        """Put as much of ``part`` as fills whole chunks and return the rest of it."""
        while len(part) > (room := CHUNK_BYTES - self._filled):
            self._buffer[self._filled :] = part[:room]
            self._filled = CHUNK_BYTES
            self._send()
            part = part[room:]
        return part

    def _send(self) -> None:
        """Give the buffer to the lanes and go on with another one."""
        self._digest()
        self._work.append(self._disk_lane.submit(self._file.write, self._buffer[: self._filled]))
        self._flight.append((self._buffer, self._work))
        while not self._free:
            self._retire()
        self._buffer, self._work = self._free.popleft(), []
        self._filled = self._digested = 0

    def _digest(self) -> None:
        """Give the digest lanes what of the buffer they have not seen yet."""
        new = self._buffer[self._digested : self._filled]
        if len(new):
            self._work.append(self._whole_lane.submit(self.whole.update, new))
            self._work.append(self._range_lane.submit(self._tail.update if self._in_tail else self._add_chunk, new))
            self._digested = self._filled

    def _add_chunk(self, chunk: memoryview) -> None:
        self._chunks.append(digest_of(chunk))

    def _drain(self) -> None:
        while self._flight:
            self._retire()
        for done in self._work:
            done.result()

    def _retire(self) -> None:
        buffer, work = self._flight.popleft()
        for done in work:
            done.result()
        self._free.append(buffer)
