"""Reading an erasure-coded volume's index, and choosing one object on each data shard."""

from __future__ import annotations

import pytest

from teraferry.installer.adapters.cluster.seaweedfs_maps import (
    LARGE_BLOCK_BYTES,
    Needle,
    one_at_a_time,
    one_needle_per_shard,
    parse_index,
    shard_of,
    shards_of,
)

MIB = 1024 * 1024
GIB = LARGE_BLOCK_BYTES


def entry(needle: Needle, *, wide: bool) -> bytes:
    units = needle.offset_bytes // 8
    offset = (units & 0xFFFFFFFF).to_bytes(4, "big") + ((units >> 32).to_bytes(1, "big") if wide else b"")
    return needle.id.to_bytes(8, "big") + offset + needle.size_bytes.to_bytes(4, "big", signed=True)


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("count", [1, 2, 16, 17, 34])
def test_parse_index_reads_both_widths_of_offset(count: int, wide: bool) -> None:
    needles = [Needle(number + 1, number * 4096, 100) for number in range(count)]
    content = b"".join(entry(needle, wide=wide) for needle in needles)
    assert list(parse_index(content)) == needles


def test_parse_index_reads_offsets_beyond_32_gib() -> None:
    needle = Needle(1, 40 * GIB, 100)
    assert list(parse_index(entry(needle, wide=True))) == [needle]


def test_parse_index_leaves_deleted_objects_out() -> None:
    content = entry(Needle(1, 8, 100), wide=True) + entry(Needle(2, 0, -1), wide=True)
    assert [needle.id for needle in parse_index(content)] == [1]


def test_parse_index_of_nothing_or_of_a_cut_file_is_empty() -> None:
    assert list(parse_index(b"")) == []
    assert list(parse_index(b"x" * 18)) == []


@pytest.mark.parametrize(
    ("offset_bytes", "volume_bytes", "shard"),
    [
        (0, 5 * MIB, 0),
        (MIB - 1, 5 * MIB, 0),
        (MIB, 5 * MIB, 1),
        (10 * MIB, 12 * MIB, 0),
        (GIB, 15 * GIB, 1),
        (9 * GIB, 15 * GIB, 9),
        (10 * GIB + MIB, 15 * GIB, 1),
    ],
)
def test_shard_of_counts_rows_of_large_blocks_before_small_ones(
    offset_bytes: int, volume_bytes: int, shard: int
) -> None:
    assert shard_of(offset_bytes, volume_bytes, data_shards=10, block_bytes=MIB) == shard


def test_one_needle_per_shard_takes_the_smallest_that_lies_there_whole() -> None:
    needles = [Needle(1, 0, 900), Needle(2, 1000, 100), Needle(3, MIB, 50)]
    assert one_needle_per_shard(needles, 2 * MIB, data_shards=10, block_bytes=MIB) == {0: 2, 1: 3}


def test_shard_that_only_the_end_of_an_object_reaches_is_read_by_that_object() -> None:
    needles = [Needle(1, 0, 50), Needle(2, MIB - 1000, 3000), Needle(3, MIB - 9000, 7000)]
    assert one_needle_per_shard(needles, 2 * MIB, data_shards=10, block_bytes=MIB) == {0: 1, 1: 2}


@pytest.mark.parametrize(
    ("needle", "shards"),
    [
        (Needle(1, 0, 10), {0}),
        (Needle(1, MIB - 40, 10), {0, 1}),  # what stands around it reaches over
        (Needle(1, 9 * MIB, MIB), {9, 0}),
        (Needle(1, 3 * MIB, 20 * MIB), set(range(10))),
    ],
)
def test_shards_of_an_object_are_all_that_hold_a_byte_of_it(needle: Needle, shards: set[int]) -> None:
    assert shards_of(needle, 100 * MIB, data_shards=10, block_bytes=MIB) == shards


def test_object_at_the_seam_of_large_and_small_rows_is_on_both() -> None:
    volume_bytes = 10 * GIB + 5 * MIB
    seam = Needle(1, 10 * GIB - 100, 1000)
    assert shards_of(seam, volume_bytes, data_shards=10, block_bytes=MIB) == {9, 0}


def test_one_at_a_time_takes_the_data_shards_that_have_an_object_by_turns() -> None:
    shards = {1: frozenset({0, 5, 10}), 2: frozenset({10, 13}), 3: frozenset({4, 7})}
    objects = {1: {0: 70, 5: 75, 6: 76}, 2: {0: 80}, 3: {7: 97}}
    assert one_at_a_time(shards, objects) == [{1: 0, 3: 7}, {1: 5}]
    assert one_at_a_time({}, {}) == []
