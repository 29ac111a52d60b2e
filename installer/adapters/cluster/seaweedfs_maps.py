"""Why clients saw errors when shards moved, and what keeps it from happening.

Every volume server remembers, per erasure-coded volume, on which servers the shards are: for 37
minutes when it knows all of them. Nobody tells it when one moves. A read that meets a wrong entry
is served from ten other shards, its own or found through the map. With five or more wrong, the
client gets a 500. Draining one node moves up to four shards of a volume and bringing it back moves
them again, so a rollout that goes on at once makes a map wrong in more than four entries, and reads
fail from about the third node on (44 of 1,962 in a trial).

A read that finds an entry wrong marks the map, and the next read fetches it anew, whole, but not
within 11 s of the fetch before. Only data shards are read, so wrong entries of parity shards do not
show until they are needed. An entry may name two servers; the second is asked when the first does
not have the shard. Hence the order of a drain:

1. Copy first: each shard of the node is on line twice. Nothing is wrong by that, and a map fetched
   from now on names both places, so it stays right while the node is away and when it is back.
2. Wait until the last shard went off line 11.5 s ago. Each map is now right, having been fetched
   since, or old enough to be fetched anew.
3. Every server reads one object on each data shard, twice: the first read proves a map wrong, the
   second renews it. What may still be wrong are parity shards: those of one node, drained before.
4. Take the data shards off line one at a time, and have each read twice by every server. The first
   proves wrong each map that names the node alone, and renews it, the parity shards with it; the
   second does so for the server that got a copy of the first.
5. Take the parity shards off line; every map names both places of each.

So at each moment a map is wrong in no more than the node's shards of a volume, at most four, when it
was right before, or in one and the parity shards that one earlier node holds. (That is five, and
one read may fail, where a node holds all four parity shards of a volume and nothing else of it.)
A process that is killed anywhere leaves no more wrong than that, and the next one begins with 2.

The objects' names come from the volume's index.

Source: SeaweedFS, weed/storage/store_ec.go, ``ecShardLocationsTTL``, ``markShardLocationsStale`` and
``gatherEcShardIntervals``, which 4.47 and later have; measured with 4.47 and 4.48.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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


NEEDLE_OVERHEAD_BYTES: Final = 16 + 4 + 8 + 7
"""Around an object's bytes: header, checksum, time, and at most so much padding."""


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
    start, block = _row_of(offset_bytes, volume_bytes, data_shards=data_shards, block_bytes=block_bytes)
    return (offset_bytes - start) // block % data_shards


def shards_of(needle: Needle, volume_bytes: int, *, data_shards: int, block_bytes: int) -> frozenset[int]:
    """Return every data shard that holds a byte of an object."""
    at, end = needle.offset_bytes, needle.offset_bytes + needle.size_bytes + NEEDLE_OVERHEAD_BYTES
    found: set[int] = set()
    while at < end and len(found) < data_shards:
        start, block = _row_of(at, volume_bytes, data_shards=data_shards, block_bytes=block_bytes)
        number = (at - start) // block
        found.add(number % data_shards)
        at = start + (number + 1) * block
    return frozenset(found)


def _row_of(offset_bytes: int, volume_bytes: int, *, data_shards: int, block_bytes: int) -> tuple[int, int]:
    """Return where the rows begin that hold the byte at ``offset_bytes``, and how long their blocks are."""
    large_row = LARGE_BLOCK_BYTES * data_shards
    large_rows_bytes = (volume_bytes + data_shards * block_bytes) // large_row * large_row
    return (0, LARGE_BLOCK_BYTES) if offset_bytes < large_rows_bytes else (large_rows_bytes, block_bytes)


def one_needle_per_shard(
    needles: Iterable[Needle], volume_bytes: int, *, data_shards: int, block_bytes: int
) -> dict[int, int]:
    """Return data shard -> id of an object with a byte on it; shards without any are left out.

    The smallest one that lies there whole, else the smallest that reaches into it: a shard may hold nothing but the
    end of an object that begins on the shard before.
    """
    chosen: dict[int, tuple[bool, int, int]] = {}  # shard -> reaches over, length, id
    for needle in needles:
        touched = shards_of(needle, volume_bytes, data_shards=data_shards, block_bytes=block_bytes)
        candidate = (len(touched) > 1, needle.size_bytes, needle.id)
        for shard in touched:
            chosen[shard] = min(chosen.get(shard, candidate), candidate)
    return {shard: number for shard, (_, _, number) in sorted(chosen.items())}


def one_at_a_time(
    shards: Mapping[int, frozenset[int]], objects: Mapping[int, Mapping[int, int]]
) -> list[dict[int, int]]:
    """Return the data shards in the order in which they go off line: one of each volume (volume -> shard) at a time.

    Args:
        shards: Volume -> shards on line on the node.
        objects: Volume -> data shard -> an object on it; a shard without any is read by nobody, and left out.
    """
    queues = {volume: sorted(held & set(objects[volume])) for volume, held in shards.items()}
    longest = max(map(len, queues.values()), default=0)
    return [{volume: queue[turn] for volume, queue in queues.items() if turn < len(queue)} for turn in range(longest)]
