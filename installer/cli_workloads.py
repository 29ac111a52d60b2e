"""Wires what nodes run: each ``[[deploy]]`` of a plan with the adapter of its workload."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from teraferry.bundles.digest import Digest
    from teraferry.installer.adapters.workload.docker_images import DockerImages
    from teraferry.installer.adapters.workload.pulled_file import FilePull, PullSource
    from teraferry.installer.ports import NodeTransport, Workload
    from teraferry.installer.rollout.plan import Plan, Target
    from teraferry.installer.site.model import Deploy, Node, Site


def make_workloads(
    site: Site, plan: Plan, make_transport: Callable[[Node], NodeTransport], *, pulls: PullSource | None = None
) -> dict[tuple[str, str], Workload]:
    """Return (node, path) -> workload for every target of ``plan``; without ``pulls`` every file is sent from here."""
    nodes = {node.name: node for node in site.nodes}
    deploys = {(str(deploy.role), deploy.place): deploy for deploy in site.deploys}
    return {
        (target.node, target.path): _make(
            site, target, deploys[target.role, target.path], make_transport(nodes[target.node]), pulls=pulls
        )
        for target in plan.targets
    }


def docker_of(deploy: Deploy) -> str:
    """Return the docker program on the nodes of a container."""
    return deploy.docker or "docker"


def _make(
    site: Site, target: Target, deploy: Deploy, transport: NodeTransport, *, pulls: PullSource | None
) -> Workload:
    if deploy.workload == "container":
        return _container(site, target, deploy, transport)
    if deploy.workload == "swarm":
        from teraferry.installer.adapters.workload.swarm import SwarmWorkload

        return SwarmWorkload(deploy.service or "", _images(site, target, deploy, transport))
    if deploy.workload == "command":
        from teraferry.installer.adapters.workload.command import CommandWorkload

        repository = _repository(site, deploy)
        place = partial(_reference, repository) if deploy.image is not None else None
        pull = _pull_of(target, transport, pulls)
        return CommandWorkload(transport, target.path, deploy.command or (), image_place=place, pull=pull)
    from teraferry.installer.adapters.workload.binary import BinaryWorkload

    pull = _pull_of(target, transport, pulls)
    return BinaryWorkload(transport, target.path, start=deploy.start_argv, stop=deploy.stop_argv, pull=pull)


def _pull_of(target: Target, transport: NodeTransport, pulls: PullSource | None) -> FilePull | None:
    from teraferry.installer.adapters.workload.pulled_file import FilePull

    if pulls is None or not target.is_pulled:
        return None
    return FilePull(target.node, transport, pulls, target.length_bytes)


def _container(site: Site, target: Target, deploy: Deploy, transport: NodeTransport) -> Workload:
    from teraferry.installer.adapters.workload.container import ContainerPlace, ContainerWorkload
    from teraferry.installer.adapters.workload.service import Service

    place = ContainerPlace(target.path, deploy.container or "", variable=deploy.variable or "IMAGE")
    service = Service(transport, target.path, start=deploy.start_argv, stop=deploy.stop_argv)
    return ContainerWorkload(transport, place, images=_images(site, target, deploy, transport), service=service)


def _images(site: Site, target: Target, deploy: Deploy, transport: NodeTransport) -> DockerImages:
    from teraferry.installer.adapters.workload.docker_images import DockerImages, ImageSource

    signed = {target.digest: target.image_ids}
    source = ImageSource(_repository(site, deploy), signed, partial(_login, site), docker=docker_of(deploy))
    return DockerImages(transport, source, path=target.path)


def _repository(site: Site, deploy: Deploy) -> str:
    return f"{_registry_place(site)}/{deploy.image}"


def _reference(repository: str, digest: Digest) -> str:
    return f"{repository}@{digest}"


def _registry_place(site: Site) -> str:
    from teraferry.installer.site.addresses import registry_endpoint

    _, host, port = registry_endpoint(site.registry.url)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _login(site: Site) -> bytes:
    """Return Docker's settings for the site's registry; empty where it asks for no password.

    Raises:
        UsageError: ``registry-password-file``, 2.
    """
    from teraferry.installer.adapters.registry.settings import load_credentials
    from teraferry.installer.cli_registry import registry_settings

    credentials = load_credentials(registry_settings(site))
    if credentials is None:
        return b""
    auth = base64.b64encode(f"{credentials.user}:{credentials.password}".encode()).decode()
    return json.dumps({"auths": {_registry_place(site): {"auth": auth}}}).encode()
