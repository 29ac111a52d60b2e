"""Which nodes of a tier 1 site roll, in which order, and which stay and why. Pure."""

from __future__ import annotations

from collections.abc import Set

from teraferry.installer.site.model import Deploy, Node, Site

ROLL_ORDER = ("volume", "app", "filer", "master")
"""Roles that roll, in this order: whoever holds data first, whoever everybody asks last."""

FEWEST_MASTERS = 3
"""While one of so many is away, the others are most of them, and go on."""


def rolling_places(site: Site) -> list[tuple[Node, Deploy]]:
    """Return where a release goes, in the order in which it rolls."""
    return [
        (node, deploy)
        for role in ROLL_ORDER
        for node in site.nodes
        if node.role == role and (role != "master" or masters_roll(site))
        for deploy in site.deploys
        if deploy.role == role
    ]


def masters_roll(site: Site) -> bool:
    """Tell whether the masters of ``site`` can be restarted one by one with nobody noticing more than an election."""
    masters = {node.address for node in site.nodes_of("master")}
    return (
        site.cluster is not None
        and site.cluster.engine == "seaweedfs"
        and len(masters) >= FEWEST_MASTERS
        and masters == set(site.cluster.masters)
    )


def staying(site: Site) -> tuple[str, ...]:
    """Return a sentence for each node that is left alone, which says why."""
    rolling = {deploy.role for deploy in site.deploys}
    return tuple(
        f"{node.name} ({node.role}) stays: {_why_it_stays(node, rolling)}"
        for node in site.nodes
        if node.role not in rolling or (node.role == "master" and not masters_roll(site))
    )


def _why_it_stays(node: Node, rolling: Set[str]) -> str:
    if node.role not in rolling:
        return "no [[deploy]] names its role"
    return (
        f"its restart would stop lookups; masters of SeaweedFS roll from {FEWEST_MASTERS} on, all of them named in "
        "[cluster] masters"
    )
