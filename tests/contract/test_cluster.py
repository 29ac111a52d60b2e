"""What every ``Cluster`` must do: the fake and the real adapters, in one run.

The real ones are six volume servers in namespaces, with erasure-coded data, whose adapter is called from the site's
network; and a Docker swarm of three workers. The tests share one cluster of each and leave it whole.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.ports import Cluster, ClusterObservation
from teraferry.installer.rollout.gates import judge_health
from tests.fakes.cluster import FakeCluster
from tests.fakes.rollout_site import FILER as FILER_IN_MEMORY
from tests.fakes.rollout_site import VOLUME_NODES as VOLUMES_IN_MEMORY
from tests.fakes.rollout_site import Life, SiteCluster, World, address_of
from tests.lab.clients import load_objects
from tests.lab.docker_swarm import WORKERS, SwarmLab
from tests.lab.nodes import Lab, wait_until
from tests.lab.rollable import cluster_from_site
from tests.lab.told_cluster import FILER, NODES, cluster_of, start_cluster
from tests.lab.weed import ADDRESSES, VOLUME_NODES, WeedCluster, weed_binary

ALL_SHARDS = frozenset(range(14))


@dataclass(frozen=True)
class Rig:
    """One cluster under test."""

    cluster: Cluster
    watcher: Cluster  # another view of the same cluster, for use beside ``cluster``
    unreachable: Cluster
    nodes: tuple[str, ...]
    stop: Callable[[str], None]
    start: Callable[[str], None]
    filer: str
    moves_home: bool = True  # storage that is short of something while a node is away; a swarm runs it elsewhere


def _fake() -> Rig:
    nodes = tuple(f"10.0.0.{number}:8080" for number in range(1, 7))
    fake = FakeCluster(nodes, filers=frozenset({"10.0.0.9:8888"}))
    down = FakeCluster(nodes)
    down.reachable = False
    return Rig(fake, fake, down, nodes, fake.stop_node, fake.start_node, "10.0.0.9:8888")


def _killable() -> Rig:
    """What rollouts in memory have for a cluster: it can be killed in the midst of a drain."""
    world, away = World(), World()
    away.reachable = False
    nodes = {address_of(node): node for node in VOLUMES_IN_MEMORY}
    # The contract has no lock; whether a rollout holds one is told by the tests of rollouts.
    world.locked = True
    return Rig(
        cluster=SiteCluster(world, Life()),
        watcher=SiteCluster(world, Life()),
        unreachable=SiteCluster(away, Life()),
        nodes=tuple(nodes),
        stop=lambda address: world.stop(nodes[address]),
        start=lambda address: world.start(nodes[address]),
        filer=address_of(FILER_IN_MEMORY),
    )


def _real(lab: Lab, folder: Path) -> Rig:
    weed = WeedCluster(lab, program=weed_binary("4.47"))
    weed.start()
    load_objects(weed, folder / "objects.json")
    names = {weed.volume_address(name): name for name in VOLUME_NODES}
    return Rig(
        cluster=cluster_from_site(weed),
        watcher=cluster_from_site(weed),
        unreachable=cluster_from_site(weed, masters=(f"{ADDRESSES['site']}:9333",)),
        nodes=tuple(names),
        stop=lambda address: weed.volumes[names[address]].stop(),
        start=lambda address: weed.volumes[names[address]].start(),
        filer=weed.filer_address,
    )


def _swarm(lab: SwarmLab) -> Rig:
    names = {lab.address(name): name for name in WORKERS}
    cluster = lab.cluster()
    wait_until("every task to run", lambda: judge_health(cluster.observe(), frozenset(names)).is_full)
    return Rig(
        cluster=cluster,
        watcher=lab.cluster(),
        unreachable=lab.cluster(manager="w-1"),
        nodes=tuple(names),
        stop=lambda address: lab.stop(names[address]),
        start=lambda address: lab.start(names[address]),
        filer=lab.address("manager"),
        moves_home=False,
    )


def _asked(engine: str) -> Iterator[Rig]:
    told, server = start_cluster()
    with server:
        yield Rig(
            cluster=cluster_of(server.url, engine=engine),
            watcher=cluster_of(server.url, engine=engine),
            unreachable=cluster_of("http://127.0.0.1:9", engine=engine),
            nodes=tuple(NODES.values()),
            stop=told.inner.stop_node,
            start=told.inner.start_node,
            filer=FILER,
        )


TELLS_SHARDS = pytest.mark.parametrize(
    "rig", ["fake", "killable", pytest.param("real", marks=pytest.mark.real)], indirect=True, scope="module"
)
"""Of clusters that say which shard is where; one that is asked in the site's own words does not."""


@pytest.fixture(
    scope="module",
    params=[
        *("fake", "killable"),
        *("http", "command"),
        pytest.param("real", marks=pytest.mark.real),
        pytest.param("swarm", marks=pytest.mark.real),
    ],
)
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    if request.param == "fake":
        yield _fake()
        return
    if request.param == "killable":
        yield _killable()
        return
    if request.param in ("http", "command"):
        yield from _asked(request.param)
        return
    folder = tmp_path_factory.mktemp("cluster")
    if request.param == "swarm":
        with SwarmLab(folder) as swarm:
            yield _swarm(swarm)
        return
    with Lab(folder / "lab", ADDRESSES) as lab:
        yield _real(lab, folder)


def is_whole(rig: Rig) -> bool:
    return judge_health(rig.cluster.observe(), frozenset(rig.nodes)).is_full


def is_in(rig: Rig, node: str) -> bool:
    """Tell whether a node is in that was started, as whoever waits for it does: told to the cluster time and again."""
    rig.cluster.rejoin(node)
    return node in rig.cluster.observe().nodes


def missing(observation: ClusterObservation) -> int:
    return sum(len(ALL_SHARDS - frozenset().union(*group.holders.values())) for group in observation.stripe_groups)


def holds_nothing(observation: ClusterObservation, node: str) -> bool:
    if node in observation.holding:
        return False
    return all(node not in group.holders for group in observation.stripe_groups) and all(
        node not in volume.holders for volume in observation.volumes
    )


def bring_back(rig: Rig, node: str) -> None:
    rig.stop(node)
    rig.start(node)
    wait_until(f"{node} back", lambda: is_in(rig, node))
    rig.cluster.rebalance()
    wait_until("a whole cluster", lambda: is_whole(rig))


class MissingShards:
    """Counts samples of the cluster in which a shard is missing, while other things happen."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.samples = 0
        self.with_missing = 0

    def __enter__(self) -> MissingShards:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.is_set():
            self.with_missing += missing(self._cluster.observe()) > 0
            self.samples += 1
            self._over.wait(0.1)


def test_observe_names_every_node(rig: Rig) -> None:
    assert rig.cluster.observe().nodes == frozenset(rig.nodes)
    assert rig.cluster.observe().unknown == frozenset()


@TELLS_SHARDS
def test_observe_names_every_shard_once(rig: Rig) -> None:
    observation = rig.cluster.observe()
    assert observation.stripe_groups
    for group in observation.stripe_groups:
        assert (group.data_shards, group.parity_shards) == (10, 4)
        assert sorted(shard for held in group.holders.values() for shard in held) == sorted(ALL_SHARDS)


def test_observe_refuses_when_no_master_answers(rig: Rig) -> None:
    with pytest.raises(RefusedError) as caught:
        rig.unreachable.observe()
    assert (caught.value.reference, caught.value.exit_status) == ("cluster-unreachable", 40)


def test_observe_sees_a_stopped_node_and_what_is_missing_with_it(rig: Rig) -> None:
    rig.stop(rig.nodes[2])
    wait_until("the loss to show", lambda: rig.nodes[2] not in rig.cluster.observe().nodes)
    seen = rig.cluster.observe()
    assert missing(seen) > 0 or [said.passes for said in seen.said] == [False, False] or not rig.moves_home
    assert not judge_health(seen, frozenset(rig.nodes)).is_full
    bring_back(rig, rig.nodes[2])


def test_drain_empties_the_node_and_no_shard_is_ever_missing(rig: Rig) -> None:
    node = rig.nodes[0]
    assert not holds_nothing(rig.cluster.observe(), node)
    with MissingShards(rig.watcher) as watched:
        rig.cluster.drain(node)
        assert holds_nothing(rig.cluster.observe(), node)
        rig.cluster.drain(node)
        assert holds_nothing(rig.cluster.observe(), node)
        rig.cluster.leave(node)
        bring_back(rig, node)
    assert watched.samples > 0
    assert watched.with_missing == 0


@TELLS_SHARDS
def test_drain_leaves_no_other_node_with_more_shards_of_a_group_than_parity(rig: Rig) -> None:
    node = rig.nodes[3]
    rig.cluster.drain(node)
    most = max(len(held) for group in rig.cluster.observe().stripe_groups for held in group.holders.values())
    bring_back(rig, node)
    assert most <= 4


def test_leave_takes_the_node_out_and_may_be_repeated(rig: Rig) -> None:
    node = rig.nodes[1]
    rig.cluster.drain(node)
    rig.cluster.leave(node)
    rig.cluster.leave(node)
    assert node not in rig.cluster.observe().nodes
    bring_back(rig, node)


def test_rejoin_of_a_node_that_is_in_changes_nothing(rig: Rig) -> None:
    before = rig.cluster.observe()
    rig.cluster.rejoin(rig.nodes[0])
    assert rig.cluster.observe() == before


def test_rebalance_of_a_whole_cluster_changes_nothing(rig: Rig) -> None:
    before = rig.cluster.observe()
    rig.cluster.rebalance()
    assert (rig.cluster.observe().stripe_groups, rig.cluster.observe().said) == (before.stripe_groups, before.said)


def test_rebalance_by_a_process_that_did_not_drain_brings_the_shards_home(rig: Rig) -> None:
    node, before = rig.nodes[-2], rig.cluster.observe().stripe_groups
    rig.cluster.drain(node)
    rig.stop(node)
    rig.start(node)
    wait_until(f"{node} back", lambda: is_in(rig, node))

    rig.watcher.rebalance(home=node)

    wait_until("a whole cluster", lambda: is_whole(rig))
    assert rig.cluster.observe().stripe_groups == before


def test_serves_tells_a_filer_that_answers_from_an_address_where_nothing_listens(rig: Rig) -> None:
    assert rig.cluster.serves(rig.filer)
    assert not rig.cluster.serves(rig.filer.rpartition(":")[0] + ":8889")
