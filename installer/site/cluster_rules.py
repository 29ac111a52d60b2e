"""What must hold between the fields of ``[cluster]``: one engine's fields, all of them, and no other's. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Final

import msgspec

from teraferry.installer.site.addresses import MAX_PORT, host_of, parse_address, parse_url, registry_endpoint
from teraferry.installer.site.asking import ClusterAct, ClusterQuestion
from teraferry.installer.site.cluster_table import ClusterTable
from teraferry.installer.site.model import GRPC_PORT_OFFSET, Site
from teraferry.installer.site.paths import require_absolute, require_words
from teraferry.installer.site.text import SiteText, Where

_DEFAULTS: Final = {field.name: field.default for field in msgspec.structs.fields(ClusterTable)}
_PLACEHOLDER: Final = re.compile(r"\{[A-Za-z_]*\}")
_KNOWN_PLACEHOLDERS: Final = frozenset({"{name}", "{address}"})
_PATH: Final = re.compile(r"/(?!/)[!-~]*\Z")
_READ_BY: Final = {
    **dict.fromkeys(("url", "ca", "health", "node_in", "drained", "drain", "leave", "rejoin"), ("http", "command")),
    "masters": ("seaweedfs",),
    "weed": ("seaweedfs",),
    "manager": ("swarm",),
    "docker": ("swarm",),
}
"""Field -> the engines that read it; beside another it looks like a demand and is none."""


def require_sound_cluster(site: Site, text: SiteText, *, tier: str | None) -> None:
    """Check ``[cluster]``; tier 2 may do without.

    Raises:
        UsageError: ``site-missing-field`` or ``site-bad-value``, 2.
    """
    cluster = site.cluster
    if cluster is None:
        if tier == "2" or (tier is None and site.traffic is not None):
            return
        raise text.bad_value(
            ("cluster",),
            "absent, expected it for tier 1",
            reference="site-missing-field",
            hint=f'Add [cluster] with engine = "seaweedfs" and masters to {text.name}.',
        )
    for field, engines in _READ_BY.items():
        if cluster.engine not in engines and getattr(cluster, field) != _DEFAULTS[field]:
            found = f"with engine {cluster.engine}, expected it with {' and '.join(engines)} only"
            raise text.bad_value(("cluster", field), found)
    if cluster.engine == "seaweedfs":
        _require_seaweedfs(site, cluster, text)
        return
    # Health of no nodes, or by no question, would be 100 % for ever or never.
    if not site.nodes_of("volume"):
        raise text.bad_value(("cluster",), 'no [[node]] with role = "volume", expected the nodes of the cluster')
    if cluster.engine == "swarm":
        _require_swarm(site, cluster, text)
    else:
        _require_asked(site, cluster, text)


def _require_seaweedfs(site: Site, cluster: ClusterTable, text: SiteText) -> None:
    if not cluster.masters:
        raise text.bad_value(("cluster", "masters"), "no master, expected at least one host:port")
    for master in cluster.masters:
        _, port = text.checked(("cluster", "masters"), partial(parse_address, master))
        if port + GRPC_PORT_OFFSET > MAX_PORT:
            found = f"port {port}, expected at most {MAX_PORT - GRPC_PORT_OFFSET} (gRPC is {GRPC_PORT_OFFSET} above)"
            raise text.bad_value(("cluster", "masters"), found)
        if master not in {node.address for node in site.nodes_of("master")}:
            raise text.bad_value(
                ("cluster", "masters"), f'{master} is no node, expected a [[node]] with role = "master" at that address'
            )
    if len(set(cluster.masters)) != len(cluster.masters):
        raise text.bad_value(("cluster", "masters"), "a master twice, expected each once")
    if cluster.weed != "weed":
        require_absolute(cluster.weed, text, ("cluster", "weed"))


def _require_swarm(site: Site, cluster: ClusterTable, text: SiteText) -> None:
    if cluster.manager is None:
        raise text.bad_value(
            ("cluster", "manager"),
            "absent, expected it with engine swarm",
            reference="site-missing-field",
            hint="Write manager = NAME in [cluster]: the [[node]] whose Docker is a manager of the swarm.",
        )
    if cluster.manager not in {node.name for node in site.nodes}:
        raise text.bad_value(("cluster", "manager"), f"{cluster.manager} is no node, expected the name of a [[node]]")
    if cluster.docker != "docker":
        require_absolute(cluster.docker, text, ("cluster", "docker"))
    taken: dict[str, str] = {}
    for number, node in enumerate(site.nodes):
        if node.role not in ("volume", "filer"):
            continue
        # A swarm knows its members by their addresses.
        host = text.checked(("node", number, "address"), partial(host_of, node.address))
        if node.role == "volume" and taken.setdefault(host, node.name) != node.name:
            found = f"{host} of {node.name} and of {taken[host]}, expected a machine of its own for each"
            raise text.bad_value(("node", number, "address"), found)


def _require_asked(site: Site, cluster: ClusterTable, text: SiteText) -> None:
    needed = ["health", "node_in", *(["drain", "drained"] if cluster.mode == "safe" else ["leave"])]
    for field in needed:
        if not getattr(cluster, field):
            raise text.bad_value(
                ("cluster", field),
                f"absent, expected it with engine {cluster.engine} and mode {cluster.mode}",
                reference="site-missing-field",
                hint=f"Write {field} in [cluster]; docs/site.md has an example.",
            )
    if cluster.url is not None:
        text.checked(("cluster", "url"), partial(registry_endpoint, cluster.url))
    if cluster.ca is not None:
        require_absolute(cluster.ca, text, ("cluster", "ca"))
    for where, way, of_a_node in _ways(cluster):
        _require_way(site, way, text, where, of_a_node=of_a_node)


def _ways(cluster: ClusterTable) -> Iterator[tuple[Where, ClusterQuestion | ClusterAct, bool]]:
    """Yield every question and act: where it stands, what it is, and whether it is about one node."""
    for question in cluster.health:
        yield ("cluster", "health"), question, False
    for name, way in cluster.node_ways().items():
        yield ("cluster", name), way, True


def _require_way(
    site: Site, way: ClusterQuestion | ClusterAct, text: SiteText, where: Where, *, of_a_node: bool
) -> None:
    cluster = site.cluster
    if cluster is None or (way.http is None) == (way.command is None):
        raise text.bad_value(where, "expected exactly one of http and command")
    if way.http is not None and cluster.engine == "command":
        raise text.bad_value(where, "http with engine command, expected command")
    written = [way.http] if way.http is not None else list(way.command or ())
    known = _KNOWN_PLACEHOLDERS if of_a_node else frozenset[str]()
    for unknown in {found for word in written for found in _PLACEHOLDER.findall(word)} - known:
        raise text.bad_value(where, f"{unknown}, expected {' or '.join(sorted(known)) or 'no placeholder'}")
    if way.command is not None:
        require_words(way.command, text, where)
        return
    if way.is_path and cluster.url is None:
        raise text.bad_value(where, "a path without url in [cluster], expected the url it belongs to")
    for url in cluster.expand(way.http or "", site.nodes if of_a_node else ()):
        # Each node's own: a name or an address must not change whom the rest of the URL names.
        if not _PATH.match(way.http or "") and way.is_path:
            raise text.bad_value(where, f"{(way.http or '')[:80]!r}, expected a path that begins with one /, or a URL")
        text.checked(where, partial(parse_url, url))
