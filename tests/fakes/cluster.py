"""A storage cluster in memory: six servers, 10+4 shards, drained and rejoined as the real one is."""

from __future__ import annotations

from teraferry.bundles.errors import RefusedError
from teraferry.installer.ports import ClusterObservation, ReplicatedVolume, StripeGroup

DATA_SHARDS, PARITY_SHARDS = 10, 4


class FakeCluster:
    """``Cluster`` in memory. ``stop_node`` and ``start_node`` are what a workload does to it.

    A server that comes back has the shards it went away with, as one with a disk has.
    """

    def __init__(self, nodes: tuple[str, ...], *, groups: int = 3, filers: frozenset[str] = frozenset()) -> None:
        self.nodes = nodes
        self.filers = set(filers)
        self.reachable = True
        self.calls: list[str] = []
        self._in = set(nodes)
        self._drained: list[str] = []
        self._on_disk: dict[str, set[tuple[int, int]]] = {node: set() for node in nodes}
        self._on_line: dict[str, set[tuple[int, int]]] = {node: set() for node in nodes}
        self._volumes = {100: {nodes[0], nodes[1]}}
        for group in range(1, groups + 1):
            for shard in range(DATA_SHARDS + PARITY_SHARDS):
                self._put(nodes[(shard + group) % len(nodes)], (group, shard))

    def observe(self) -> ClusterObservation:
        self._require_reachable()
        groups = {group for held in self._on_disk.values() for group, _ in held}
        return ClusterObservation(
            nodes=frozenset(self._in),
            stripe_groups=tuple(
                StripeGroup(group, DATA_SHARDS, PARITY_SHARDS, self._holders(group)) for group in sorted(groups)
            ),
            volumes=tuple(
                ReplicatedVolume(number, 2, frozenset(holders & self._in)) for number, holders in self._volumes.items()
            ),
        )

    def drain(self, node: str) -> None:
        self._require_reachable()
        self.calls.append(f"drain {node}")
        self._drained.append(node)
        others = sorted(self._in - {node})
        for group, shard in sorted(self._on_line[node]):
            if not any((group, shard) in self._on_line[other] for other in others):
                self._put(min(others, key=lambda other: (self._count(other, group), other)), (group, shard))
        self._on_line[node].clear()
        for holders in self._volumes.values():
            if node in holders:
                free = [other for other in others if other not in holders]
                holders.add(min(free, key=lambda other: (other not in self._drained, other)))
                holders.discard(node)

    def leave(self, node: str) -> None:
        self._require_reachable()
        self.calls.append(f"leave {node}")
        self._in.discard(node)

    def rejoin(self, node: str) -> None:
        self._require_reachable()
        self.calls.append(f"rejoin {node}")

    def rebalance(self, *, home: str = "") -> None:
        self._require_reachable()
        self.calls.append("rebalance")
        home = home or (self._drained[-1] if self._drained else "")
        for held in sorted({each for node in self._in for each in self._on_line[node]}):
            having = [node for node in sorted(self._in) if held in self._on_line[node]]
            keep = min(having, key=lambda node: (node != home, self._count(node, held[0]), node))
            for node in having:
                if node != keep:
                    self._on_line[node].discard(held)
                    self._on_disk[node].discard(held)

    def serves(self, address: str) -> bool:
        return address in self.filers

    def stop_node(self, node: str) -> None:
        """The server's process ends."""
        self._in.discard(node)
        self._on_line[node].clear()

    def start_node(self, node: str) -> None:
        """The server's process starts and finds what its disk holds."""
        self._in.add(node)
        self._on_line[node] = set(self._on_disk[node])

    def lose_shard(self, node: str) -> tuple[int, int]:
        """Take one shard from ``node`` for good, as a broken disk would."""
        lost = min(self._on_disk[node])
        self._on_disk[node].discard(lost)
        self._on_line[node].discard(lost)
        return lost

    def _put(self, node: str, held: tuple[int, int]) -> None:
        self._on_disk[node].add(held)
        self._on_line[node].add(held)

    def _count(self, node: str, group: int) -> int:
        return sum(1 for each, _ in self._on_line[node] if each == group)

    def _holders(self, group: int) -> dict[str, frozenset[int]]:
        holders = {node: frozenset(shard for each, shard in self._on_line[node] if each == group) for node in self._in}
        return {node: shards for node, shards in holders.items() if shards}

    def _require_reachable(self) -> None:
        if not self.reachable:
            raise RefusedError(
                "cluster-unreachable", "masters: down, expected the leader to answer", hint="Start the masters."
            )
