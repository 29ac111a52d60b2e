"""SeaweedFS: judged by its master's VolumeList, drained so that no client notices.

Draining a node copies its shards to the others, then takes them off the node without deleting
them: the node comes back with its own files, and ``rebalance`` drops the copies. So each shard is
on line at every moment, half as much is moved as by ``volumeServer.evacuate`` and ``ec.balance``,
and the shards end where they were. That matters: the volume servers remember where shards are,
and a rollout that moves them about makes reads fail (``seaweedfs_maps`` tells the story).

Normal volumes are moved, to nodes drained before where their replication allows it, so that none
is moved twice.

Nothing here trusts an answer of "done": what was asked for is looked for in VolumeList. All of it
runs under the storage's own lock, renewed while we live; 10 s after our death it is free.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.clock import monotonic_seconds, sleep_seconds
from teraferry.installer.adapters.cluster import seaweedfs_growing as growing
from teraferry.installer.adapters.cluster import seaweedfs_maps as maps
from teraferry.installer.adapters.cluster import seaweedfs_moving as moving
from teraferry.installer.adapters.cluster import seaweedfs_renewing as renewing
from teraferry.installer.adapters.cluster.seaweedfs_masters import Masters
from teraferry.installer.adapters.cluster.seaweedfs_placement import (
    Move,
    Placement,
    plan_copies,
    plan_drops,
    plan_sweep,
    plan_volume_moves,
)
from teraferry.installer.adapters.cluster.seaweedfs_rpc import AdminLock
from teraferry.installer.ports import ClusterObservation, NodeTransport, StripeGroup

LOCK_WAIT_SECONDS: Final = 60.0
"""A dead holder's lease lapses after 10 s; somebody's short maintenance job may end within this."""

MOVE_ROUNDS: Final = 10
"""Each round empties the node of the volumes it found; writers seldom bring one back twice."""

SERVES_SECONDS: Final = 5.0
REPAIR_SECONDS: Final = 600.0


class SeaweedfsCluster:
    """``Cluster`` of SeaweedFS 4; node arguments are the volume servers' HTTP addresses.

    Args:
        masters: HTTP addresses of the masters, as site.toml names them.
        shell: Reaches the node of the first master, where ``weed shell`` repairs replication.
        weed: Path of ``weed`` on that node.
        lock_wait_seconds: How long another holder of the storage's lock is waited for.
    """

    def __init__(
        self,
        masters: Sequence[str],
        shell: NodeTransport,
        weed: str,
        *,
        lock_wait_seconds: float = LOCK_WAIT_SECONDS,
    ) -> None:
        self._masters = Masters(masters, lock_wait_seconds=lock_wait_seconds)
        self._shell = shell
        self._weed = weed
        self._drained: list[str] = []  # by this process, oldest first
        self._swept = False
        self._settled_at = monotonic_seconds() + maps.SETTLE_SECONDS  # shards may have moved just before us
        self._left: Sequence[StripeGroup] | None = None  # where shards were when we last had to do with them

    def observe(self) -> ClusterObservation:
        """Return what VolumeList says; see ``installer.ports.Cluster``."""
        seen = self._masters.placement().observation
        if self._left is None:
            self._left = seen.stripe_groups
        return seen

    def drain(self, node: str) -> None:
        """Put everything on ``node`` on line elsewhere, then take it off line there. Idempotent.

        Raises:
            RefusedError: ``storage-locked``, ``storage-lock-lost``, ``cannot-drain``,
                ``cluster-unreachable`` or ``cannot-tell``; 40.
        """
        self._masters.under_lock(partial(self._drain, node))

    def leave(self, node: str) -> None:
        """Take ``node`` out of the master's answers. Not revocable but by a restart. Idempotent."""
        from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

        if node not in self.observe().nodes:
            return
        moving.change(node, "VolumeServerLeave", pb.VolumeServerLeaveRequest())
        self._masters.wait_for(f"{node} out of the cluster", lambda now: node not in now.observation.nodes)

    def rejoin(self, node: str) -> None:
        """A volume server tells its master by itself, as soon as it runs."""

    def rebalance(self, *, home: str = "") -> None:
        """Drop the copies that ``drain`` made: one of each shard stays, that of ``home``. Idempotent.

        Shards that stayed elsewhere would leave the servers' maps wrong for good (``seaweedfs_maps``): reads of
        data shards renew a map, and of parity shards there are none.

        A volume that a killed run left with a copy too many, or one too few, is repaired.
        """
        home = home or (self._drained[-1] if self._drained else "")
        self._masters.under_lock(partial(self._bring_home, home))
        if _odd_copies(self._masters.placement()):
            self._repair_replication()

    def serves(self, address: str) -> bool:
        """Tell whether the filer at ``address`` answers requests over HTTP."""
        host, _, port = address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=SERVES_SECONDS)
        try:
            connection.request("GET", "/", headers={"Accept": "application/json"})
            return connection.getresponse().status < http.HTTPStatus.INTERNAL_SERVER_ERROR
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _drain(self, node: str, lock: AdminLock) -> None:
        self._require_whole(self._masters.placement())
        self._move_volumes(node, lock)
        self._drained = [*(name for name in self._drained if name != node), node]
        self._move_shards(node, lock)
        self._move_volumes(node, lock)
        # A master that was started anew on the way showed nothing to move; by now it may.
        placement = self._masters.placement()
        self._require_whole(placement)
        if node in placement.holding:
            raise moving.cannot_tell(f"node {node}: it holds something again", "it to be empty")
        self._left = placement.observation.stripe_groups

    def _bring_home(self, home: str, lock: AdminLock) -> None:
        """Keep one of each shard, and delete what a process before this one left off line; see ``plan_sweep``."""
        # A master that was just started has not been told of every copy yet. What does not come may be what broke.
        self._masters.is_shown(self._is_whole)
        placement = self._masters.placement()
        if home and not self._swept:
            lock.require_held()
            moving.sweep_shards(placement, plan_sweep(placement, home=home))
            self._swept = True
        for move in plan_drops(placement, home=home):
            lock.require_held()
            moving.drop_shards(placement, move)
            self._settled_at = monotonic_seconds() + maps.SETTLE_SECONDS
        self._masters.wait_for("one of each shard", lambda now: not plan_drops(now, home=home))
        self._left = self._masters.placement().observation.stripe_groups

    def _move_volumes(self, node: str, lock: AdminLock) -> None:
        """Move the normal volumes off ``node``.

        While a volume moves it takes no writes, and the master may answer writers with a new
        volume, on this very node: hence more than one round.
        """
        for _ in range(MOVE_ROUNDS):
            placement = self._masters.placement()
            moves = plan_volume_moves(placement, node, preferred=self._drained)
            if not moves:
                return
            lock.require_held()
            volumes = [move.volume for move in moves]
            growing.make_room(self._masters.addresses, node, preferred=self._drained, placement=self._masters.placement)
            moving.stop_writes(node, volumes)
            try:
                self._copy_and_delete(moves, placement, lock)
            except RefusedError:
                moving.allow_writes(
                    node, [each for each in volumes if self._masters.placement().has_volume(node, each)]
                )
                raise
            moved = frozenset(move.volume for move in moves)
            self._masters.wait_for(f"volumes {sorted(moved)} gone from {node}", partial(_has_none_of, moved, node))
        raise moving.refuse(
            "cannot-drain",
            f"node {node}: the master puts new volumes there again and again, expected it to become empty",
            hint="In `weed shell` type `lock` and `volume.grow -count 2` for the busy collection, then try again.",
            node=node,
        )

    def _copy_and_delete(self, moves: Sequence[Move], placement: Placement, lock: AdminLock) -> None:
        for move in moves:
            lock.require_held()
            moving.move_volume(
                move,
                volume_bytes=placement.volume_bytes[move.volume],
                has_copy=placement.has_volume(move.server, move.volume),
            )

    def _move_shards(self, node: str, lock: AdminLock) -> None:
        """Put the shards of ``node`` on line elsewhere, then take them off line there; the files stay.

        The order is what keeps every server able to find ten shards: ``seaweedfs_maps``.
        """
        placement = self._masters.placement()
        if not placement.shards_on(node):
            return
        if placement.observation.stripe_groups != self._left:
            # Somebody else moved them meanwhile, by hand or with a balance of their own.
            self._settled_at = monotonic_seconds() + maps.SETTLE_SECONDS
        for move in plan_copies(placement, node):
            lock.require_held()
            moving.copy_shards(placement, move)
        self._masters.wait_for(f"shards of {node} on other nodes", lambda now: not now.only_on(node))
        while monotonic_seconds() < self._settled_at:
            lock.require_held()
            sleep_seconds(0.25)
        placement = self._masters.placement()
        objects = renewing.objects_of(placement, node)
        renewing.renew_maps(placement, objects, node=node)
        for turn in maps.one_at_a_time(placement.shards_on(node), objects):
            self._take_off_line(node, {volume: frozenset({shard}) for volume, shard in turn.items()}, lock)
            moved = {volume: {shard: objects[volume][shard]} for volume, shard in turn.items()}
            renewing.renew_maps(self._masters.placement(), moved, node=node)
        self._take_off_line(node, self._masters.placement().shards_on(node), lock)

    def _take_off_line(self, node: str, shards: Mapping[int, frozenset[int]], lock: AdminLock) -> None:
        for volume, each in shards.items():
            lock.require_held()
            moving.take_off_line(node, volume, each)
        self._settled_at = monotonic_seconds() + maps.SETTLE_SECONDS
        self._masters.wait_for(
            f"shards of {node} off line",
            lambda now: not any(each & now.shards_on(node).get(volume, frozenset()) for volume, each in shards.items()),
        )

    def _repair_replication(self) -> None:
        """Let ``weed shell`` bring every normal volume to its number of copies; it takes the lock itself.

        The shell's output is kept by the shell around it: a pipe that ended with us would kill it
        in the middle of a repair.
        """
        script = 'said=$("$1" shell "-master=$2" 2>&1); printf "%s\\n" "$said"'
        self._shell.run(
            ["sh", "-c", script, "sh", self._weed, ",".join(self._masters.addresses)],
            stdin=b"lock\nvolume.fix.replication -apply\nunlock\n",
            timeout_seconds=REPAIR_SECONDS,
        )

    def _require_whole(self, now: Placement) -> None:
        """Refuse to empty a node while shards are on line nowhere: they broke, or a new master does not know yet.

        To a master that was just started a node is empty until it has told what it holds.

        Raises:
            RefusedError: ``cannot-tell``, 40.
        """
        if not self._is_whole(now):
            raise moving.cannot_tell(
                "some shards are on line nowhere, as far as the master knows", "each of them to be"
            )

    def _is_whole(self, now: Placement) -> bool:
        whole = {group.id for group in now.observation.stripe_groups if not group.missing}
        known = {group.id for group in (*(self._left or ()), *now.observation.stripe_groups)}
        return whole == known


def _has_none_of(volumes: frozenset[int], node: str, now: Placement) -> bool:
    return not any(volume.id in volumes and node in volume.holders for volume in now.observation.volumes)


def _odd_copies(placement: Placement) -> bool:
    return any(len(volume.holders) != volume.copies_wanted for volume in placement.observation.volumes)
