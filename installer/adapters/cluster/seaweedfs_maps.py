"""Why clients saw errors when shards moved, and what keeps it from happening.

Every volume server remembers, per erasure-coded volume, where the shards it lacks are: for 37
minutes when it knows all of them. Nobody tells it when one moves. A read that meets a wrong entry
is served from ten other shards, as long as at most four entries are wrong. With five or more, the
client gets a 500, once per server and volume. Draining one node moves up to three shards of a
volume and bringing it back moves them again, so a rollout that goes on at once makes a map wrong
in more than four entries, and reads fail from about the third node on (44 of 1,962 in a trial).

A map that a read has proved wrong is fetched anew by a later read, but not within 11 s of the
fetch before. So before a node is drained, every server reads, through its map, one object on each
data shard, twice: the first read proves a wrong map wrong, the second renews it. The objects'
names come from the volume's index; VolumeNeedleStatus reads without sending the bytes.

Source: SeaweedFS 4.47, weed/storage/store_ec.go, ``cachedLookupEcShardLocations``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

SETTLE_SECONDS: Final = 11.5
"""A map fetched this long ago may be fetched again once a read proves it wrong (SeaweedFS: 11 s)."""

LARGE_BLOCK_BYTES: Final = 1024 * 1024 * 1024
"""Rows of large blocks come first in an erasure-coded volume, rows of small ones fill the rest."""

SMALL_BLOCK_BYTES: Final = 1024 * 1024
"""Where a server does not tell its own: SeaweedFS's default."""

_KEY_BYTES, _SIZE_BYTES = 8, 4
_OFFSET_UNIT_BYTES = 8
ENTRY_BYTES: Final = (17, 16)
"""One index entry with a 5-byte offset (builds for large disks, PyPI's) or a 4-byte one."""


@dataclass(frozen=True, slots=True)
class Needle:
    """One object in a volume."""

    id: int
    offset_bytes: int
    size_bytes: int


def parse_index(content: bytes) -> Iterator[Needle]:
    """Yield the live objects of an ``.ecx`` file.

    The file does not say how wide its offsets are. Keys are sorted, so the right width is the
    one that divides the length and leaves the keys in order.
    """
    for width in ENTRY_BYTES:
        if content and len(content) % width == 0:
            needles = [_needle(content[at : at + width]) for at in range(0, len(content), width)]
            if all(before.id < after.id for before, after in pairwise(needles)):
                yield from (needle for needle in needles if needle.size_bytes > 0)
                return


def _needle(entry: bytes) -> Needle:
    offset, size = entry[_KEY_BYTES:-_SIZE_BYTES], entry[-_SIZE_BYTES:]
    units = int.from_bytes(offset[:4], "big") + (int.from_bytes(offset[4:], "big") << 32)
    return Needle(
        id=int.from_bytes(entry[:_KEY_BYTES], "big"),
        offset_bytes=units * _OFFSET_UNIT_BYTES,
        size_bytes=int.from_bytes(size, "big", signed=True),
    )


def shard_of(offset_bytes: int, volume_bytes: int, *, data_shards: int, block_bytes: int) -> int:
    """Return the data shard that holds the byte at ``offset_bytes`` of a volume."""
    large_row = LARGE_BLOCK_BYTES * data_shards
    large_rows = (volume_bytes + data_shards * block_bytes) // large_row
    if offset_bytes < large_rows * large_row:
        return offset_bytes // LARGE_BLOCK_BYTES % data_shards
    return (offset_bytes - large_rows * large_row) // block_bytes % data_shards


def one_needle_per_shard(
    needles: Iterable[Needle], volume_bytes: int, *, data_shards: int, block_bytes: int
) -> dict[int, int]:
    """Return data shard -> id of the smallest object that begins on it; shards without any are left out."""
    chosen: dict[int, Needle] = {}
    for needle in needles:
        shard = shard_of(needle.offset_bytes, volume_bytes, data_shards=data_shards, block_bytes=block_bytes)
        if shard not in chosen or needle.size_bytes < chosen[shard].size_bytes:
            chosen[shard] = needle
    return {shard: needle.id for shard, needle in sorted(chosen.items())}
