"""A whole site in memory, and installer processes that can be killed at any touch of it.

The world (``World``) is what outlives a process: shards on disks and on line, links, processes,
the registry. A process (``Life``) reaches it through ports made anew for each install. A life
that was told to die does so before or after any call of a port, in the middle of a drain, a
rebalance or an upload, or while a journal line is half written; a dead one touches nothing more.

Shards are moved by the product's own pure plans, one at a time, as ``SeaweedfsCluster`` does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, Protocol, TypeVar

from teraferry.bundles.digest import Buffer, Digest, digest_of
from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.cluster.seaweedfs_placement import (
    DATA_SHARDS,
    PARITY_SHARDS,
    Placement,
    VolumeKind,
    plan_copies,
    plan_drops,
    plan_sweep,
    plan_volume_moves,
)
from teraferry.installer.ports import ClusterObservation, MasterView, ReplicatedVolume, StripeGroup
from teraferry.installer.rollout.conditions import CannotAnswerError
from tests.fakes.quorum import FakeQuorum
from tests.fakes.registry import FakeRegistry

SHARDS = DATA_SHARDS + PARITY_SHARDS
VOLUME_NODES = tuple(f"vol-{number}" for number in range(1, 6))
FILER = "core-filer"
MASTERS = ("master-1", "master-2", "master-3")
OLD = digest_of(b"the old version")


def address_of(node: str) -> str:
    port = 8888 if node == FILER else 9333 if node in MASTERS else 8080
    return f"{node}:{port}"


def refused(reference: str, what: str) -> RefusedError:
    return RefusedError(reference, f"{what}: failed, expected it to work", hint="Look at the node's log.")


class Killed(BaseException):
    """The process is gone. Not an ``Exception``: nothing in the product may catch it."""


class Life:
    """One process of the installer, from its start to its death.

    Args:
        kill_at: The touch at which it dies, from 1; None for a process that lives to the end.
        at: The same, by its name and how often it has to come.
    """

    def __init__(self, kill_at: int | None = None, *, at: tuple[str, int] | None = None) -> None:
        self.kill_at, self._at = kill_at, at
        self.touches: list[str] = []
        self.dead = False

    def touch(self, what: str) -> None:
        if self.dead:
            raise Killed
        self.touches.append(what)
        named = self._at is not None and what == self._at[0] and self.touches.count(what) == self._at[1]
        if named or len(self.touches) == self.kill_at:
            self.dead = True
            raise Killed(what)


class Program:
    """What one node runs, and what of it stays when nobody looks."""

    def __init__(self) -> None:
        self.files = {OLD}
        self.selected: Digest = OLD
        self.running: Digest | None = OLD
        self.never_comes_back: set[Digest] = set()
        self.start_fails: set[Digest] = set()  # the start command itself says so, as systemctl does
        self.wrong_runs: set[Digest] = set()  # something else runs than was selected
        self.fails_smoke: set[Digest] = set()  # runs, is in the cluster, and answers that it is not well
        self.silent_smoke: set[Digest] = set()  # runs, is in the cluster, and answers nothing
        self.starts = 0


class SiteLock:
    """``Lock`` over every node of a world, for the one state folder that installs are typed with."""

    def __init__(self, world: World, life: Life) -> None:
        self._world = world
        self._life = life

    def acquire(self) -> None:
        self._life.touch("lock: before")
        self._world.locked = True
        self._life.touch("lock: after")

    def release(self) -> None:
        self._life.touch("unlock: before")
        self._world.locked = False
        self._life.touch("unlock: after")


class World:
    """Five volume servers with 10+4 shards, a filer, and a registry; three masters where they are asked for."""

    def __init__(self, *, groups: int = 2, safe: bool = True, masters: bool = False) -> None:
        self.safe = safe
        self.programs = {node: Program() for node in (*VOLUME_NODES, FILER, *(MASTERS if masters else ()))}
        self.quorum = FakeQuorum([address_of(node) for node in MASTERS])
        self.present = {address_of(node) for node in VOLUME_NODES}
        self.disks: dict[str, set[tuple[int, int]]] = {address: set() for address in self.present}
        self.on_line: dict[str, set[tuple[int, int]]] = {address: set() for address in self.present}
        self.volumes = {100: {address_of("vol-1"), address_of("vol-2")}}
        self.reachable = True
        self.registry = FakeRegistry()
        self.seconds = 0.0
        self.violations: list[str] = []
        self.untold: set[str] = set()  # servers that have not told a master that was just started what they hold
        self.locked = False  # every node, by the one installer there is
        self.at: Mapping[str, Callable[[], None]] = {}  # touch -> what happens in the world just then
        addresses = sorted(self.present)
        for group in range(1, groups + 1):
            for shard in range(SHARDS):
                self.put(addresses[(shard + group) % len(addresses)], (group, shard))
        self.at_first = {address: set(held) for address, held in self.on_line.items()}

    def put(self, address: str, held: tuple[int, int]) -> None:
        self.disks[address].add(held)
        self.on_line[address].add(held)

    def take_off_line(self, address: str, held: tuple[int, int]) -> None:
        self.on_line[address].discard(held)
        self.watch(f"{held} off line on {address}")

    def leave(self, address: str) -> None:
        self.present.discard(address)
        self.watch(f"{address} left")

    def stop(self, node: str) -> None:
        self.violations += [] if self.locked else [f"{node} stopped without the lock"]
        self.programs[node].running = None
        address = address_of(node)
        if node in MASTERS:
            self.quorum.stop(address)
        if address in self.disks:
            self.on_line[address].clear()
            self.leave(address)

    def start(self, node: str) -> None:
        program = self.programs[node]
        program.starts += 1
        if program.selected in program.start_fails:
            raise refused("node-command-failed", f"start of {node}")
        if program.selected in program.never_comes_back:
            return
        program.running = digest_of(b"wrong") if program.selected in program.wrong_runs else program.selected
        address = address_of(node)
        if node in MASTERS:
            self.quorum.start(address)
        if address in self.disks:
            self.present.add(address)
            self.on_line[address] = set(self.disks[address])

    def lose(self, node: str) -> None:
        """A node breaks by itself; nobody is to blame."""
        address = address_of(node)
        self.programs[node].running = None
        self.on_line[address].clear()
        self.present.discard(address)

    def watch(self, what: str) -> None:
        """Note it when the change that was just made took a shard off line that it should not have."""
        missing = {
            (group, shard)
            for group in self.groups()
            for shard in range(SHARDS)
            if not any((group, shard) in self.on_line[address] for address in self.present)
        }
        if self.safe and missing:
            self.violations.append(f"{what}: {sorted(missing)} on line nowhere")
        holders = {address for address in self.disks if address not in self.present and self.disks[address] & missing}
        if len(holders) > 1:
            self.violations.append(f"{what}: shards of {sorted(holders)} are missing at once")

    def groups(self) -> list[int]:
        return sorted({group for held in self.disks.values() for group, _ in held})

    def placement(self) -> Placement:
        volumes = tuple(
            ReplicatedVolume(number, 2, frozenset((holders & self.present) - self.untold))
            for number, holders in self.volumes.items()
        )
        groups = tuple(StripeGroup(group, DATA_SHARDS, PARITY_SHARDS, self._holders(group)) for group in self.groups())
        return Placement(
            ClusterObservation(frozenset(self.present), tuple(each for each in groups if each.holders), volumes),
            racks={address: ("center", f"rack of {address}") for address in self.disks},
            replication=dict.fromkeys(self.volumes, 10),
            volume_bytes=dict.fromkeys(self.volumes, 1),
            writable={VolumeKind("", 10, 0, ""): frozenset(self.volumes)},
            collections=dict.fromkeys(self.groups(), ""),
            shard_bytes=dict.fromkeys(self.groups(), 1),
        )

    def _holders(self, group: int) -> dict[str, frozenset[int]]:
        told = self.present - self.untold
        found = {address: frozenset(s for g, s in self.on_line[address] if g == group) for address in told}
        return {address: shards for address, shards in found.items() if shards}


class Touched(Protocol):
    """Any world: something may happen in it at a touch."""

    at: Mapping[str, Callable[[], None]]
    registry: FakeRegistry
    violations: list[str]


Its = TypeVar("Its", bound=Touched)


class Hands(Generic[Its]):
    """What every port of one process has: its world, its life."""

    def __init__(self, world: Its, life: Life) -> None:
        self.world, self.life = world, life

    def reach(self, what: str) -> None:
        """Touch the world before or after a call; whatever is due there happens."""
        self.life.touch(what)
        if what in self.world.at:
            self.world.at[what]()


class SiteCluster(Hands[World]):
    """``Cluster``: which nodes it drained is forgotten with the process, as in the real one.

    As there, a copy is a file before it is on line, and is off line before its file goes.
    """

    def __init__(self, world: World, life: Life) -> None:
        super().__init__(world, life)
        self._drained: list[str] = []
        self._swept = False

    def observe(self) -> ClusterObservation:
        self.reach("observe")
        if not self.world.reachable:
            raise refused("cluster-unreachable", "masters")
        return self.world.placement().observation

    def drain(self, node: str) -> None:
        self.reach(f"drain {node}: before")
        world = self.world
        self._move_volumes(node)
        self._drained.append(node)
        placement = world.placement()
        for move in plan_copies(placement, node):
            for shard in sorted(move.shards):
                world.disks[move.server].add((move.volume, shard))
                self.reach(f"drain {node}: file of {move.volume}.{shard}")
                world.put(move.server, (move.volume, shard))
                self.reach(f"drain {node}: copied {move.volume}.{shard}")
        for group, shards in placement.shards_on(node).items():
            world.on_line[node] -= {(group, shard) for shard in shards}
            world.watch(f"{node} group {group} off line")
            self.reach(f"drain {node}: off line {group}")
        self._move_volumes(node)
        self.reach(f"drain {node}: after")

    def leave(self, node: str) -> None:
        self.reach(f"leave {node}: before")
        self.world.leave(node)
        self.reach(f"leave {node}: after")

    def rejoin(self, node: str) -> None:
        self.reach(f"rejoin {node}")

    def rebalance(self, *, home: str = "") -> None:
        self.reach("rebalance: before")
        home = home or (self._drained[-1] if self._drained else "")
        if home and not self._swept:
            for move in plan_sweep(self.world.placement(), home=home):
                self.world.disks[move.server] -= {(move.volume, shard) for shard in move.shards}
            self._swept = True
        for move in plan_drops(self.world.placement(), home=home):
            for shard in sorted(move.shards):
                self.world.take_off_line(move.server, (move.volume, shard))
                self.reach(f"rebalance: off line {move.volume}.{shard}")
                self.world.disks[move.server].discard((move.volume, shard))
                self.reach(f"rebalance: dropped {move.volume}.{shard}")
        for holders in self.world.volumes.values():
            on_line = holders & self.world.present
            if len(on_line) > 2:
                holders.discard(max(on_line))
            elif len(on_line) == 1:
                holders.add(min(self.world.present - on_line))
        self.reach("rebalance: after")

    def serves(self, address: str) -> bool:
        self.reach("serves")
        return address == address_of(FILER) and self.world.programs[FILER].running is not None

    def _move_volumes(self, node: str) -> None:
        for move in plan_volume_moves(self.world.placement(), node, preferred=self._drained):
            self.world.volumes[move.volume].add(move.server)
            self.reach(f"drain {node}: copied volume {move.volume}")
            self.world.volumes[move.volume].discard(node)
            self.reach(f"drain {node}: moved volume {move.volume}")


class SiteQuorum(Hands[World]):
    """``Quorum``: the world's, which outlives the process."""

    def observe(self) -> Mapping[str, MasterView]:
        self.reach("masters")
        return self.world.quorum.observe()

    def step_down(self, master: str) -> None:
        self.reach(f"step down {master}: before")
        self.world.quorum.step_down(master)
        self.reach(f"step down {master}: after")


class ProgramHands(Hands[Its]):
    """The part of ``Workload`` that only looks at one node's program and what is selected there."""

    def __init__(self, world: Its, life: Life, node: str, program: Program) -> None:
        super().__init__(world, life)
        self._node = node
        self._program = program

    def staged(self, digest: Digest) -> bool:
        self.reach(f"staged {self._node}")
        return digest in self._program.files

    def selected(self) -> Digest | None:
        self.reach(f"selected {self._node}")
        return self._program.selected

    def select(self, digest: Digest) -> None:
        self.reach(f"select {self._node}: before")
        if digest not in self._program.files:
            raise refused("not-staged", f"program of {self._node}")
        self._program.selected = digest
        self.reach(f"select {self._node}: after")

    def running(self) -> frozenset[Digest]:
        self.reach(f"running {self._node}")
        return frozenset({self._program.running} if self._program.running else ())


class SiteWorkload(ProgramHands[World]):
    """``Workload`` of one node."""

    def __init__(self, world: World, life: Life, node: str) -> None:
        super().__init__(world, life, node, world.programs[node])

    def stage(self, pieces: Iterable[Buffer], digest: Digest, *, mode: int) -> None:
        self.reach(f"stage {self._node}: before")
        content = b""
        for piece in pieces:
            content += bytes(piece)
            self.reach(f"stage {self._node}: {len(content)} bytes")
        if digest_of(content) != digest:
            raise refused("upload-damaged", f"program of {self._node}")
        self._program.files.add(digest)
        self.reach(f"stage {self._node}: after")

    def stop(self) -> None:
        self.reach(f"stop {self._node}: before")
        if self._program.running is not None:
            self.world.stop(self._node)
        self.reach(f"stop {self._node}: after")

    def start(self) -> None:
        self.reach(f"start {self._node}: before")
        # As the real one: nothing is done when the selected version runs, and a service that is alive stays as it is.
        if self._program.running is None:
            self.world.start(self._node)
        self.reach(f"start {self._node}: after")


class SiteProbe(Hands[World]):
    """``Probe`` that asks one node how it is; how long that takes, the world says."""

    def __init__(self, world: World, life: Life, node: str) -> None:
        super().__init__(world, life)
        self.name = node
        self._program = world.programs[node]

    def ask(self, *, timeout_seconds: float) -> bytes:
        self.reach(f"smoke {self.name}")
        running = self._program.running
        if running is None or running in self._program.silent_smoke:
            raise CannotAnswerError(f"{self.name}: nobody answers")
        return b'{"status": "broken"}' if running in self._program.fails_smoke else b'{"status": "ok"}'
