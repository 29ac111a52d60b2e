"""Blue and green in memory, the switch before them, and clients that write all the while.

The world (``PairWorld``) is what outlives a process of the installer: programs on nodes, the switch, what was written
where and what of it came over. At every touch of it the clients write: new connections where the switch sends them,
and one that was established long ago on blue. What they were promised is kept in ``logs``, so that at the end every
acknowledged write can be looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.fakes.registry import FakeRegistry
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


@dataclass
class Store:
    """What clients wrote on one cluster and were acknowledged, and how much of it the other one has."""

    log: list[str] = field(default_factory=list)
    copied: int = 0
    alive: bool = True
    promised: bool = True  # whether its pending writes can be told while it is dead


class PairWorld:
    """Two clusters of two nodes each."""

    def __init__(self, *, writers: str = "two", has_dead_man: bool = True) -> None:
        self.writers = writers
        self.switch = FakeTrafficSwitch(has_dead_man=has_dead_man)
        self.stores = {side: Store() for side in SIDES}
        self.programs = {node: Program() for nodes in NODES.values() for node in nodes}
        self.registry = FakeRegistry()
        self.violations: list[str] = []
        self.at: Mapping[str, Callable[[], None]] = {}  # touch -> what happens in the world just then
        self.primary = "blue"  # with one writer
        self.held_until: float | None = None  # writes wait until then
        self.waiting = 0
        self.level = 0  # with one writer: how much of the primary's log the follower has
        self.markers: dict[str, dict[str, int]] = {}  # marker -> how long each log was when it was written
        self.resolved: set[str] = set()
        self.hold_running = False  # a legal hold, as the probe says
        self.probe_answers = True
        self.health = dict.fromkeys(SIDES, "ok")  # or error, slow, silent
        self.smoke = "ok"  # what nodes answer to the smoke tests
        self.locked = False
        self.touches = 0
        self.looked_open = False  # the newest answer of the compliance probe, to this process
        self.checks_held = 0  # good answers of the standby since it was last held
        self.clients_write = True
        self.replicates = True  # by itself, as time goes by, while ``replicating``
        self.replicating = True
        self.due: dict[int, Callable[[], object]] = {}  # touch -> what happens just then

    # ---- time and clients

    @property
    def seconds(self) -> float:
        return self.switch.now_seconds

    def sleep(self, seconds: float) -> None:
        self.switch.now_seconds += seconds
        if self.held_until is not None and self.seconds >= self.held_until:
            self.let_writes_go()
        if self.replicates and self.replicating:
            for side in SIDES:
                self.copy(side)

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
        where = cluster if self.writers == "two" else self.primary
        if not self.stores[where].alive:
            return False
        if self.held_until is not None:
            self.waiting += 1
            return False
        self.stores[where].log.append(path)
        return True

    # ---- replication

    def copy(self, source: str) -> None:
        """Bring what was written on ``source`` over, if both are alive."""
        if all(store.alive for store in self.stores.values()):
            self.stores[source].copied = len(self.stores[source].log)

    def lacking(self, source: str) -> list[str]:
        store = self.stores[source]
        return store.log[store.copied :]

    def clashes(self, marker: str) -> list[str]:
        since = self.markers[marker]
        paths = [set(self.stores[side].log[since[side] :]) for side in SIDES]
        return sorted((paths[0] & paths[1]) - self.resolved)

    def let_writes_go(self) -> None:
        """The hold on writes is over: who waited writes to the primary."""
        self.held_until = None
        for number in range(self.waiting):
            self.stores[self.primary].log.append(f"waited-{self.touches}-{number}")
        self.waiting = 0

    # ---- what may go wrong

    def kill(self, cluster: str, *, promised: bool = True) -> None:
        """The whole cluster is gone until ``revive``; what replicates stops, until somebody starts it."""
        self.stores[cluster].alive, self.stores[cluster].promised = False, promised
        self.replicating = False
        self.health[cluster] = "silent"
        for node in NODES[cluster]:
            self.programs[node].running = None

    def revive(self, *clusters: str) -> None:
        """They are back with their disks as they were."""
        for cluster in clusters:
            self.stores[cluster].alive, self.stores[cluster].promised = True, True
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
            return []  # a write that a promotion left behind is a violation when it happens
        standing = self.switch.observe().standing
        return self.lacking(other(standing))
