"""Two small SeaweedFS clusters, blue and green, kept alike by ``filer.sync`` both ways.

Each is one ``weed server``: master, volume server and filer in one process, so killing it is the death of a whole
cluster. ``filer.sync`` is a service of its own on blue's node, which lives on when green dies.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from teraferry.installer.adapters.replicator.seaweedfs import SeaweedfsReplicator
from teraferry.installer.adapters.replicator.seaweedfs_service import SeaweedfsReplication
from teraferry.installer.adapters.transport.command import CommandTransport
from teraferry.installer.blue_green_ports import ReplicationObservation
from tests.lab.nodes import Node, Nodes, wait_until
from tests.lab.weed import OWN_TMP, Service, install_service

ADDRESSES = {"site": "10.78.0.2", "blue": "10.78.0.10", "green": "10.78.0.20"}
FILER_PORT, METRICS_PORT = 8888, 9400
PATH = "/data"
TIMEOUT_SECONDS = 20.0


class WeedPair:
    """Blue, green and the way between them. Constructed without effect; ``start`` brings the clusters up."""

    def __init__(self, lab: Nodes, *, program: Path) -> None:
        self.lab = lab
        self._program = program
        self.clusters = {name: Service(lab.node(name), "cluster", "/opt/seaweedfs") for name in ("blue", "green")}
        self.sync = Service(lab.node("blue"), "sync", "/opt/filer-sync")

    def filer(self, cluster: str) -> str:
        """Return the address of a cluster's filer."""
        return f"{ADDRESSES[cluster]}:{FILER_PORT}"

    @property
    def settings(self) -> SeaweedfsReplication:
        """What site.toml would say."""
        return SeaweedfsReplication(
            blue=self.filer("blue"),
            green=self.filer("green"),
            path=PATH,
            metrics=f"{ADDRESSES['blue']}:{METRICS_PORT}",
            weed=self.sync.program,
            start=self.sync.start_argv,
            stop=self.sync.stop_argv,
        )

    def start(self) -> None:
        """Bring both clusters up; replication is left to the adapter."""
        for name, service in self.clusters.items():
            install_service(service, self._program, _cluster_arguments(ADDRESSES[name]), launcher=OWN_TMP)
            service.start()
        arguments = (
            f"filer.sync -a={self.filer('blue')} -b={self.filer('green')} -a.path={PATH} -b.path={PATH}"
            f" -metricsIp={ADDRESSES['blue']} -metricsPort={METRICS_PORT}"
        )
        install_service(self.sync, self._program, arguments, launcher=OWN_TMP)
        for name in self.clusters:
            self.wait_for(name)

    def wait_for(self, cluster: str) -> None:
        """Wait until a cluster takes writes."""
        wait_until(f"{cluster} takes writes", lambda: self.put(cluster, "/elsewhere/ready", b"ready") == 201)

    def kill(self, cluster: str) -> None:
        """End a cluster as a power cut would: at once, nothing flushed."""
        service = self.clusters[cluster]
        service.node.sh(f"kill -KILL $(cat {service.folder}/pid)")

    def put(self, cluster: str, path: str, content: bytes) -> int:
        """Write as a client on the site's network; return the status, 201 when it is acknowledged."""
        return self._request(cluster, "PUT", path, content)[0]

    def get(self, cluster: str, path: str) -> bytes | None:
        """Read as a client; None when it is not there."""
        status, content = self._request(cluster, "GET", path)
        return content if status == http.HTTPStatus.OK else None

    def names(self, cluster: str, folder: str) -> list[str]:
        """Return what a folder holds; nothing where there is none."""
        status, content = self._request(cluster, "GET", folder + "/")
        entries = json.loads(content)["Entries"] if status == http.HTTPStatus.OK else None
        return [entry["FullPath"].rpartition("/")[2] for entry in entries or ()]

    def delete(self, cluster: str, path: str) -> None:
        """Delete as a client, a folder with all in it."""
        self._request(cluster, "DELETE", path, query="?recursive=true")

    def _request(
        self, cluster: str, method: str, path: str, body: bytes | None = None, *, query: str = ""
    ) -> tuple[int, bytes]:
        def exchange() -> tuple[int, bytes]:
            connection = http.client.HTTPConnection(ADDRESSES[cluster], FILER_PORT, timeout=TIMEOUT_SECONDS)
            try:
                connection.request(method, quote(path) + query, body=body, headers={"Accept": "application/json"})
                response = connection.getresponse()
                return response.status, response.read()
            finally:
                connection.close()

        return self.lab.node("site").call(exchange)


def _cluster_arguments(address: str) -> str:
    return (
        f"server -ip={address} -ip.bind={address} -dir=/srv/cluster -filer -filer.port={FILER_PORT} -filer.maxMB=4"
        f" -master.heartbeatInterval=100ms -master.electionTimeout=1s -master.telemetry=false"
        f" -master.volumeSizeLimitMB=64 -volume.max=30 -volume.preStopSeconds=1 -metricsPort=9325"
    )


class ReplicatorFromSite:
    """``Replicator`` whose every call is made from the site node."""

    writers = "two"

    def __init__(self, site: Node, adapter: SeaweedfsReplicator) -> None:
        self._site = site
        self._adapter = adapter

    def start(self) -> None:
        self._site.call(self._adapter.start)

    def observe(self, source: str) -> ReplicationObservation:
        return self._site.call(lambda: self._adapter.observe(source))

    def sync_state(self, source: str, *, marker: str, stalled_after_seconds: float) -> None:
        self._site.call(
            lambda: self._adapter.sync_state(source, marker=marker, stalled_after_seconds=stalled_after_seconds)
        )

    def pending(self, source: str) -> Sequence[str] | None:
        return self._site.call(lambda: self._adapter.pending(source))

    def conflicts(self, *, marker: str) -> Sequence[str]:
        return self._site.call(lambda: self._adapter.conflicts(marker=marker))


def replicator_from_site(pair: WeedPair, settings: SeaweedfsReplication | None = None) -> ReplicatorFromSite:
    """Return the adapter for ``pair``, or for other settings of it; its ``weed`` runs on blue's node."""
    transport = CommandTransport("blue", pair.lab.node("blue").prefix)
    return ReplicatorFromSite(pair.lab.node("site"), SeaweedfsReplicator(settings or pair.settings, transport))
