"""Large files past the page cache: the same bytes on every file system, whatever it can."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from teraferry.bundles.page_memory import PAGE_BYTES, page_memory
from teraferry.bundles.system.direct_file import DirectFile

PAGES = 100


def pages(count: int, seed: int = 1) -> memoryview:
    memory = page_memory(count * PAGE_BYTES)
    memory[:] = random.Random(seed).randbytes(len(memory))
    return memory


def is_direct(descriptor: int) -> bool:
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)


class Disk(io.FileIO):
    """A file that notes how each write went, and can be a worse one."""

    def __init__(self, path: Path, answer: Callable[[Disk, memoryview], int | None] = lambda *_: None) -> None:
        super().__init__(path, "w+")
        self.directly: list[bool] = []
        self._answer = answer

    def write(self, block: memoryview) -> int:  # type: ignore[override]
        count = self._answer(self, block)
        self.directly.append(is_direct(self.fileno()))
        return super().write(block[:count])


def written(disk: Disk, *blocks: memoryview) -> bytes:
    file = DirectFile(cast(BinaryIO, disk))
    for block in blocks:
        file.write(block)
    return Path(str(disk.name)).read_bytes()


@pytest.fixture
def is_able(tmp_path: Path) -> bool:
    """Tell whether the file system of the test can write directly at all."""
    try:
        os.close(os.open(tmp_path / "try", os.O_WRONLY | os.O_CREAT | os.O_DIRECT))
    except OSError:
        return False
    return True


def test_whole_pages_are_written_directly_and_the_odd_end_as_usual(tmp_path: Path, is_able: bool) -> None:
    blocks = pages(PAGES), pages(PAGES, 2), pages(1, 3)[:-1]
    with Disk(tmp_path / "file") as disk:
        assert written(disk, *blocks) == b"".join(blocks)
        assert disk.directly == [is_able, is_able, False]


def test_nothing_is_written_directly_once_the_place_is_not_the_start_of_a_page(tmp_path: Path) -> None:
    blocks = pages(1)[:-1], pages(PAGES, 2)
    with Disk(tmp_path / "file") as disk:
        assert written(disk, *blocks) == b"".join(blocks)
        assert not any(disk.directly)


def test_file_system_that_refuses_only_the_write_is_written_as_usual(tmp_path: Path) -> None:
    def refuse(disk: Disk, _: memoryview) -> None:
        if is_direct(disk.fileno()):
            raise OSError(errno.EINVAL, "not here")

    blocks = pages(PAGES), pages(PAGES, 2)
    with Disk(tmp_path / "file", refuse) as disk:
        assert written(disk, *blocks) == b"".join(blocks)
        assert disk.directly
        assert not any(disk.directly)


@pytest.mark.parametrize("count", [PAGE_BYTES, 3 * PAGE_BYTES, 1000])
def test_short_writes_lose_nothing(tmp_path: Path, count: int) -> None:
    with Disk(tmp_path / "file", lambda disk, block: count) as disk:
        assert written(disk, pages(PAGES), pages(1, 2)[:77]) == b"".join([pages(PAGES), pages(1, 2)[:77]])


def test_full_disk_is_an_error_and_is_not_tried_again(tmp_path: Path) -> None:
    tries: list[int] = []

    def full(disk: Disk, block: memoryview) -> None:
        tries.append(len(block))
        raise OSError(errno.ENOSPC, "full")

    with Disk(tmp_path / "file", full) as disk, pytest.raises(OSError, match="full") as caught:
        written(disk, pages(PAGES))

    assert caught.value.errno == errno.ENOSPC
    assert len(tries) == 1


def test_buffer_of_an_ordinary_file_holds_nothing_back(tmp_path: Path) -> None:
    path = tmp_path / "file"
    blocks = pages(PAGES), pages(1, 2)[:-1]
    with path.open("w+b") as file:
        direct = DirectFile(file)
        for block in blocks:
            direct.write(block)
        assert path.read_bytes() == b"".join(blocks)


def test_memory_is_written_like_a_file() -> None:
    sink = io.BytesIO()

    DirectFile(sink).write(pages(PAGES))

    assert sink.getvalue() == bytes(pages(PAGES))
