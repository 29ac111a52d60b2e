"""Wires the cluster that site.toml describes: SeaweedFS, a Docker swarm, or one asked in the site's own words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from teraferry.bundles.errors import RefusedError

if TYPE_CHECKING:
    from teraferry.installer.adapters.cluster.asked import AskedNode, Question
    from teraferry.installer.ports import Cluster, NodeTransport, Quorum
    from teraferry.installer.rollout.conditions import Probe
    from teraferry.installer.site.asking import ClusterAct, ClusterQuestion
    from teraferry.installer.site.cluster_table import ClusterTable
    from teraferry.installer.site.model import Node, Site


def make_cluster(site: Site, make_transport: Callable[[Node], NodeTransport]) -> Cluster:
    """Return the site's storage cluster; nothing is asked yet.

    Args:
        site: Its ``[cluster]``.
        make_transport: Reaches a node; `weed shell` runs on the first master's.
    """
    table = site.cluster
    if table is None:
        raise RefusedError(
            "plan-no-cluster",
            f"site {site.name}: no [cluster] table, expected one in tier 1",
            hint="Describe the storage cluster in site.toml under [cluster].",
        )
    if table.engine == "swarm":
        return _make_swarm(site, table, make_transport)
    if table.engine != "seaweedfs":
        return _Asked(site, table).make()
    from teraferry.installer.adapters.cluster.seaweedfs import SeaweedfsCluster

    return SeaweedfsCluster(table.masters, make_transport(site.master_nodes[0]), table.weed)


def make_quorum(site: Site) -> Quorum:
    """Return the site's masters; nothing is asked yet."""
    from teraferry.installer.rollout.places import masters_roll
    from teraferry.installer.rollout.rolling_parts import NoQuorum

    if site.cluster is None or not masters_roll(site):
        return NoQuorum()
    from teraferry.installer.adapters.cluster.seaweedfs_quorum import SeaweedfsQuorum

    return SeaweedfsQuorum(site.cluster.masters)


def _make_swarm(site: Site, table: ClusterTable, make_transport: Callable[[Node], NodeTransport]) -> Cluster:
    from teraferry.installer.adapters.cluster.swarm import SwarmCluster

    (manager,) = (node for node in site.nodes if node.name == table.manager)
    return SwarmCluster(
        make_transport(manager),
        nodes=[node.address for node in site.nodes_of("volume")],
        others=[node.address for node in site.nodes_of("filer")],
        docker=table.docker,
        moves=table.mode == "safe" and any(deploy.role == "volume" for deploy in site.deploys),
        stalled_after_seconds=table.stalled_after_seconds,
    )


class _Asked:
    """Makes a cluster of the questions in ``[cluster]``."""

    def __init__(self, site: Site, table: ClusterTable) -> None:
        self._site = site
        self._table = table

    def make(self) -> Cluster:
        """Return it."""
        from teraferry.installer.adapters.cluster.asked import AskedCluster

        volumes = self._site.nodes_of("volume")
        others = [node for node in self._site.nodes if node not in volumes]
        return AskedCluster(
            [self._question(each, None) for each in self._table.health],
            [self._node(node) for node in volumes],
            [self._node(node) for node in others],
        )

    def _node(self, node: Node) -> AskedNode:
        from teraferry.installer.adapters.cluster.asked import AskedNode

        table = self._table
        if table.node_in is None:
            raise ValueError("an asked cluster without node_in passed the rules of site.toml")
        return AskedNode(
            node.address,
            self._question(table.node_in, node),
            None if table.drained is None else self._question(table.drained, node),
            drain=self._act(table.drain, node),
            leave=self._act(table.leave, node),
            rejoin=self._act(table.rejoin, node),
        )

    def _question(self, way: ClusterQuestion, node: Node | None) -> Question:
        from teraferry.installer.adapters.cluster.asked import Question
        from teraferry.installer.rollout.conditions import Condition

        return Question(self._probe(way, node, "GET"), Condition(way.pass_when.field, way.pass_when.equals))

    def _act(self, way: ClusterAct | None, node: Node) -> Probe | None:
        return None if way is None else self._probe(way, node, "POST")

    def _probe(self, way: ClusterQuestion | ClusterAct, node: Node | None, method: str) -> Probe:
        from teraferry.installer.adapters.probes.command import CommandProbe
        from teraferry.installer.adapters.probes.http import HttpProbe
        from teraferry.installer.adapters.transport.local import LocalTransport
        from teraferry.installer.site.cluster_table import expand

        if way.http is not None:
            (url,) = self._table.expand(way.http, () if node is None else (node,))
            ca = self._table.ca or self._site.registry.site_ca
            return HttpProbe(f"{method} {url}", url, ca=None if ca is None else Path(ca), method=method)
        argv = [word if node is None else expand(word, node) for word in way.command or ()]
        return CommandProbe(" ".join(argv), argv, LocalTransport("here"))
