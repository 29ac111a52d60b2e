"""The hands of the SeaweedFS adapter: each function changes one thing on volume servers.

They are the requests that ``weed shell`` itself sends for ``ec.balance`` and ``volume.move``, sent
one by one so that each can be looked for afterwards. None decides; ``seaweedfs_placement`` did.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from teraferry.bundles.errors import Fact, RefusedError
from teraferry.bundles.system.clock import sleep_seconds
from teraferry.installer.adapters.cluster import seaweedfs_maps as maps
from teraferry.installer.adapters.cluster.seaweedfs_placement import Move, Placement
from teraferry.installer.adapters.cluster.seaweedfs_rpc import (
    VOLUME_SERVER,
    Call,
    CallFailedError,
    call,
    call_all,
    fetch_file,
    stream_to_end,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

CHANGE_SECONDS: Final = 120.0
COPY_BYTES_PER_SECOND: Final = 5_000_000
"""Slowest copy that is waited for: 120 s and one second more for each 5 MB."""

IN_FLIGHT_SECONDS: Final = 0.5
"""A write that was let in before the volume became read-only is through by then; sizes prove it."""

COPY_ATTEMPTS: Final = 3
READS_AT_ONCE: Final = 8

RENEWALS: Final = 3
"""Rounds of reading before a map that stays wrong is given up."""

AND_AGAIN = "then type the same command again; it goes on from here."


def refuse(reference: str, message: str, *, hint: str, **facts: Fact) -> RefusedError:
    """Return a refusal, 40."""
    return RefusedError(reference, message, hint=hint, facts=facts)


def cannot_tell(found: str, expected: str) -> RefusedError:
    """Return the refusal for what could not be observed."""
    hint = "See the logs of the master and that volume server, then type the same command again."
    return refuse("cannot-tell", f"{found}, expected {expected}", hint=hint)


def change(server: str, method: str, request: Message, *, seconds: float = CHANGE_SECONDS) -> None:
    """Send one request that changes something on ``server``.

    Raises:
        RefusedError: ``cannot-drain``, 40.
    """
    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

    _obeyed(server, method, lambda: call(server, VOLUME_SERVER + method, request, pb.Answered, seconds=seconds))


def copy_shards(placement: Placement, move: Move) -> None:
    """Copy shards from ``move.other`` to ``move.server`` and put them on line there."""
    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

    collection = placement.collections[move.volume]
    # A server that has shards of the volume has its index open; it must not be overwritten.
    first = not placement.holders(move.volume).get(move.server)
    request = pb.VolumeEcShardsCopyRequest(
        volume_id=move.volume,
        collection=collection,
        shard_ids=sorted(move.shards),
        source_data_node=move.other,
        copy_ecx_file=first,
        copy_ecj_file=first,
        copy_vif_file=first,
        copy_ecsum_file=first,
    )
    seconds = CHANGE_SECONDS + len(move.shards) * placement.shard_bytes[move.volume] / COPY_BYTES_PER_SECOND
    change(move.server, "VolumeEcShardsCopy", request, seconds=seconds)
    mount = pb.VolumeEcShardsMountRequest(volume_id=move.volume, collection=collection, shard_ids=sorted(move.shards))
    change(move.server, "VolumeEcShardsMount", mount)


def take_off_line(server: str, volume: int, shards: frozenset[int]) -> None:
    """Take shards off line on ``server``; their files stay and come back when it restarts."""
    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

    request = pb.VolumeEcShardsUnmountRequest(volume_id=volume, shard_ids=sorted(shards))
    change(server, "VolumeEcShardsUnmount", request)


def drop_shards(placement: Placement, move: Move) -> None:
    """Delete shards on ``move.server`` that ``move.other`` has, too, with the same lengths.

    Raises:
        RefusedError: ``shard-copies-differ``, ``cannot-tell`` or ``cannot-drain``, 40.
    """
    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

    here, there = (
        {each.shard_id: each.size for each in _info(server, move.volume).ec_shard_infos if each.shard_id in move.shards}
        for server in (move.server, move.other)
    )
    if here != there:
        raise refuse(
            "shard-copies-differ",
            f"volume {move.volume}: {here} on {move.server} and {there} on {move.other}, expected the same",
            hint="Run `ec.scrub` in `weed shell` to learn which copy is good; nothing was deleted.",
            volume=move.volume,
            server=move.server,
            other=move.other,
        )
    take_off_line(move.server, move.volume, move.shards)
    request = pb.VolumeEcShardsDeleteRequest(
        volume_id=move.volume, collection=placement.collections[move.volume], shard_ids=sorted(move.shards)
    )
    change(move.server, "VolumeEcShardsDelete", request)


def move_volume(move: Move, *, volume_bytes: int, has_copy: bool) -> None:
    """Move a normal volume from ``move.other`` to ``move.server``; it takes no writes meanwhile.

    ``weed shell``'s volume.move does the same and then waits 10 s for stragglers; here the copies'
    sizes are compared instead, and a straggler means another copy.

    Args:
        move: From where to where.
        volume_bytes: Its size, for the time limit.
        has_copy: The target has one already, left by a killed run; it is made anew if it differs.

    Raises:
        RefusedError: ``cannot-drain``, 40; the volume is where it was, and takes writes again.
    """
    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

    source, target, volume = move.other, move.server, move.volume
    seconds = CHANGE_SECONDS + volume_bytes / COPY_BYTES_PER_SECOND
    request = pb.VolumeCopyRequest(volume_id=volume, source_data_node=source)
    delete = pb.VolumeDeleteRequest(volume_id=volume, keep_remote_data=True)
    change(source, "VolumeMarkReadonly", pb.VolumeMarkReadonlyRequest(volume_id=volume))
    try:
        for _ in range(COPY_ATTEMPTS):
            sleep_seconds(IN_FLIGHT_SECONDS)
            if not has_copy:
                _obeyed(target, "VolumeCopy", lambda: stream_to_end(target, "VolumeCopy", request, seconds=seconds))
            if _file_status(source, volume) == _file_status(target, volume):
                change(source, "VolumeDelete", delete)
                return
            change(target, "VolumeDelete", delete)
            has_copy = False
    except RefusedError:
        change(source, "VolumeMarkWritable", pb.VolumeMarkWritableRequest(volume_id=volume))
        raise
    change(source, "VolumeMarkWritable", pb.VolumeMarkWritableRequest(volume_id=volume))
    raise refuse(
        "cannot-drain",
        f"volume {volume}: its copy on {target} differed {COPY_ATTEMPTS} times, expected the same size as on {source}",
        hint=f"Look at the logs of both volume servers, {AND_AGAIN}",
        volume=volume,
        node=source,
    )


def renew_maps(placement: Placement, node: str) -> None:
    """Make every server's map of the volumes on ``node`` right; see ``seaweedfs_maps``.

    Raises:
        RefusedError: ``cannot-drain`` when a shard cannot be read, or ``cannot-tell``; 40.
    """
    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

    reads = [
        Call(
            server,
            VOLUME_SERVER + "VolumeNeedleStatus",
            pb.VolumeNeedleStatusRequest(volume_id=volume, needle_id=needle),
        )
        for volume in placement.shards_on(node)
        for shard, needle in _needles(placement, volume).items()
        for server, held in placement.holders(volume).items()
        if shard not in held
    ]
    failed: list[str] = []
    for earlier_rounds in range(RENEWALS):
        if earlier_rounds:
            # A server that forgot too many places looks them up again, but not before this.
            sleep_seconds(maps.SETTLE_SECONDS)
        # A read may fail here, once a map: that is the error a client would have met.
        call_all(reads, at_once=READS_AT_ONCE)
        failed = call_all(reads, at_once=READS_AT_ONCE)
        if not failed:
            return
    raise refuse(
        "cannot-drain",
        f"node {node}: {len(failed)} of {len(reads)} reads failed ({failed[0]}), expected none to",
        hint=f"Run `ec.scrub` in `weed shell`, repair what it names, {AND_AGAIN}",
        node=node,
        failed_reads=len(failed),
    )


def _needles(placement: Placement, volume: int) -> dict[int, int]:
    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

    server = min(placement.holders(volume))
    told = _info(server, volume)
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


def _info(server: str, volume: int) -> pb.VolumeEcShardsInfoResponse:
    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

    request = pb.VolumeEcShardsInfoRequest(volume_id=volume)
    try:
        return call(server, VOLUME_SERVER + "VolumeEcShardsInfo", request, pb.VolumeEcShardsInfoResponse)
    except CallFailedError as error:
        raise cannot_tell(f"volume {volume}: {error}", "its shards") from error


def _file_status(server: str, volume: int) -> tuple[int, int, int]:
    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

    request = pb.ReadVolumeFileStatusRequest(volume_id=volume)
    try:
        told = call(server, VOLUME_SERVER + "ReadVolumeFileStatus", request, pb.ReadVolumeFileStatusResponse)
    except CallFailedError as error:
        raise cannot_tell(f"volume {volume}: {error}", "its files' sizes") from error
    return told.dat_file_size, told.idx_file_size, told.file_count


def _obeyed(server: str, method: str, send: Callable[[], object]) -> None:
    try:
        send()
    except CallFailedError as error:
        raise refuse(
            "cannot-drain",
            f"node {server}: {error}, expected it to obey",
            hint=f"See the volume server's log there, {AND_AGAIN}",
            node=server,
            method=method,
        ) from error
