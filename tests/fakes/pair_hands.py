"""The ports of one process of the installer to a ``PairWorld``, which can be killed at any touch of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from teraferry.bundles.digest import Buffer, Digest, digest_of
from teraferry.bundles.errors import RefusedError
from teraferry.installer.blue_green_ports import HealthAnswer, ReplicationObservation, TrafficObservation
from teraferry.installer.rollout.conditions import CannotAnswerError
from tests.fakes.one_writer import FakeOneWriter
from tests.fakes.pair_world import CHECKS, PairWorld, cluster_of
from tests.fakes.replicator import FakeReplicator
from tests.fakes.rollout_site import Hands, Life, ProgramHands, refused


class PairHands(Hands[PairWorld]):
    """What every port has; at every touch the clients write, and what is due happens."""

    def reach(self, what: str) -> None:
        super().reach(what)
        self.world.clients()


class PairSwitch(PairHands):
    """``TrafficSwitch``: the fake one, and what must be true before it is told something."""

    @property
    def has_dead_man(self) -> bool:
        return self.world.switch.has_dead_man

    def set_up(self, standing: str) -> None:
        self.reach("set_up: before")
        self.world.switch.set_up(standing)
        self.reach("set_up: after")

    def observe(self) -> TrafficObservation:
        self.reach("switch observe")
        return self.world.switch.observe()

    def hold(self, cluster: str, *, seconds: float) -> None:
        self.reach(f"hold {cluster}: before")
        if not self.world.looked_open:
            self.world.unsafe(f"cutover to {cluster} without an open compliance lock")
        self.world.checks_held = 0
        self.world.switch.hold(cluster, seconds=seconds)
        self.reach(f"hold {cluster}: after")

    def renew(self, *, seconds: float) -> None:
        self.reach("renew: before")
        self.world.switch.renew(seconds=seconds)
        self.reach("renew: after")

    def release(self) -> None:
        self.reach("release: before")
        self.world.switch.release()
        self.reach("release: after")

    def commit(self, cluster: str) -> None:
        self.reach(f"commit {cluster}: before")
        if self.world.switch.observe().standing != cluster and self.world.checks_held < CHECKS:
            self.world.unsafe(f"commit of {cluster} after {self.world.checks_held} good checks")
        self.world.switch.commit(cluster)
        self.reach(f"commit {cluster}: after")

    def established(self, cluster: str) -> int | None:
        self.reach("established")
        return self.world.switch.established(cluster)

    def require_can_cut(self) -> None:
        self.reach("require_can_cut")
        self.world.switch.require_can_cut()

    def cut(self, cluster: str) -> None:
        self.reach(f"cut {cluster}: before")
        self.world.switch.cut(cluster)
        self.reach(f"cut {cluster}: after")


class PairReplicator(PairHands):
    """``Replicator`` and ``Promotion``: the fake ones, and what must be true before they are told something."""

    @property
    def writers(self) -> str:
        return self.world.writers

    @property
    def _its(self) -> FakeReplicator | FakeOneWriter:
        return self.world.one if self.writers == "one" else self.world.two

    def start(self) -> None:
        self.reach("replicator start: before")
        if self.world.dead:
            # A machine that is gone is started by nobody.
            raise refused("replication-failed", f"replication with {', '.join(sorted(self.world.dead))}")
        self._its.start()
        self.reach("replicator start: after")

    def observe(self, source: str) -> ReplicationObservation:
        self.reach("replicator observe")
        return self._its.observe(source)

    def sync_state(self, source: str, *, marker: str, stalled_after_seconds: float) -> None:
        self.reach(f"sync {source}: before")
        if self.writers == "two":
            self.world.two.write_marker(source, marker)
        self.reach(f"sync {source}: marker written")
        self._its.sync_state(source, marker=marker, stalled_after_seconds=stalled_after_seconds)
        self.world.level = len(self.world.one.logs[self.world.one.first])
        self.reach(f"sync {source}: after")

    def pending(self, source: str) -> Sequence[str] | None:
        self.reach(f"pending {source}")
        if source in self.world.dead & self.world.told_though_dead:
            return self.world.lacking(source)
        return self._its.pending(source)

    def conflicts(self, *, marker: str) -> Sequence[str]:
        self.reach("conflicts")
        return self._its.conflicts(marker=marker)

    def primary(self) -> str:
        self.reach("primary")
        return self.world.one.primary()

    def hold_writes(self, *, seconds: float) -> None:
        self.reach("hold writes: before")
        self.world.one.hold_writes(seconds=seconds)
        self.reach("hold writes: after")

    def promote(self, cluster: str) -> None:
        self.reach(f"promote {cluster}: before")
        one = self.world.one
        if one.first != cluster and one.is_held and self.world.level < len(one.logs[one.first]):
            self.world.unsafe(f"promotion of {cluster}, which was not brought level before")
        one.promote(cluster)
        self.reach(f"promote {cluster}: after")

    def release_writes(self) -> None:
        self.reach("release writes: before")
        self.world.one.release_writes()
        self.world.let_waiting_writes_go()
        self.reach("release writes: after")


class PairHealth(PairHands):
    """``HealthProbe``."""

    def ask(self, cluster: str) -> HealthAnswer:
        self.reach(f"health {cluster}")
        how = self.world.health[cluster]
        if how == "silent":
            raise CannotAnswerError(f"{cluster}: no answer")
        self.world.checks_held += how == "ok"
        return HealthAnswer(503 if how == "error" else 200, 9000.0 if how == "slow" else 3.0, b"{}")


class PairProbe(PairHands):
    """``ComplianceProbe`` of a legal hold."""

    @property
    def name(self) -> str:
        return "legal_hold"

    def ask(self) -> bytes:
        self.reach("compliance")
        self.world.looked_open = False
        if not self.world.probe_answers:
            raise CannotAnswerError("no answer")
        self.world.looked_open = not self.world.hold_running
        return json.dumps({"active_holds": int(self.world.hold_running)}).encode()


class PairSmoke(PairHands):
    """``Probe`` of a smoke test on one node."""

    def __init__(self, world: PairWorld, life: Life, node: str) -> None:
        super().__init__(world, life)
        self.name = node

    def ask(self, *, timeout_seconds: float) -> bytes:
        self.reach(f"smoke {self.name}")
        return json.dumps({"status": self.world.smoke}).encode()


class PairWorkload(ProgramHands[PairWorld], PairHands):
    """``Workload`` of one node; to restart one that serves is what a blue-green rollout never does."""

    def __init__(self, world: PairWorld, life: Life, node: str) -> None:
        super().__init__(world, life, node, world.programs[node])

    def stage(self, pieces: Iterable[Buffer], digest: Digest, *, mode: int) -> None:
        self.reach(f"stage {self._node}: before")
        if digest_of(b"".join(bytes(piece) for piece in pieces)) != digest:
            raise refused("upload-damaged", f"program of {self._node}")
        self._program.files.add(digest)
        self.reach(f"stage {self._node}: after")

    def stop(self) -> None:
        self.reach(f"stop {self._node}: before")
        if self.world.is_served_by(cluster_of(self._node)):
            self.world.unsafe(f"{self._node} stopped while its cluster serves")
        self._program.running = None
        self.reach(f"stop {self._node}: after")

    def start(self) -> None:
        self.reach(f"start {self._node}: before")
        program = self._program
        if program.running is None:
            program.starts += 1
            if program.selected in program.start_fails:
                raise RefusedError("node-command-failed", f"start of {self._node}: failed", hint="See its log.")
            if program.selected not in program.never_comes_back and cluster_of(self._node) not in self.world.dead:
                program.running = program.selected
        self.reach(f"start {self._node}: after")


class PairLock(PairHands):
    """``Lock`` over every node."""

    def acquire(self) -> None:
        self.reach("lock: before")
        self.world.locked = True
        self.reach("lock: after")

    def release(self) -> None:
        self.reach("unlock: before")
        self.world.locked = False
        self.reach("unlock: after")
