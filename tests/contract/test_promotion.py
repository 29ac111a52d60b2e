"""What every ``Replicator`` with one writer, and its ``Promotion``, must do, in one run.

They are the fakes, a site's own program, and PostgreSQL.

The real one is two servers in namespaces, a pgbouncer each; clients write through both. The tests share them, and each
begins with whoever is primary by then and a standby that streams.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.replicator.command_primary import CommandPrimary
from teraferry.installer.adapters.transport.local import LocalTransport
from teraferry.installer.blue_green_ports import Promotion, Replicator
from tests.fakes.one_writer import OTHER, FakeOneWriter, load
from tests.fakes.pair_hands import PairReplicator
from tests.fakes.pair_world import PairWorld
from tests.fakes.rollout_site import Life
from tests.fakes.site_program import store
from tests.lab.db_clients import DbClient
from tests.lab.nodes import wait_until
from tests.lab.postgres_pair import PostgresPair, postgres_pair

LONG = 120.0
_numbers = itertools.count()


class OneWriter(Replicator, Promotion, Protocol):
    """Both ports of one adapter."""


@dataclass(frozen=True)
class Write:
    """One that a client began, and that may wait."""

    content: str
    is_acknowledged: Callable[[], bool]


class World(Protocol):
    """The two servers, as clients and accidents see them."""

    def begin(self, through: str) -> Write: ...
    def has(self, cluster: str, content: str) -> bool: ...
    def lapse(self) -> None: ...
    def stop_standby(self, standby: str) -> None: ...
    def kill(self, cluster: str) -> None: ...
    def revive(self, cluster: str) -> None: ...
    def part(self, primary: str) -> None: ...
    def join(self, primary: str) -> None: ...


@dataclass(frozen=True)
class Rig:
    """One adapter, and what it moves."""

    pair: OneWriter
    world: World

    def sync(self, source: str, *, stalled_after_seconds: float = LONG) -> None:
        self.pair.sync_state(source, marker="run-7", stalled_after_seconds=stalled_after_seconds)

    def write(self, through: str) -> str:
        """Write through one cluster's door, and return what was acknowledged."""
        write = self.world.begin(through)
        wait_until("a write to be acknowledged", write.is_acknowledged)
        return write.content

    def move(self) -> tuple[str, str]:
        """Move the primary as a rollout does; return the old one and the new one."""
        old = self.pair.primary()
        self.pair.hold_writes(seconds=LONG)
        self.sync(old)
        self.pair.promote(OTHER[old])
        self.pair.release_writes()
        return old, OTHER[old]


class FakeWorld:
    """The fake's own memory, or that of the program over it."""

    def __init__(self, opened: Callable[[], FakeOneWriter], closed: Callable[[FakeOneWriter], None]) -> None:
        self._opened = opened
        self._closed = closed

    @contextmanager
    def fake(self) -> Iterator[FakeOneWriter]:
        fake = self._opened()
        yield fake
        self._closed(fake)

    def begin(self, through: str) -> Write:
        content = f"through {through} {next(_numbers)}"
        done: list[bool] = []

        def acknowledged() -> bool:
            with self.fake() as fake:
                if not done and not fake.is_held:
                    fake.write(content)
                    done.append(True)
            return bool(done)

        acknowledged()
        return Write(content, acknowledged)

    def has(self, cluster: str, content: str) -> bool:
        return content in self._opened().logs[cluster]

    def lapse(self) -> None:
        with self.fake() as fake:
            fake.now_seconds += 2

    def stop_standby(self, standby: str) -> None:
        self.kill(standby)

    def kill(self, cluster: str) -> None:
        with self.fake() as fake:
            fake.down.append(cluster)

    def revive(self, cluster: str) -> None:
        with self.fake() as fake:
            fake.down.remove(cluster)

    def part(self, primary: str) -> None:
        with self.fake() as fake:
            fake.parted = True

    def join(self, primary: str) -> None:
        with self.fake() as fake:
            fake.parted = False


class RealWorld:
    """Two servers of PostgreSQL, and clients through the pgbouncer of either."""

    def __init__(self, pair: PostgresPair, threads: ThreadPoolExecutor) -> None:
        self._pair = pair
        self._threads = threads

    def begin(self, through: str) -> Write:
        content = f"through {through} {next(_numbers)}"

        def write() -> None:
            with DbClient(self._pair.through(through), content) as client:
                client.write()

        task = self._threads.submit(write)

        def is_acknowledged() -> bool:
            if task.done() and (error := task.exception()) is not None:
                pytest.fail(f"a write failed, expected it to wait: {error}")
            return task.done()

        return Write(f"{content}-1", is_acknowledged)

    def has(self, cluster: str, content: str) -> bool:
        return self._pair.sql(cluster, f"SELECT count(*) FROM kept WHERE content = '{content}'") == ["1"]

    def lapse(self) -> None:
        time.sleep(2)

    def stop_standby(self, standby: str) -> None:
        self._pair.stop(standby)

    def kill(self, cluster: str) -> None:
        self._pair.kill(cluster)

    def revive(self, cluster: str) -> None:
        self._pair.start(cluster)

    def part(self, primary: str) -> None:
        self._pair.part(primary)

    def join(self, primary: str) -> None:
        self._pair.join(primary)


@pytest.fixture(scope="module", params=["fake", "pair", "command", pytest.param("postgresql", marks=pytest.mark.real)])
def module_rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    if request.param == "fake":
        fake = FakeOneWriter()
        yield Rig(fake, FakeWorld(lambda: fake, lambda _: None))
        return
    if request.param == "pair":
        # What rollouts in memory replicate with.
        world = PairWorld(writers="one")
        world.clients_write = False
        yield Rig(PairReplicator(world, Life()), FakeWorld(lambda: world.one, lambda _: None))
        return
    if request.param == "command":
        state = tmp_path_factory.mktemp("program") / "state.json"
        store(FakeOneWriter(), state)
        argv = [sys.executable, "-m", "tests.fakes.one_writer", str(state)]
        over_a_file = FakeWorld(lambda: load(state), lambda fake: store(fake, state))
        yield Rig(CommandPrimary(LocalTransport("site"), argv, writers="one"), over_a_file)
        return
    with postgres_pair(tmp_path_factory.mktemp("pair")) as pair, ThreadPoolExecutor() as threads:
        yield Rig(pair.replicator(), RealWorld(pair, threads))


@pytest.fixture
def rig(module_rig: Rig) -> Rig:
    module_rig.pair.start()
    return module_rig


@pytest.fixture
def primary(rig: Rig) -> str:
    return rig.pair.primary()


def nothing_pending(rig: Rig, source: str) -> bool:
    pending = rig.pair.pending(source)
    return pending is not None and not pending


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(RefusedError) as caught:
        action()
    assert caught.value.exit_status == 40
    return caught.value.reference


def test_one_writer_has_no_conflicts(rig: Rig) -> None:
    assert rig.pair.writers == "one"
    assert list(rig.pair.conflicts(marker="run-7")) == []


def test_sync_state_returns_when_all_before_it_is_on_the_standby(rig: Rig, primary: str) -> None:
    written = [rig.write(through) for through in OTHER]
    rig.sync(primary)
    assert [rig.world.has(OTHER[primary], content) for content in written] == [True, True]
    seen = rig.pair.observe(primary)
    assert (seen.received, seen.in_flight, seen.failed) == (seen.processed, 0, 0)
    assert nothing_pending(rig, primary)
    rig.sync(primary)


def test_standby_is_no_source(rig: Rig, primary: str) -> None:
    assert refused(lambda: rig.sync(OTHER[primary])) == "replication-failed"
    assert refused(lambda: rig.pair.observe(OTHER[primary])) == "replication-cannot-tell"
    assert nothing_pending(rig, OTHER[primary])


def test_standby_that_is_stopped_cannot_tell_and_start_goes_on_from_where_it_was(rig: Rig, primary: str) -> None:
    rig.world.stop_standby(OTHER[primary])
    content = rig.write(primary)
    assert refused(lambda: rig.pair.observe(primary)) == "replication-cannot-tell"
    assert refused(lambda: rig.sync(primary)) == "replication-cannot-tell"
    assert rig.pair.pending(primary) is None
    rig.pair.start()
    rig.sync(primary)
    assert rig.world.has(OTHER[primary], content)


def test_what_does_not_come_over_is_pending_and_stalls(rig: Rig, primary: str) -> None:
    rig.sync(primary)
    rig.world.part(primary)
    try:
        for _ in range(3):
            rig.write(primary)
        pending = rig.pair.pending(primary)
        told = refused(lambda: rig.sync(primary, stalled_after_seconds=0.2))
    finally:
        rig.world.join(primary)
    assert pending is not None and len(pending) == 3
    assert told == "replication-stalled"
    rig.pair.start()
    rig.sync(primary)
    assert nothing_pending(rig, primary)


def test_writes_wait_while_they_are_held_and_none_fails(rig: Rig) -> None:
    for _ in range(2):
        rig.pair.hold_writes(seconds=LONG)
    writes = [rig.world.begin(through) for through in OTHER]
    time.sleep(0.5)
    assert [write.is_acknowledged() for write in writes] == [False, False]
    for _ in range(2):
        rig.pair.release_writes()
    for write in writes:
        wait_until("the write to go on", write.is_acknowledged)


def test_hold_ends_by_itself_and_nothing_is_promoted_then(rig: Rig, primary: str) -> None:
    rig.pair.hold_writes(seconds=1.5)
    write = rig.world.begin(primary)
    rig.world.lapse()
    assert refused(lambda: rig.pair.promote(OTHER[primary])) == "write-hold-lapsed"
    wait_until("the write to go on", write.is_acknowledged)
    assert rig.pair.primary() == primary


def test_nothing_is_promoted_while_writes_go_on(rig: Rig, primary: str) -> None:
    assert refused(lambda: rig.pair.promote(OTHER[primary])) == "write-hold-lapsed"
    assert rig.pair.primary() == primary


def test_promotion_brings_every_acknowledged_write_along_and_back(rig: Rig) -> None:
    written = []
    for _ in range(2):
        written.append(rig.write("blue"))
        old, new = rig.move()
        assert rig.pair.primary() == new
        written.append(rig.write("green"))
        # The old one follows, and is as good as the new one was.
        rig.pair.start()
        rig.sync(new)
        assert [rig.world.has(old, content) for content in written] == [True] * len(written)


def test_promotion_may_be_repeated(rig: Rig, primary: str) -> None:
    rig.pair.promote(primary)
    assert rig.pair.primary() == primary


def test_standby_that_is_down_is_not_promoted(rig: Rig, primary: str) -> None:
    rig.pair.hold_writes(seconds=LONG)
    rig.world.stop_standby(OTHER[primary])
    assert refused(lambda: rig.pair.promote(OTHER[primary])) == "promotion-failed"
    rig.pair.release_writes()
    rig.write(primary)
    assert rig.pair.primary() == primary


def test_nobody_is_promoted_over_a_dead_primary_and_nothing_is_lost_when_it_is_back(rig: Rig, primary: str) -> None:
    rig.sync(primary)
    rig.world.part(primary)
    try:
        written = [rig.write(primary) for _ in range(2)]
        rig.world.kill(primary)
        pending = rig.pair.pending(primary)
    finally:
        rig.world.join(primary)
    assert pending is not None and len(pending) == 2
    assert refused(rig.pair.primary) == "replication-cannot-tell"
    assert refused(lambda: rig.pair.promote(OTHER[primary])) == "promotion-failed"
    assert refused(rig.pair.start) == "replication-failed"
    rig.world.revive(primary)
    rig.pair.start()
    rig.sync(primary)
    assert [rig.world.has(OTHER[primary], content) for content in written] == [True, True]
