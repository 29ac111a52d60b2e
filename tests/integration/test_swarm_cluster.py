"""A node of a real swarm is emptied only when its tasks, and what they wrote, can be elsewhere; else it goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.ports import Cluster
from teraferry.installer.rollout.gates import judge_health
from tests.lab.docker_swarm import WORKERS, SwarmLab
from tests.lab.nodes import wait_until

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwarmLab]:
    with SwarmLab(tmp_path_factory.mktemp("swarm")) as swarm:
        wait_until_full(swarm, swarm.cluster())
        yield swarm


def wait_until_full(swarm: SwarmLab, cluster: Cluster) -> None:
    nodes = frozenset(map(swarm.address, WORKERS))
    wait_until("every task to run", lambda: judge_health(cluster.observe(), nodes).is_full)


def test_tasks_that_can_run_nowhere_else_leave_their_node_as_it_was(swarm: SwarmLab) -> None:
    cluster = swarm.cluster(stalled_after_seconds=5)
    swarm.tied_service("tied")
    wait_until_full(swarm, cluster)

    with pytest.raises(RefusedError) as caught:
        cluster.drain(swarm.address("w-1"))

    assert caught.value.reference == "drain-stalled"
    assert "service tied: 0 of 1 tasks run" in caught.value.message
    wait_until_full(swarm, cluster)
    swarm.docker("service", "rm", "tied")


def test_node_with_data_that_would_stay_behind_is_not_emptied_and_plan_says_so(swarm: SwarmLab) -> None:
    cluster = swarm.cluster()
    swarm.tied_service("store", "--mount", "type=volume,source=data,target=/data")
    wait_until("its task", lambda: "service store: found" not in str(cluster.observe()))

    with pytest.raises(RefusedError) as caught:
        cluster.drain(swarm.address("w-1"))

    assert caught.value.reference == "cluster-refused"
    assert "store keeps volume data" in caught.value.message
    seen = cluster.observe()
    assert swarm.address("w-1") in seen.nodes
    assert [said.condition for said in seen.said if not said.passes] == ["service store keeps no data on its node"]
    swarm.docker("service", "rm", "store")
