"""A release of containers on a site that runs Docker: each node is emptied, changed and back, then a service too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.rollout.execute import DONE
from tests.lab.nodes import wait_until
from tests.lab.secops import Secops
from tests.lab.swarm_site import SERVICE, SwarmSite

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def site(secops: Secops, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwarmSite]:
    with SwarmSite(tmp_path_factory.mktemp("swarm-site"), workers=("w-1", "w-2")) as site:
        answer = site.type("trust", "pin", str(secops.root), "--fingerprint", secops.fingerprint)
        assert answer.status == 0, answer.stderr
        yield site


def sees_100_percent(site: SwarmSite, kit: str) -> bool:
    planned = site.type("plan", kit)
    return planned.status == 0 and str(planned.result["gates"]["cluster"]).startswith("100 %")


def test_image_comes_from_the_kit_by_the_local_registry_to_every_node_and_the_swarm(
    site: SwarmSite, secops: Secops
) -> None:
    kit = site.kit(secops, "1.0.0")
    before = site.agents()
    assert len(set(before.values())) == 1

    wait_until("the swarm to be whole", lambda: sees_100_percent(site, str(kit)))
    site.type("install", str(kit), "--yes", "--foreground", kill_at="drain w-2")
    done = site.type("install", str(kit), "--yes")

    assert (done.status, done.result.get("resumed")) == (0, True), (done.result, done.stderr)
    (digest,) = set(site.agents().values())
    assert digest not in before.values()
    assert site.docker(
        "service", "inspect", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}", SERVICE
    ).endswith(f"@{digest}")
    # Each node takes tasks again, and what ran there was elsewhere meanwhile.
    assert site.docker("node", "ls", "--format", "{{.Availability}}").split() == ["Drain", "Active", "Active"]
    entries = FileJournal(site.state / "journal.jsonl").replay()
    steps = [entry.step for entry in entries if entry.event == DONE]
    assert {f"drain_node {name}" for name in site.workers} <= set(steps)
    assert len(steps) == len(set(steps))
    wait_until("the doctor to be content", lambda: site.type("doctor").status == 0)
