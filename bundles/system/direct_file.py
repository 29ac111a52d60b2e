"""A large file on its way to the disk, past the page cache where the file system allows it.

Written the usual way, a file is copied into the page cache first and from there to the disk: processor time for
every byte, a sync that waits for what has piled up, and everything else pushed out of memory. Written directly,
the disk takes the bytes from where they are, and what counts as written is on the disk but for a last sync.

Source: open(2), O_DIRECT.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
from contextlib import suppress
from typing import BinaryIO, Final

from teraferry.bundles.page_memory import PAGE_BYTES

_BUFFERED_WRITE_BYTES: Final = 256 * 1024
"""Bytes of one write through the page cache. Linux takes page cache in pieces as large as the write, and pieces of
4 MiB are dear: 512 MiB took 0.15 s of processor time in writes of 256 KiB and 1.2 s in writes of 4 MiB (6.18, ext4)."""


def set_direct(file: BinaryIO | io.RawIOBase, *, on: bool) -> None:
    """Have reads and writes of ``file`` go past the page cache from now on, or as usual again.

    Raises:
        OSError: ``EINVAL``, not on this file system; ``io.UnsupportedOperation``, what memory says, is one too.
    """
    flags = fcntl.fcntl(file, fcntl.F_GETFL)
    fcntl.fcntl(file, fcntl.F_SETFL, flags | os.O_DIRECT if on else flags & ~os.O_DIRECT)


class DirectFile:
    """Writes from front to back, in blocks. For one thread at a time.

    Args:
        file: Empty and positioned at its start. What is not a file on a disk is written as usual.
    """

    def __init__(self, file: BinaryIO) -> None:
        # A buffer in between would hold back the end of a block, and write it where no page starts.
        self._file = file.raw if isinstance(file, io.BufferedRandom | io.BufferedWriter) else file
        self._written_bytes = 0
        self._may_be_direct = True
        self._is_direct = False

    def write(self, block: memoryview) -> None:
        """Write all of ``block``: directly if it is whole pages, and so is all before it.

        Raises:
            OSError: Not all was written.
        """
        self._may_be_direct = self._may_be_direct and len(block) % PAGE_BYTES == 0
        start = self._written_bytes
        while len(block):
            self._choose()
            piece = block if self._is_direct else block[:_BUFFERED_WRITE_BYTES]
            try:
                count = self._file.write(piece)
            except OSError as error:
                if not (self._is_direct and error.errno == errno.EINVAL):
                    raise
                # Some file systems say only now that they cannot, or a short write left no start of a page.
                self._may_be_direct = False
                continue
            block = block[count:]
            self._written_bytes += count
        if not self._is_direct:
            self._start_writeback(start)

    def _choose(self) -> None:
        """Turn the file's direct way on or off, as may be."""
        if self._is_direct == self._may_be_direct:
            return
        try:
            set_direct(self._file, on=self._may_be_direct)
            self._is_direct = self._may_be_direct
        except OSError:
            if self._is_direct:
                raise
            self._may_be_direct = False

    def _start_writeback(self, start: int) -> None:
        """Have the disk begin now, so that the sync at the end is short.

        Linux starts to write dirty pages on DONTNEED and keeps them until they are clean.
        """
        with suppress(OSError):  # A pipe or memory has no disk behind it.
            os.posix_fadvise(self._file.fileno(), start, self._written_bytes - start, os.POSIX_FADV_DONTNEED)
