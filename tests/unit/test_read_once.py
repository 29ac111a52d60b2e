"""A large file that is read once: every byte of it, and nothing of it stays in the page cache."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from teraferry.bundles.page_memory import PAGE_BYTES, page_memory
from teraferry.bundles.system.read_once import open_once

MIB = 1024 * 1024
NOISE = random.Random(1).randbytes(9 * MIB + 777)


def is_cached(path: Path, *, at: int) -> bool:
    """Tell whether a page is in the page cache; afterwards it is."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        return bool(os.preadv(descriptor, [bytearray(1)], at, os.RWF_NOWAIT))
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def forget(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


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
    forget(path)
    stays = is_cached(path, at=8 * MIB) or not can_be_direct(path)  # a file system in memory

    assert read_all(path, page_memory(4 * MIB)) == NOISE

    # Not at 0: the kernel may fetch the first page when it is asked whether it is there.
    assert [is_cached(path, at=at) for at in (MIB, 3 * MIB, 7 * MIB)] == [stays] * 3
