"""Memory that is filled again and again while a large file passes through it."""

from __future__ import annotations

import mmap

PAGE_BYTES = mmap.PAGESIZE


def page_memory(length_bytes: int) -> memoryview:
    """Return zeros that start at a page, as writing past the page cache demands.

    Nothing is taken from the machine before it is touched. Large pages are asked for: with small ones, taking
    4 MiB costs a thousand faults, and so does giving them back and taking them again for every piece.
    """
    memory = mmap.mmap(-1, length_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)
