"""Where the shards are, and where copies of them should go. Pure.

One VolumeList becomes a ``Placement``: the observation the gates judge, and what moving needs
beside it. ``plan_copies`` and ``plan_drops`` decide; the adapter only carries out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from teraferry.bundles.errors import RefusedError
from teraferry.installer.ports import ClusterObservation, ReplicatedVolume, StripeGroup

if TYPE_CHECKING:
    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

DATA_SHARDS: Final = 10
PARITY_SHARDS: Final = 4
"""Fixed in the open-source build; VolumeList does not tell the ratio, so another one is refused."""


@dataclass(frozen=True, slots=True)
class Move:
    """Shards of one volume to copy to, or to drop from, one server."""

    volume: int
    server: str  # who gets or loses them
    other: str  # who has them, too; empty where that does not matter
    shards: frozenset[int]


@dataclass(frozen=True, slots=True)
class VolumeKind:
    """What a write asks for; the master keeps volumes of each kind apart."""

    collection: str
    replication: int  # 10 for 010
    ttl: int  # as the master tells it: how many, and of which unit
    disk: str


@dataclass(frozen=True, slots=True)
class Placement:
    """One VolumeList."""

    observation: ClusterObservation
    racks: Mapping[str, tuple[str, str]]  # node -> data center, rack
    replication: Mapping[int, int]  # of the normal volumes: 10 for 010
    volume_bytes: Mapping[int, int]  # of the normal volumes
    writable: Mapping[VolumeKind, frozenset[int]]  # normal volumes that take writes, on every server that has a copy
    collections: Mapping[int, str]  # of the erasure-coded volumes
    shard_bytes: Mapping[int, int]  # largest shard of each

    def holders(self, volume: int) -> Mapping[str, frozenset[int]]:
        """Return server -> shards for one erasure-coded volume."""
        return next((group.holders for group in self.observation.stripe_groups if group.id == volume), {})

    @property
    def holding(self) -> frozenset[str]:
        """The servers that hold a shard or a normal volume."""
        return frozenset().union(
            *(group.holders for group in self.observation.stripe_groups),
            *(volume.holders for volume in self.observation.volumes),
        )

    def has_volume(self, server: str, volume: int) -> bool:
        """Tell whether ``server`` has a copy of a normal volume."""
        return any(each.id == volume and server in each.holders for each in self.observation.volumes)

    def shards_on(self, node: str) -> dict[int, frozenset[int]]:
        """Return volume -> shards on line on ``node``."""
        return {group.id: group.holders[node] for group in self.observation.stripe_groups if node in group.holders}

    def only_on(self, node: str) -> dict[int, frozenset[int]]:
        """Return volume -> shards that no server but ``node`` has on line."""
        alone = {}
        for group in self.observation.stripe_groups:
            elsewhere = frozenset().union(*(held for server, held in group.holders.items() if server != node))
            if shards := group.holders.get(node, frozenset()) - elsewhere:
                alone[group.id] = shards
        return alone


def parse_placement(answer: pb.VolumeListResponse) -> Placement:
    """Read one VolumeList.

    Raises:
        RefusedError: ``cannot-tell``, 40: there are shards beyond the 10 + 4 we know.
    """
    nodes: set[str] = set()
    shards: dict[int, dict[str, frozenset[int]]] = {}
    volumes: dict[int, tuple[int, set[str]]] = {}
    replication: dict[int, int] = {}
    volume_bytes: dict[int, int] = {}
    kinds: dict[int, VolumeKind] = {}
    full: set[int] = set()
    collections: dict[int, str] = {}
    shard_bytes: dict[int, int] = {}
    racks: dict[str, tuple[str, str]] = {}
    for center, rack, node in _nodes(answer):
        address = node.address or node.id
        nodes.add(address)
        racks[address] = (center, rack)
        for disk in node.diskInfos.values():
            for volume in disk.volume_infos:
                # 010 arrives as the number 10: copies on other centers, racks, servers.
                copies = 1 + sum(int(digit) for digit in f"{volume.replica_placement:03d}")
                volumes.setdefault(volume.id, (copies, set()))[1].add(address)
                replication[volume.id] = volume.replica_placement
                volume_bytes[volume.id] = max(volume_bytes.get(volume.id, 0), volume.size)
                kinds[volume.id] = _kind(volume)
                if volume.read_only or volume.size >= answer.volume_size_limit_mb * 1024 * 1024:
                    full.add(volume.id)
            for part in disk.ec_shard_infos:
                held = _shards(part)
                if held:
                    group = shards.setdefault(part.id, {})
                    group[address] = group.get(address, frozenset()) | held
                    collections[part.id] = part.collection
                    shard_bytes[part.id] = max(shard_bytes.get(part.id, 0), *part.shard_sizes, 0)
    observation = ClusterObservation(
        frozenset(nodes),
        tuple(StripeGroup(number, DATA_SHARDS, PARITY_SHARDS, held) for number, held in sorted(shards.items())),
        tuple(ReplicatedVolume(number, copies, frozenset(on)) for number, (copies, on) in sorted(volumes.items())),
    )
    writable = _by_kind(kinds, full)
    return Placement(observation, racks, replication, volume_bytes, writable, collections, shard_bytes)


def kinds_only_on(placement: Placement, node: str) -> list[VolumeKind]:
    """Name the kinds of volume of which every one that takes writes has a copy on ``node``."""
    holders = {volume.id: volume.holders for volume in placement.observation.volumes}
    return [
        kind
        for kind, volumes in placement.writable.items()
        if volumes and all(node in holders[number] for number in volumes)
    ]


def plan_volume_moves(placement: Placement, node: str, *, preferred: Sequence[str]) -> list[Move]:
    """Say where each normal volume of ``node`` shall go, keeping its replication.

    Args:
        placement: What is where now.
        node: The node to empty.
        preferred: Nodes to choose first, where the replication allows it.

    Raises:
        RefusedError: ``cannot-drain``, 40: no server may take one of them.
    """
    moves = []
    totals = Counter(server for volume in placement.observation.volumes for server in volume.holders)
    for volume in placement.observation.volumes:
        if node not in volume.holders:
            continue
        others = volume.holders - {node}
        if len(others) >= volume.copies_wanted:
            # A killed run had copied it already; only its own copy is left to delete.
            moves.append(Move(volume.id, min(others), node, frozenset()))
            continue
        allowed = [server for server in placement.observation.nodes if _may_take(placement, volume, node, server)]
        if not allowed:
            raise RefusedError(
                "cannot-drain",
                f"node {node}: volume {volume.id} may go nowhere, its copies are on {sorted(others)} and its"
                f" replication is {placement.replication[volume.id]:03d}, expected a server that may take it",
                hint="Bring the missing volume servers back or add one, then type the same command again.",
                facts={"node": node, "volume": volume.id},
            )
        server = min(allowed, key=lambda name: (name not in preferred, totals[name], name))
        totals[server] += 1
        moves.append(Move(volume.id, server, node, frozenset()))
    return moves


def _may_take(placement: Placement, volume: ReplicatedVolume, node: str, server: str) -> bool:
    if server in volume.holders:
        return False
    racks = placement.racks
    if racks[server] == racks[node]:
        return True
    # Another rack of the same center will do unless copies must share a rack (last digit) or this
    # one has a copy already.
    in_rack = placement.replication[volume.id] % 10
    used = {racks[holder] for holder in volume.holders if holder != node and holder in racks}
    return not in_rack and racks[server][0] == racks[node][0] and racks[server] not in used


def _nodes(answer: pb.VolumeListResponse) -> Iterator[tuple[str, str, pb.DataNodeInfo]]:
    for center in answer.topology_info.data_center_infos:
        for rack in center.rack_infos:
            for node in rack.data_node_infos:
                yield center.id, rack.id, node


def plan_copies(placement: Placement, node: str) -> list[Move]:
    """Say who shall get a copy of the shards that only ``node`` has: whoever has fewest of that volume.

    Raises:
        RefusedError: ``cannot-drain``, 40: some server would hold more shards of a volume than its
            parity can lose.
    """
    moves = []
    totals = Counter({server: 0 for server in placement.observation.nodes if server != node})
    for group in placement.observation.stripe_groups:
        totals.update({server: len(held) for server, held in group.holders.items() if server != node})
    for volume, alone in sorted(placement.only_on(node).items()):
        held = {server: len(placement.holders(volume).get(server, ())) for server in totals}
        chosen: dict[str, set[int]] = {}
        for shard in sorted(alone):
            server = min(held, key=lambda name: (held[name], totals[name], name), default="")
            if not server or held[server] >= PARITY_SHARDS:
                raise RefusedError(
                    "cannot-drain",
                    f"node {node}: shard {shard} of volume {volume} has no place, expected a server with fewer than"
                    f" {PARITY_SHARDS} shards of it",
                    hint="Bring the missing volume servers back or add one, then type the same command again.",
                    facts={"node": node, "volume": volume, "shard": shard},
                )
            held[server] += 1
            totals[server] += 1
            chosen.setdefault(server, set()).add(shard)
        moves += [Move(volume, server, node, frozenset(shards)) for server, shards in sorted(chosen.items())]
    return moves


def plan_drops(placement: Placement, *, home: str) -> list[Move]:
    """Say which copies of doubled shards shall go, so that one of each stays.

    The one on ``home`` stays; else the one on the server with fewest shards of the volume, since
    copies were put where more already were.
    """
    moves = []
    for group in placement.observation.stripe_groups:
        left = {server: set(held) for server, held in group.holders.items()}
        drops: dict[tuple[str, str], set[int]] = {}
        for shard in range(group.data_shards + group.parity_shards):
            having = [server for server, held in left.items() if shard in held]
            keep = min(having, key=lambda server: (server != home, len(left[server]), server), default="")
            for server in having:
                if server != keep:
                    left[server].discard(shard)
                    drops.setdefault((server, keep), set()).add(shard)
        moves += [Move(group.id, server, keep, frozenset(shards)) for (server, keep), shards in sorted(drops.items())]
    return moves


def plan_sweep(placement: Placement, *, home: str) -> list[Move]:
    """Say which shard files may lie on servers where nobody serves them: those of shards on line elsewhere.

    Not on ``home``: a node that was drained keeps its own files, off line, until it restarts.
    """
    sweeps = []
    for group in placement.observation.stripe_groups:
        for server in sorted(placement.observation.nodes - {home}):
            here = group.holders.get(server, frozenset())
            elsewhere = frozenset().union(*(held for other, held in group.holders.items() if other != server))
            if left := elsewhere - here:
                sweeps.append(Move(group.id, server, "", left))
    return sweeps


def _by_kind(kinds: Mapping[int, VolumeKind], full: set[int]) -> dict[VolumeKind, frozenset[int]]:
    found: dict[VolumeKind, set[int]] = {}
    for number, kind in kinds.items():
        found.setdefault(kind, set()).update({number} - full)
    return {kind: frozenset(numbers) for kind, numbers in found.items()}


def _kind(volume: pb.VolumeInformationMessage) -> VolumeKind:
    return VolumeKind(volume.collection, volume.replica_placement, volume.ttl, volume.disk_type)


def _shards(part: pb.VolumeEcShardInformationMessage) -> frozenset[int]:
    if part.ec_index_bits >> (DATA_SHARDS + PARITY_SHARDS):
        raise RefusedError(
            "cannot-tell",
            f"volume {part.id}: shards beyond {DATA_SHARDS}+{PARITY_SHARDS}, expected that ratio",
            hint="This release of TeraFerry knows erasure coding 10+4 only; do not roll this cluster with it.",
            facts={"volume": part.id},
        )
    return frozenset(n for n in range(DATA_SHARDS + PARITY_SHARDS) if part.ec_index_bits >> n & 1)
