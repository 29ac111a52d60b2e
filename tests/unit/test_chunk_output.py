"""The end of the writer's line: what was put is what lies in the file and what was digested."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from teraferry.bundles.chunk_output import ChunkOutput
from teraferry.bundles.digest import digest_of
from teraferry.bundles.limits import CHUNK_BYTES

NOISE = random.Random(1).randbytes(3 * CHUNK_BYTES)


@pytest.mark.parametrize("tail_bytes", [1, 1000, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1])
@pytest.mark.parametrize("before_bytes", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES])
def test_digests_are_those_of_the_file_wherever_the_tail_begins(
    tmp_path: Path, before_bytes: int, tail_bytes: int
) -> None:
    before, tail = NOISE[:before_bytes], NOISE[-tail_bytes:]
    path = tmp_path / "file"
    with path.open("w+b") as file, ChunkOutput(file) as output:
        assert output.put([before]) == before_bytes
        chunks = output.finish_chunks()
        assert output.put([tail]) == tail_bytes
        tail_digest = output.finish()

    raw = path.read_bytes()
    assert raw == before + tail
    assert (output.whole.digest(), output.whole.length_bytes) == (digest_of(raw), len(raw))
    assert tail_digest == digest_of(tail)
    assert chunks == tuple(digest_of(before[at : at + CHUNK_BYTES]) for at in range(0, before_bytes, CHUNK_BYTES))


def test_parts_of_any_length_lie_one_after_the_other() -> None:
    lengths = [1, 4096, 0, CHUNK_BYTES, 2 * CHUNK_BYTES + 5, 7, 65_535, CHUNK_BYTES - 1]
    ends = [sum(lengths[:number]) for number in range(len(lengths) + 1)]
    content = NOISE * 2
    sink = io.BytesIO()
    with ChunkOutput(sink) as output:
        count = output.put(memoryview(content)[start:end] for start, end in pairwise(ends))
        output.finish_chunks()
        output.finish()

    assert count == ends[-1]
    assert sink.getvalue() == content[: ends[-1]]


@pytest.fixture
def full_disk() -> Iterator[BinaryIO]:
    with Path("/dev/full").open("wb", buffering=0) as full:
        yield cast(BinaryIO, full)


def test_full_disk_reaches_the_caller_while_there_is_more_to_put(full_disk: BinaryIO) -> None:
    with ChunkOutput(full_disk) as output, pytest.raises(OSError, match="No space left"):
        for _ in range(20):
            output.put([NOISE[:CHUNK_BYTES]])


def test_full_disk_reaches_the_caller_at_the_latest_at_the_end(full_disk: BinaryIO) -> None:
    with ChunkOutput(full_disk) as output:
        output.put([b"little"])
        output.finish_chunks()
        with pytest.raises(OSError, match="No space left"):
            output.finish()
