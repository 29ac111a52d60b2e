"""What every ``Replicator`` must do: the fakes, a site's own program, and two SeaweedFS clusters, in one run.

The real one is blue and green in namespaces with ``filer.sync`` between them; its adapter is called from the site's
network. The tests share the clusters, use paths of their own and leave replication running.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.replicator.command import CommandReplicator
from teraferry.installer.adapters.transport.local import LocalTransport
from teraferry.installer.blue_green_ports import Replicator
from tests.fakes.pair_hands import PairReplicator
from tests.fakes.pair_world import PairWorld
from tests.fakes.replicator import FakeReplicator, load
from tests.fakes.rollout_site import Life
from tests.fakes.site_program import store
from tests.lab.nodes import Lab, wait_until
from tests.lab.weed import weed_binary
from tests.lab.weed_pair import ADDRESSES, WeedPair, replicator_from_site

MARKER = "run-7"
PATIENT = 60.0
_numbers = itertools.count()


class World(Protocol):
    """The two clusters, as clients and accidents see them."""

    def put(self, cluster: str, path: str, content: str) -> None: ...
    def get(self, cluster: str, path: str) -> str | None: ...
    def kill(self, cluster: str) -> None: ...
    def revive(self, cluster: str) -> None: ...
    def stop(self) -> None: ...
    def part(self) -> None: ...
    def join(self) -> None: ...
    def kept(self, path: str) -> set[str]: ...
    def resolve(self, path: str, content: str) -> None: ...


@dataclass(frozen=True)
class Rig:
    """One replicator under test, and what it replicates."""

    replicator: Replicator
    world: World

    def sync(self, source: str) -> None:
        self.replicator.sync_state(source, marker=MARKER, stalled_after_seconds=PATIENT)

    def path(self) -> str:
        return f"/data/some folder/{next(_numbers)}"


class FakeWorld:
    """The fake's own memory, or that of the program over it."""

    def __init__(self, opened: Callable[[], FakeReplicator], closed: Callable[[FakeReplicator], None]) -> None:
        self._opened = opened
        self._closed = closed

    @contextmanager
    def fake(self) -> Iterator[FakeReplicator]:
        fake = self._opened()
        yield fake
        self._closed(fake)

    def put(self, cluster: str, path: str, content: str) -> None:
        with self.fake() as fake:
            fake.put(cluster, path, content)

    def get(self, cluster: str, path: str) -> str | None:
        return self._opened().files[cluster].get(path)

    def kill(self, cluster: str) -> None:
        with self.fake() as fake:
            fake.kill(cluster)

    def revive(self, cluster: str) -> None:
        with self.fake() as fake:
            fake.revive(cluster)

    def stop(self) -> None:
        with self.fake() as fake:
            fake.running = False

    def part(self) -> None:
        with self.fake() as fake:
            fake.parted = True

    def join(self) -> None:
        with self.fake() as fake:
            fake.parted = False
            fake.deliver()

    def kept(self, path: str) -> set[str]:
        return set(self._opened().kept.get(path, ()))

    def resolve(self, path: str, content: str) -> None:
        with self.fake() as fake:
            del fake.kept[path]
            fake.put("blue", path, content)


@dataclass
class RealWorld:
    """Two clusters in namespaces."""

    pair: WeedPair
    kept_folder: str = field(default="/data/.teraferry/kept")

    def put(self, cluster: str, path: str, content: str) -> None:
        assert self.pair.put(cluster, path, content.encode()) == 201

    def get(self, cluster: str, path: str) -> str | None:
        content = self.pair.get(cluster, path)
        return None if content is None else content.decode()

    def kill(self, cluster: str) -> None:
        self.pair.kill(cluster)

    def revive(self, cluster: str) -> None:
        self.pair.clusters[cluster].start()
        self.pair.wait_for(cluster)

    def stop(self) -> None:
        self.pair.sync.stop()

    def part(self) -> None:
        self.pair.lab.node("blue").run("ip", "route", "add", "blackhole", f"{ADDRESSES['green']}/32")

    def join(self) -> None:
        self.pair.lab.node("blue").run("ip", "route", "del", "blackhole", f"{ADDRESSES['green']}/32")

    def kept(self, path: str) -> set[str]:
        folder = self.kept_folder + path.removeprefix("/data")
        contents = (self.pair.get("blue", f"{folder}/{name}") for name in self.pair.names("blue", folder))
        return {content.decode() for content in contents if content is not None}

    def resolve(self, path: str, content: str) -> None:
        self.put("blue", path, content)
        self.pair.delete("blue", self.kept_folder + path.removeprefix("/data"))


def _fake() -> Rig:
    fake = FakeReplicator()
    return Rig(fake, FakeWorld(lambda: fake, lambda _: None))


def _pair() -> Rig:
    """What rollouts in memory replicate with."""
    world = PairWorld()
    world.clients_write = False
    return Rig(PairReplicator(world, Life()), FakeWorld(lambda: world.two, lambda _: None))


def _command(folder: Path) -> Rig:
    state = folder / "state.json"
    store(FakeReplicator(), state)
    argv = [sys.executable, "-m", "tests.fakes.replicator", str(state)]
    world = FakeWorld(lambda: load(state), lambda fake: store(fake, state))
    return Rig(CommandReplicator(LocalTransport("site"), argv, writers="two"), world)


@pytest.fixture(scope="module", params=["fake", "pair", "command", pytest.param("real", marks=pytest.mark.real)])
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("replicator")
    if request.param == "fake":
        yield _fake()
    elif request.param == "pair":
        yield _pair()
    elif request.param == "command":
        yield _command(folder)
    else:
        with Lab(folder / "lab", ADDRESSES) as lab:
            pair = WeedPair(lab, program=weed_binary("4.48"))
            pair.start()
            yield Rig(replicator_from_site(pair), RealWorld(pair))


@pytest.fixture(autouse=True)
def running(rig: Rig) -> None:
    rig.replicator.start()


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(RefusedError) as caught:
        call()
    assert caught.value.exit_status == 40
    return caught.value.reference


def not_pending(rig: Rig, source: str) -> bool:
    pending = rig.replicator.pending(source)
    return pending is not None and not pending


def test_replication_that_does_not_run_cannot_tell(rig: Rig) -> None:
    rig.world.stop()

    assert refusal(lambda: rig.replicator.observe("blue")) == "replication-cannot-tell"
    assert refusal(lambda: rig.sync("blue")) == "replication-cannot-tell"


def test_start_again_changes_nothing(rig: Rig) -> None:
    wait_until("nothing under way", lambda: rig.replicator.observe("blue").in_flight == 0)
    before = rig.replicator.observe("blue")

    rig.replicator.start()

    assert rig.replicator.observe("blue") == before


@pytest.mark.parametrize("source", ["blue", "green"])
def test_sync_state_returns_when_all_before_it_is_on_the_other(rig: Rig, source: str) -> None:
    other = {"blue": "green", "green": "blue"}[source]
    path = rig.path()
    rig.world.put(source, path, "written")

    rig.sync(source)

    assert rig.world.get(other, path) == "written"
    seen = rig.replicator.observe(source)
    assert (seen.received, seen.in_flight, seen.failed) == (seen.processed, 0, 0)
    assert not_pending(rig, source)


def test_sync_state_may_be_asked_again_with_the_same_marker(rig: Rig) -> None:
    rig.sync("blue")
    path = rig.path()
    rig.world.put("blue", path, "later")

    rig.sync("blue")

    assert rig.world.get("green", path) == "later"


def test_clusters_that_do_not_reach_each_other_stall_and_nothing_pending_is_told(rig: Rig) -> None:
    rig.world.part()
    try:
        told = refusal(lambda: rig.replicator.sync_state("blue", marker=MARKER, stalled_after_seconds=0.5))
        pending = rig.replicator.pending("blue")
    finally:
        rig.world.join()

    assert told == "replication-stalled"
    assert pending is None
    rig.sync("blue")


def test_pending_names_what_the_other_lacks_and_start_goes_on_from_there(rig: Rig) -> None:
    rig.sync("blue")
    rig.world.stop()
    paths = [rig.path(), rig.path()]
    for path in paths:
        rig.world.put("green", path, "waits")

    assert sorted(rig.replicator.pending("green") or ()) == sorted(paths)
    assert not_pending(rig, "blue")
    rig.replicator.start()
    rig.sync("green")

    assert [rig.world.get("blue", path) for path in paths] == ["waits", "waits"]
    assert not_pending(rig, "green")


def test_what_a_killed_cluster_acknowledged_is_pending_until_it_is_back_and_merged(rig: Rig) -> None:
    old, new = rig.path(), rig.path()
    rig.world.put("green", old, "old")
    rig.sync("green")
    rig.world.stop()
    rig.world.put("green", old, "newer")
    rig.world.put("green", new, "new")

    rig.world.kill("green")
    dead = rig.replicator.pending("green")
    conflicts = refusal(lambda: rig.replicator.conflicts(marker=MARKER))
    rig.world.revive("green")
    back = rig.replicator.pending("green")
    rig.replicator.start()
    rig.sync("green")

    assert dead is None
    assert conflicts == "replication-cannot-tell"
    assert sorted(back or ()) == sorted([old, new])
    assert (rig.world.get("blue", old), rig.world.get("blue", new)) == ("newer", "new")
    assert not_pending(rig, "green")


def test_path_written_on_both_is_a_conflict_with_both_versions_kept_until_a_person_took_one(rig: Rig) -> None:
    rig.sync("blue")
    path = rig.path()
    rig.world.stop()
    rig.world.put("blue", path, "of blue")
    rig.world.put("green", path, "of green")
    rig.replicator.start()

    (named,) = rig.replicator.conflicts(marker=MARKER)

    assert path in named
    assert rig.world.kept(path) == {"of blue", "of green"}
    assert list(rig.replicator.conflicts(marker=MARKER)) == [named]
    rig.world.resolve(path, "taken")
    rig.sync("blue")
    assert list(rig.replicator.conflicts(marker=MARKER)) == []
    assert rig.world.get("green", path) == "taken"


def test_path_written_on_one_after_it_saw_the_others_is_no_conflict(rig: Rig) -> None:
    rig.sync("blue")
    path = rig.path()
    rig.world.put("blue", path, "of blue")
    rig.sync("blue")
    rig.world.put("green", path, "of green")
    rig.sync("green")

    assert list(rig.replicator.conflicts(marker=MARKER)) == []
    assert rig.world.get("blue", path) == "of green"
