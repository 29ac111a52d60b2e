"""Blue and green in memory, the switch before them, and clients that write all the while.

The world (``PairWorld``) is what outlives a process of the installer: programs on nodes, the switch, what was written
where and what of it came over. Switch and replication are the fakes that the contract tests know. At every touch of
the world the clients write: new connections where the switch sends them, and one that was established long ago on
blue. What they were promised is kept in ``acknowledged``, so that at the end every such write can be looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.fakes.one_writer import FakeOneWriter
from tests.fakes.registry import FakeRegistry
from tests.fakes.replicator import FakeReplicator
from tests.fakes.rollout_site import Program
from tests.fakes.traffic import FakeTrafficSwitch

SIDES = ("blue", "green")
NODES = {"blue": ("blue-1", "blue-2"), "green": ("green-1", "green-2")}
HOLD_SECONDS = 10.0
CHECKS = 5


def other(cluster: str) -> str:
    return "green" if cluster == "blue" else "blue"


def cluster_of(node: str) -> str:
    return node.split("-", 1)[0]


class PairWorld:
    """Two clusters of two nodes each."""

    def __init__(self, *, writers: str = "two", has_dead_man: bool = True) -> None:
        self.writers = writers
        self.switch = FakeTrafficSwitch(has_dead_man=has_dead_man)
        self.two = FakeReplicator(running=True, lags=True)  # with two writers
        self.one = FakeOneWriter()  # with one
        self.dead: set[str] = set()
        self.told_though_dead: set[str] = set()  # clusters whose pending writes can be told while they are dead
        self.acknowledged: list[str] = []
        self.programs = {node: Program() for nodes in NODES.values() for node in nodes}
        self.registry = FakeRegistry()
        self.violations: list[str] = []
        self.at: Mapping[str, Callable[[], None]] = {}  # touch -> what happens in the world just then
        self.waiting = 0  # with one writer: writes that wait for the end of a hold
        self.level = 0  # with one writer: how long the primary's log was when the standby was last brought level
        self.hold_running = False  # a legal hold, as the probe says
        self.probe_answers = True
        self.health = dict.fromkeys(SIDES, "ok")  # or error, slow, silent
        self.smoke = "ok"  # what nodes answer to the smoke tests
        self.locked = False
        self.touches = 0
        self.looked_open = False  # the newest answer of the compliance probe, to this process
        self.checks_held = 0  # good answers of the standby since it was last held
        self.clients_write = True
        self.replicates = True  # by itself, as time goes by
        self.due: dict[int, Callable[[], object]] = {}  # touch -> what happens just then

    # ---- time and clients

    @property
    def seconds(self) -> float:
        return self.switch.now_seconds

    def sleep(self, seconds: float) -> None:
        self.switch.now_seconds += seconds
        self.one.now_seconds = self.seconds
        self.let_waiting_writes_go()
        if self.replicates:
            self.two.deliver()

    def clients(self) -> None:
        """Let the clients write, as they do all the time."""
        self.touches += 1
        if self.touches in self.due:
            self.due.pop(self.touches)()
        if not self.clients_write:
            return
        if self.touches % 3 == 0:
            self.write(self.where(), f"new-{self.touches}")
        if self.touches % 5 == 0:
            self.write("blue", f"old-{self.touches}")

    def where(self) -> str:
        """Return where new connections go, whether or not the switch says so."""
        answers, self.switch.answers = self.switch.answers, True
        active = self.switch.observe().active
        self.switch.answers = answers
        return active

    def write(self, cluster: str, path: str) -> bool:
        """Write on ``cluster`` as a client there does; tell whether it was acknowledged."""
        if self.writers == "one":
            return self._write_to_primary(path)
        if cluster in self.dead:
            return False
        self.two.put(cluster, path, f"{path}, written on {cluster}")
        self.acknowledged.append(path)
        return True

    def _write_to_primary(self, path: str) -> bool:
        if self.one.first in self.dead:
            return False
        if self.one.is_held:
            self.waiting += 1
            return False
        self.one.write(path)
        self.acknowledged.append(path)
        return True

    def let_waiting_writes_go(self) -> None:
        """Let whoever waited write to the primary, once nothing is held."""
        if self.waiting and not self.one.is_held:
            waiting, self.waiting = self.waiting, 0
            for number in range(waiting):
                self._write_to_primary(f"waited-{self.touches}-{number}")

    # ---- replication

    def lacking(self, source: str) -> list[str]:
        """Name what was acknowledged on ``source`` and the other cluster lacks, whoever may be able to tell."""
        if self.writers == "one":
            return self.one.logs[source][len(self.one.logs[other(source)]) :]
        return sorted({*self.two.queue[source], *self.two.lost[source]} - set(self.two.kept))

    def resolve(self, path: str) -> None:
        """A person took one of the two versions of ``path``, if there were two."""
        self.two.kept.pop(path, None)

    # ---- what may go wrong

    def kill(self, cluster: str, *, told: bool = True) -> None:
        """The whole cluster is gone until ``revive``; what replicates stops, until somebody starts it.

        ``told``: what of its writes is missing elsewhere can be told without it.
        """
        if cluster not in self.dead:
            self.two.kill(cluster)
        self.dead.add(cluster)
        self.one.down = sorted({*self.one.down, cluster})
        self.told_though_dead = {cluster} if told else set()
        self.two.running = False
        self.health[cluster] = "silent"
        for node in NODES[cluster]:
            self.programs[node].running = None

    def revive(self, *clusters: str) -> None:
        """They are back with their disks as they were; a standby database starts when replication is started."""
        for cluster in clusters:
            if cluster in self.dead:
                self.two.revive(cluster)
            self.dead.discard(cluster)
            if cluster == self.one.first:
                self.one.down = [each for each in self.one.down if each != cluster]
            self.health[cluster] = "ok"
            for node in NODES[cluster]:
                self.programs[node].running = self.programs[node].selected

    def is_served_by(self, cluster: str) -> bool:
        seen = self.switch.observe()
        return cluster in (seen.active, seen.standing)

    def unsafe(self, what: str) -> None:
        """Note something that must never happen."""
        self.violations.append(what)

    def lost(self) -> list[str]:
        """Name the acknowledged writes that the standing side lacks."""
        if self.writers == "one":
            return [path for path in self.acknowledged if path not in self.one.logs[self.one.first]]
        there = self.two.files[self.switch.observe().standing]
        return [path for path in self.acknowledged if path not in there]
