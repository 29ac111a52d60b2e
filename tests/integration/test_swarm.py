"""A service of a real Docker swarm is brought to the signed digest by the swarm, and taken back by it when it fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.transport.command import CommandTransport
from teraferry.installer.adapters.workload.swarm import SwarmWorkload
from teraferry.installer.cli_workloads import make_workloads
from teraferry.installer.ports import Workload
from teraferry.installer.rollout.plan import plan_rolling
from tests.lab.docker_node import DockerNode, LabImage, release_of, site_of_docker
from tests.lab.nodes import wait_until

DEPLOY = """
[[deploy]]
image = "terachat/api"
role = "app"
workload = "swarm"
service = "{service}"
docker = "/usr/bin/docker"
"""


class Swarm:
    """One node that is a swarm of its own, with a service on the old image."""

    def __init__(self, at: DockerNode) -> None:
        self.at = at
        self.old, self.new, self.broken = at.push("old"), at.push("new"), at.push("broken", program="bin/nothing")
        at.docker("swarm", "init", "--advertise-addr", at.node.address, "--listen-addr", f"{at.node.address}:2377")
        at.docker(
            "--config",
            at.login(),
            "service",
            "create",
            "--name",
            "api",
            *_OPTIONS,
            f"{at.repository}:old",
            "sleep",
            "600",
        )
        wait_until("the service", lambda: self.workload().running() == {self.old.digest})

    def workload(self, image: LabImage | None = None, *, service: str = "api") -> Workload:
        site = site_of_docker(self.at, DEPLOY.format(service=service))
        plan = plan_rolling(release_of(image or self.new), site)
        (workload,) = make_workloads(
            site, plan, lambda node: CommandTransport(node.name, node.transport.command or ())
        ).values()
        assert isinstance(workload, SwarmWorkload)
        return workload


_OPTIONS = (
    *("--replicas", "2", "--network", "host", "--with-registry-auth", "--detach", "--stop-signal", "KILL"),
    *("--update-delay", "0s", "--update-monitor", "500ms", "--rollback-monitor", "500ms", "--update-parallelism", "2"),
    *("--update-failure-action", "rollback"),
)


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    with DockerNode(tmp_path_factory.mktemp("docker")) as node:
        yield Swarm(node)


def test_service_is_brought_to_the_signed_digest(swarm: Swarm) -> None:
    workload = swarm.workload()
    assert workload.selected() == swarm.old.digest
    assert not workload.staged(swarm.new.digest)

    workload.stage([], swarm.new.digest, mode=0)
    workload.stop()
    workload.select(swarm.new.digest)
    workload.start()
    assert workload.selected() == swarm.new.digest
    assert workload.running() == {swarm.new.digest}
    assert swarm.at.node.sh("ls -d /run/teraferry.* 2>/dev/null; :") == ""


def test_update_that_the_swarm_takes_back_is_refused_though_docker_says_0(swarm: Swarm) -> None:
    workload = swarm.workload(swarm.broken)
    before = workload.selected()
    workload.stage([], swarm.broken.digest, mode=0)

    with pytest.raises(RefusedError) as caught:
        workload.select(swarm.broken.digest)

    assert (caught.value.exit_status, caught.value.reference) == (40, "swarm-rolled-back")
    assert workload.selected() == before
    wait_until("the old version to run", lambda: workload.running() == {before})


def test_image_that_is_not_what_was_signed_never_reaches_the_service(swarm: Swarm) -> None:
    workload = swarm.workload(LabImage(swarm.new.digest, digest_of(b"something else")))
    before = workload.selected()

    with pytest.raises(RefusedError) as caught:
        workload.select(swarm.new.digest)

    assert caught.value.reference == "not-staged"
    assert workload.selected() == before


def test_service_that_is_not_there_is_refused_and_not_made(swarm: Swarm) -> None:
    looks = swarm.workload(service="ap"), swarm.workload(service="api-2")

    for workload in looks:
        with pytest.raises(RefusedError) as caught:
            workload.selected()
        assert caught.value.reference == "swarm-service"


def test_service_of_another_image_is_refused(swarm: Swarm) -> None:
    image: Digest = swarm.at.docker("image", "ls", "--no-trunc", "--quiet", "--filter", "reference=*/*/api").split()[0]
    swarm.at.docker("tag", image, "127.0.0.1:9/other:1")
    swarm.at.docker(
        "service", "create", "--name", "other", *_OPTIONS, "--no-resolve-image", "127.0.0.1:9/other:1", "sleep"
    )

    with pytest.raises(RefusedError) as caught:
        swarm.workload(service="other").selected()
    assert caught.value.reference == "swarm-service"


def test_task_that_shall_run_and_does_not_is_no_running_service(swarm: Swarm) -> None:
    workload = swarm.workload()
    swarm.at.docker("service", "update", "--detach", "--args", "/bin/nothing", "api")

    wait_until("a task that cannot start", lambda: workload.running() == frozenset())
