"""The reads that make volume servers look up anew where shards are; ``seaweedfs_maps`` tells why.

VolumeNeedleStatus reads an object as a client's request would, through the server's map and
without sending its bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from teraferry.installer.adapters.cluster import seaweedfs_maps as maps
from teraferry.installer.adapters.cluster.seaweedfs_moving import (
    AND_AGAIN,
    CHANGE_SECONDS,
    cannot_tell,
    info_of,
    refuse,
)
from teraferry.installer.adapters.cluster.seaweedfs_placement import Placement
from teraferry.installer.adapters.cluster.seaweedfs_rpc import (
    VOLUME_SERVER,
    Call,
    CallFailedError,
    call_all,
    fetch_file,
)

READS_AT_ONCE: Final = 8

Objects = Mapping[int, Mapping[int, int]]
"""Volume -> data shard -> an object with bytes there."""


def objects_of(placement: Placement, node: str) -> Objects:
    """Return one object on each data shard of each volume that has shards on ``node``.

    Raises:
        RefusedError: ``cannot-tell``, 40: a volume's index cannot be read.
    """
    return {volume: _objects_in(placement, volume) for volume in placement.shards_on(node)}


def renew_maps(placement: Placement, objects: Objects, *, node: str) -> None:
    """Let every server read each object whose shard it lacks, twice: to prove its map wrong, then to renew it.

    Raises:
        RefusedError: ``cannot-drain``, 40: an object could not be read the second time either.
    """
    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

    reads = [
        Call(
            server,
            VOLUME_SERVER + "VolumeNeedleStatus",
            pb.VolumeNeedleStatusRequest(volume_id=volume, needle_id=needle),
        )
        for volume, shards in objects.items()
        for shard, needle in shards.items()
        for server, held in placement.holders(volume).items()
        if shard not in held
    ]
    # A read may fail here, once a map: that is the error a client would have met.
    call_all(reads, at_once=READS_AT_ONCE)
    if failed := call_all(reads, at_once=READS_AT_ONCE):
        raise refuse(
            "cannot-drain",
            f"node {node}: {len(failed)} of {len(reads)} reads failed ({failed[0]}), expected none to",
            hint=f"Run `ec.scrub` in `weed shell`, repair what it names, {AND_AGAIN}",
            node=node,
            failed_reads=len(failed),
        )


def _objects_in(placement: Placement, volume: int) -> Mapping[int, int]:
    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

    server = min(placement.holders(volume))
    told = info_of(server, volume)
    request = pb.CopyFileRequest(
        volume_id=volume,
        ext=".ecx",
        collection=placement.collections[volume],
        is_ec_volume=True,
        compaction_revision=2**32 - 1,
        stop_offset=2**62,
    )
    try:
        index = fetch_file(server, request, seconds=CHANGE_SECONDS)
    except CallFailedError as error:
        raise cannot_tell(f"volume {volume}: {error}", "its index") from error
    return maps.one_needle_per_shard(
        maps.parse_index(index),
        told.volume_size,
        data_shards=told.ec_shard_config.data_shards,
        block_bytes=told.ec_shard_config.block_size or maps.SMALL_BLOCK_BYTES,
    )
