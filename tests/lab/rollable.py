"""The product's cluster adapter, called from the site's network, over a lab cluster."""

from __future__ import annotations

from teraferry.installer.adapters.cluster.seaweedfs import SeaweedfsCluster
from teraferry.installer.adapters.transport.command import CommandTransport
from teraferry.installer.ports import ClusterObservation
from tests.lab.nodes import Node
from tests.lab.weed import WeedCluster


class FromSite:
    """``Cluster`` whose every call is made from the site node."""

    def __init__(self, site: Node, adapter: SeaweedfsCluster) -> None:
        self._site = site
        self._adapter = adapter

    def observe(self) -> ClusterObservation:
        return self._site.call(self._adapter.observe)

    def drain(self, node: str) -> None:
        self._site.call(lambda: self._adapter.drain(node))

    def leave(self, node: str) -> None:
        self._site.call(lambda: self._adapter.leave(node))

    def rejoin(self, node: str) -> None:
        self._site.call(lambda: self._adapter.rejoin(node))

    def rebalance(self, *, home: str = "") -> None:
        self._site.call(lambda: self._adapter.rebalance(home=home))

    def serves(self, address: str) -> bool:
        return self._site.call(lambda: self._adapter.serves(address))


def cluster_from_site(weed: WeedCluster, *, masters: tuple[str, ...] = (), lock_wait_seconds: float = 60.0) -> FromSite:
    """Return the adapter for ``weed``, or for ``masters`` that are not there."""
    shell = CommandTransport("core", weed.lab.node("core").prefix)
    adapter = SeaweedfsCluster(
        masters or (weed.master_address,), shell, weed.master.program, lock_wait_seconds=lock_wait_seconds
    )
    return FromSite(weed.lab.node("site"), adapter)
