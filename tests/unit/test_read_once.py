"""A large file that is read once: every byte of it, and nothing of it stays in the page cache."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from teraferry.bundles.page_memory import PAGE_BYTES, page_memory
from teraferry.bundles.system.read_once import open_once

MIB = 1024 * 1024
LIBC = ctypes.CDLL(None, use_errno=True)
NOISE = random.Random(1).randbytes(9 * MIB + 777)


def cached_pages(path: Path) -> set[int]:
    """Return which pages of the file are in the page cache; looking brings none in, as reading without waiting does."""
    length_bytes = path.stat().st_size
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapping:
        start = ctypes.c_char.from_buffer(mapping)
        held = (ctypes.c_ubyte * -(-length_bytes // PAGE_BYTES))()
        status = LIBC.mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(length_bytes), held)
        del start
    assert status == 0, os.strerror(ctypes.get_errno())
    return {number for number, flags in enumerate(held) if flags & 1}


def forget(path: Path) -> bool:
    """Take the file out of the page cache; False when it lies nowhere else, on a file system in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        for _ in range(100):
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            if not path.stat().st_size or not cached_pages(path):
                return True
            time.sleep(0.01)  # A page on its way to the disk stays until it is there.
    finally:
        os.close(descriptor)
    return False


def can_be_direct(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return False
    return True


def read_all(path: Path, memory: memoryview) -> bytes:
    found = bytearray()
    with open_once(path) as file:
        while count := file.readinto(memory):  # type: ignore[attr-defined]
            found += memory[:count]
    return bytes(found)


def odd_memory(length_bytes: int) -> memoryview:
    """Return memory that starts where no page does, as most memory."""
    return memoryview(bytearray(length_bytes + 1))[1:]


@pytest.mark.parametrize("memory_bytes", [4 * MIB, 3 * PAGE_BYTES + 5, 1000])
@pytest.mark.parametrize("memory", [page_memory, odd_memory])
@pytest.mark.parametrize("is_cold", [True, False])
@pytest.mark.parametrize("length", [0, 1, 4 * MIB, 4 * MIB + 1, 8 * MIB, len(NOISE)])
def test_every_byte_is_read(
    tmp_path: Path, length: int, is_cold: bool, memory: Callable[[int], memoryview], memory_bytes: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(NOISE[:length])
    if is_cold:
        forget(path)

    assert read_all(path, memory(memory_bytes)) == NOISE[:length]


def test_cold_file_is_not_left_in_the_page_cache(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(NOISE)
    stays = not forget(path) or not can_be_direct(path)  # a file system in memory

    assert read_all(path, page_memory(4 * MIB)) == NOISE

    # One page in the middle was asked for, and the last one is no whole page.
    middle, last = len(NOISE) // 2 // PAGE_BYTES, len(NOISE) // PAGE_BYTES
    assert stays or cached_pages(path) <= {middle, last}
