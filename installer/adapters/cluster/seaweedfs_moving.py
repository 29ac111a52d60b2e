"""The hands of the SeaweedFS adapter: each function changes one thing on volume servers.

They are the requests that ``weed shell`` itself sends for ``ec.balance`` and ``volume.move``, sent
one by one so that each can be looked for afterwards. None decides; ``seaweedfs_placement`` did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from teraferry.bundles.errors import Fact, RefusedError
from teraferry.bundles.system.clock import sleep_seconds
from teraferry.installer.adapters.cluster.seaweedfs_placement import Move, Placement
from teraferry.installer.adapters.cluster.seaweedfs_rpc import (
    VOLUME_SERVER,
    Call,
    CallFailedError,
    call,
    call_all,
    stream_to_end,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

CHANGE_SECONDS: Final = 120.0
COPY_BYTES_PER_SECOND: Final = 5_000_000
"""Slowest copy that is waited for: 120 s and one second more for each 5 MB."""

ASSIGNED_SECONDS: Final = 7.5
"""The master hears of it with a heartbeat, every 5 s; then whom it had sent to a volume has begun to write there."""

IN_FLIGHT_SECONDS: Final = 0.5
"""A write that was let in before the volume became read-only is through by then; sizes prove it."""

COPY_ATTEMPTS: Final = 3
SWEEPS_AT_ONCE: Final = 8

ATTEMPTS: Final = 6
WORTH_ANOTHER_TRY: Final = frozenset({"cannot-drain", "cannot-tell"})

AND_AGAIN = "then type the same command again; it goes on from here."


def refuse(reference: str, message: str, *, hint: str, **facts: Fact) -> RefusedError:
    """Return a refusal, 40."""
    return RefusedError(reference, message, hint=hint, facts=facts)


def cannot_tell(found: str, expected: str) -> RefusedError:
    """Return the refusal for what could not be observed."""
    hint = "See the logs of the master and that volume server, then type the same command again."
    return refuse("cannot-tell", f"{found}, expected {expected}", hint=hint)


def persist(act: Callable[[], None], *, pause: Callable[[], None]) -> None:
    """Do what may be repeated, up to ``ATTEMPTS`` times while servers do not obey or cannot tell.

    A map that a read proved wrong is looked up anew within seconds, and so ends a copy that a killed run had begun.
    An install with nodes before and behind it shall not end for what a minute of waiting mends.

    Raises:
        RefusedError: What the last attempt raised, or at once what is not worth another.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            act()
        except RefusedError as refused:
            if refused.reference not in WORTH_ANOTHER_TRY:
                raise
        else:
            return
        pause()
    act()


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
        {shard.shard_id: shard.size for shard in told.ec_shard_infos if shard.shard_id in move.shards}
        for told in (info_of(server, move.volume) for server in (move.server, move.other))
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


def sweep_shards(placement: Placement, leftovers: Sequence[Move]) -> None:
    """Delete shard files that a killed run left off line on servers.

    Raises:
        RefusedError: ``cannot-drain``, 40.
    """
    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

    calls = [
        Call(
            move.server,
            VOLUME_SERVER + "VolumeEcShardsDelete",
            pb.VolumeEcShardsDeleteRequest(
                volume_id=move.volume, collection=placement.collections[move.volume], shard_ids=sorted(move.shards)
            ),
        )
        for move in leftovers
    ]
    if failed := call_all(calls, at_once=SWEEPS_AT_ONCE):
        raise refuse(
            "cannot-drain",
            f"{len(failed)} of {len(calls)} servers did not delete copies left by a killed run ({failed[0]}),"
            " expected them to",
            hint=f"See the volume server's log there, {AND_AGAIN}",
            failed=len(failed),
        )


def stop_writes(node: str, volumes: Sequence[int]) -> None:
    """Make the volumes of ``node`` read-only so that no client meets one: the master stops sending any there first.

    A server in maintenance is sent no writes, and takes those that were sent before. It is in maintenance for a
    moment only: it says so to itself after a restart, too, and takes no copies meanwhile.

    Raises:
        RefusedError: ``cannot-drain`` or ``cannot-tell``, 40.
    """
    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

    _set_maintenance(node, is_on=True)
    try:
        sleep_seconds(ASSIGNED_SECONDS)
        for volume in volumes:
            change(node, "VolumeMarkReadonly", pb.VolumeMarkReadonlyRequest(volume_id=volume))
    finally:
        _set_maintenance(node, is_on=False)
    sleep_seconds(IN_FLIGHT_SECONDS)


def allow_writes(node: str, volumes: Sequence[int]) -> None:
    """Take back what ``stop_writes`` did.

    Raises:
        RefusedError: ``cannot-drain``, 40.
    """
    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

    for volume in volumes:
        change(node, "VolumeMarkWritable", pb.VolumeMarkWritableRequest(volume_id=volume))


def _set_maintenance(server: str, *, is_on: bool) -> None:
    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

    try:
        told = call(server, VOLUME_SERVER + "GetState", pb.GetStateRequest(), pb.GetStateResponse)
    except CallFailedError as error:
        raise cannot_tell(f"node {server}: {error}", "its state") from error
    if told.state.maintenance != is_on:
        # The version is a counter: a state that somebody else has set meanwhile is not overwritten.
        state = pb.VolumeServerState(maintenance=is_on, version=told.state.version)
        change(server, "SetState", pb.SetStateRequest(state=state))


def move_volume(move: Move, *, volume_bytes: int, has_copy: bool) -> None:
    """Move a normal volume that takes no writes from ``move.other`` to ``move.server``.

    ``weed shell``'s volume.move does the same and then waits 10 s for stragglers; here the copies'
    sizes are compared instead, and a straggler means another copy.

    Args:
        move: From where to where.
        volume_bytes: Its size, for the time limit.
        has_copy: The target has one already, left by a killed run; it is made anew if it differs.

    Raises:
        RefusedError: ``cannot-drain``, 40; the volume is where it was.
    """
    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

    source, target, volume = move.other, move.server, move.volume
    seconds = CHANGE_SECONDS + volume_bytes / COPY_BYTES_PER_SECOND
    request = pb.VolumeCopyRequest(volume_id=volume, source_data_node=source)
    delete = pb.VolumeDeleteRequest(volume_id=volume, keep_remote_data=True)
    for _ in range(COPY_ATTEMPTS):
        if not has_copy:
            _obeyed(target, "VolumeCopy", lambda: stream_to_end(target, "VolumeCopy", request, seconds=seconds))
        if _file_status(source, volume) == _file_status(target, volume):
            change(source, "VolumeDelete", delete)
            return
        change(target, "VolumeDelete", delete)
        has_copy = False
    raise refuse(
        "cannot-drain",
        f"volume {volume}: its copy on {target} differed {COPY_ATTEMPTS} times, expected the same size as on {source}",
        hint=f"Look at the logs of both volume servers, {AND_AGAIN}",
        volume=volume,
        node=source,
    )


def info_of(server: str, volume: int) -> pb.VolumeEcShardsInfoResponse:
    """Return what ``server`` says about a volume and its shards there.

    Raises:
        RefusedError: ``cannot-tell``, 40.
    """
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
