"""``[[deploy]]``: what each workload needs, nothing of another's; and what a plan makes of an image."""

from __future__ import annotations

import pytest

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import RefusedError, UsageError
from teraferry.bundles.manifest import Image, ImagePlatform, Manifest, Release
from teraferry.installer.adapters.transport.local import LocalTransport
from teraferry.installer.adapters.workload.command import CommandWorkload
from teraferry.installer.adapters.workload.container import ContainerWorkload
from teraferry.installer.adapters.workload.swarm import SwarmWorkload
from teraferry.installer.cli_workloads import make_workloads
from teraferry.installer.rollout.plan import plan_rolling
from teraferry.installer.site.load import parse_site
from teraferry.installer.site.model import Site
from tests.fakes.site_toml import SITE

BINARY = SITE[SITE.index("[[deploy]]") :]
CONTAINER = """
[[deploy]]
image = "terachat/api"
role = "volume"
workload = "container"
path = "/etc/terachat/api.env"
container = "terachat-api"
unit = "terachat-api"
"""
COMMAND = """
[[deploy]]
image = "terachat/web"
role = "volume"
workload = "command"
path = "/etc/terachat/web"
command = ["/usr/local/bin/web"]
"""
SWARM = """
[[deploy]]
image = "terachat/api"
role = "{role}"
workload = "swarm"
service = "api"
"""
IMAGES = tuple(
    Image(
        name=name,
        digest=digest_of(f"index of {name}".encode()),
        media_type="application/vnd.oci.image.index.v1+json",
        platforms=(
            ImagePlatform(
                platform="linux/amd64",
                manifest=digest_of(f"manifest of {name}".encode()),
                config=digest_of(f"config of {name}".encode()),
                layers=(),
            ),
        ),
    )
    for name in ("terachat/api", "terachat/web")
)
RELEASE = Manifest(format=1, release=Release(product="terachat", version="1.0.0"), images=IMAGES)


def site(deploys: str) -> Site:
    return parse_site(SITE.replace(BINARY, deploys).encode(), name="site.toml")


def test_image_of_a_release_is_planned_with_every_name_that_its_content_may_have() -> None:
    plan = plan_rolling(RELEASE, site(CONTAINER))

    (target,) = plan.targets
    parts = [f"{part} of terachat/api".encode() for part in ("index", "manifest", "config")]
    assert target.digest == digest_of(parts[0])
    assert target.image_ids == {digest_of(part) for part in parts}
    assert (plan.upload_bytes, plan.steps[0].action) == (0, "stage_file")
    assert "pull terachat/api by its digest from the local registry" in plan.steps[0].text


def test_every_workload_gets_its_own_adapter() -> None:
    here = site(CONTAINER + COMMAND + SWARM.format(role="volume"))
    plan = plan_rolling(RELEASE, here)

    made = make_workloads(here, plan, lambda node: LocalTransport(node.name))

    assert {path: type(workload) for (_, path), workload in made.items()} == {
        "/etc/terachat/api.env": ContainerWorkload,
        "/etc/terachat/web": CommandWorkload,
        "service api": SwarmWorkload,
    }


def test_image_that_the_release_does_not_hold_is_refused_by_name() -> None:
    with pytest.raises(RefusedError) as caught:
        plan_rolling(RELEASE, site(CONTAINER.replace("terachat/api", "terachat/old")))

    assert (caught.value.reference, caught.value.facts["file"]) == ("plan-file-missing", "terachat/old")


def test_service_of_a_swarm_has_one_manager() -> None:
    second = """
[[node]]
name = "vol-2"
role = "volume"
address = "10.0.0.12:8080"
transport = { command = ["nsenter", "--net=/run/netns/vol-2"] }
"""
    with pytest.raises(UsageError) as caught:
        site(second + SWARM.format(role="volume"))
    assert caught.value.reference == "site-bad-value"


@pytest.mark.parametrize(
    "deploys",
    [
        CONTAINER.replace('image = "terachat/api"', 'file = "bin/weed"'),
        CONTAINER.replace('container = "terachat-api"\n', ""),
        CONTAINER.replace('path = "/etc/terachat/api.env"\n', ""),
        CONTAINER.replace('unit = "terachat-api"\n', ""),
        CONTAINER.replace('"terachat-api"\nunit', '"-api"\nunit'),
        CONTAINER + 'variable = "A B"\n',
        CONTAINER + 'docker = "bin/docker"\n',
        CONTAINER + 'command = ["/bin/true"]\n',
        CONTAINER + CONTAINER.replace("api.env", "other.env"),
        COMMAND.replace('command = ["/usr/local/bin/web"]\n', ""),
        COMMAND + 'unit = "web"\n',
        COMMAND + 'container = "web"\n',
        SWARM.format(role="volume") + 'path = "/etc/api"\n',
        SWARM.format(role="volume") + 'unit = "api"\n',
        SWARM.format(role="volume").replace('service = "api"\n', ""),
        SWARM.format(role="volume") + SWARM.format(role="volume"),
        BINARY + 'service = "weed"\n',
        BINARY + 'container = "weed"\n',
        BINARY.replace('file = "bin/weed"', 'image = "terachat/api"'),
    ],
)
def test_deploy_without_sense_is_refused(deploys: str) -> None:
    with pytest.raises(UsageError) as caught:
        site(deploys)
    assert caught.value.reference in ("site-bad-value", "site-missing-field")
