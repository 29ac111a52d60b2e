"""What site.toml may hold, table by table. Pure, frozen and strict; sense is checked in ``site_rules``.

Field names are the file's own, but for the lists: ``[[node]]`` is ``nodes``, and so on. Every table
says ``frozen`` again for type checkers: they do not take it over from ``Model``.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from teraferry.bundles.model import Model
from teraferry.installer.site.addresses import parse_address, parse_ssh, parse_url, registry_endpoint
from teraferry.installer.site.asking import ComplianceTable, SmokeTable
from teraferry.installer.site.cluster_table import ClusterTable
from teraferry.installer.site.database_table import PgbouncerTable, PostgresqlTable
from teraferry.installer.site.fields import Argv, Name, Role, Seconds, Text, Unit
from teraferry.installer.site.registry_table import RegistryTable

DEFAULT_SYNC_METRICS = "127.0.0.1:9400"
"""``weed filer.sync -metricsPort=9400``, on the installer's own machine."""

HOST_KEY = r"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]{40,1400}={0,2}\Z"
"""The first two words of a public host key file."""

GRPC_PORT_OFFSET = 10_000
"""SeaweedFS listens for gRPC this far above its HTTP port, unless told otherwise."""


DEFAULT_OPENPGP_KEY = "/etc/teraferry/openpgp.asc"
"""Beside the site file, under the same care."""


DEFAULT_NEXT_VISIT_DAYS = 183
"""Twice a year; ``doctor`` warns of what expires before."""


class Identity(Model, frozen=True):
    """``[site]``."""

    name: Name
    tier: str | None = None
    next_visit_days: Annotated[int, msgspec.Meta(ge=1, le=3660)] = DEFAULT_NEXT_VISIT_DAYS


class TrustTable(Model, frozen=True):
    """``[trust]``."""

    require_openpgp: Text | None = None  # fingerprint of the primary key
    openpgp_key: Text | None = None  # file with the public key

    @property
    def openpgp_key_file(self) -> str:
        """Where the public key of a demanded OpenPGP signature lies."""
        return self.openpgp_key or DEFAULT_OPENPGP_KEY


class Transport(Model, frozen=True):
    """How a node is reached: exactly one of ``local``, ``command``, ``ssh``."""

    local: bool = False
    command: Argv | None = None  # words put before every command, e.g. ["nsenter", "--target", "1234", "--net"]
    ssh: Text | None = None  # user@host or user@host:port
    identity: Text | None = None  # private key file on this machine, with ssh
    host_key: Annotated[str, msgspec.Meta(pattern=HOST_KEY)] | None = None  # what the node must show, with ssh


class Node(Model, frozen=True):
    """``[[node]]``: one machine, or one server on it."""

    name: Name
    role: Role
    address: Text  # host:port, what the cluster calls it
    transport: Transport
    smoke_url: Text | None = None  # scheme://host:port that smoke tests ask; http://ADDRESS by default


class Deploy(Model, frozen=True):
    """``[[deploy]]``: one file or image of a release, and the nodes that run it."""

    role: Role
    workload: Literal["binary", "container", "swarm", "command"]
    file: Text | None = None
    image: Text | None = None
    path: Text | None = None  # absolute; a link to PATH.d/<digest>, or the one-line file a container's service reads
    unit: Unit | None = None
    stop: Argv | None = None
    start: Argv | None = None
    container: Name | None = None  # workload container: the name it runs under
    variable: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}\Z")] | None = None  # IMAGE by default
    docker: Text | None = None  # the docker program on the node
    service: Name | None = None  # workload swarm: what the swarm calls it
    command: Argv | None = None  # workload command: the site's own program on the node

    @property
    def place(self) -> str:
        """What tells it from other deploys of its role."""
        return self.path or f"service {self.service}"

    @property
    def stop_argv(self) -> tuple[str, ...]:
        """The command that stops the workload on its node."""
        return self.stop or ("systemctl", "stop", self.unit or "")

    @property
    def start_argv(self) -> tuple[str, ...]:
        """The command that starts the workload on its node."""
        return self.start or ("systemctl", "start", self.unit or "")


class GreenTable(Model, frozen=True):
    """``[green]``, tier 2."""

    nodes: tuple[Name, ...]


class TrafficTable(Model, frozen=True):
    """``[traffic]``, tier 2."""

    engine: Literal["nftables", "haproxy", "command"]
    virtual_ip: Text
    blue: Text
    green: Text
    dead_man: Text  # "10s"; "none" where the engine has none
    node: Name | None = None  # the [[node]] whose kernel or program switches; this machine when None
    command: Argv | None = None  # with engine "command": the site's own program
    socket: Text | None = None  # with engine "haproxy": its runtime API
    map: Text | None = None  # with engine "haproxy": the file that a start of it reads
    cut_after: Text | None = None


class MonitorTable(Model, frozen=True):
    """``[monitor]``, tier 2."""

    health: Text  # a URL; {active} is the address of the cluster that is asked
    error_rate_max: Annotated[float, msgspec.Meta(ge=0, le=1)]
    latency_p99_ms: Annotated[int, msgspec.Meta(ge=1)]
    seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 300
    every_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 1
    ca: Text | None = None  # with https: who signs its certificate; the registry's ca by default

    def url_of(self, address: str) -> str:
        """Return where the cluster at ``address`` is asked whether it is well."""
        return self.health.replace("{active}", address)


class ReplicationTable(Model, frozen=True):
    """``[replication]``, tier 2."""

    engine: Literal["seaweedfs", "postgresql", "command"]
    writers: Literal["one", "two"]
    blue: Text
    green: Text
    path: Text | None = None  # what is replicated
    write_hold_seconds: Seconds | None = None  # with one writer
    stalled_after_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 300
    command: Argv | None = None  # with engine "command": the site's own program
    node: Name | None = None  # where replication runs; this machine when None
    metrics: Text = DEFAULT_SYNC_METRICS  # with engine "seaweedfs": where `weed filer.sync` serves its metrics
    weed: Text = "weed"  # with engine "seaweedfs": the program on that node
    unit: Unit = "weed-filer-sync"  # with engine "seaweedfs": the service there; or
    start: Argv | None = None  # starts `weed filer.sync` there, in a session of its own
    stop: Argv | None = None
    postgresql: PostgresqlTable | None = None  # with engine "postgresql": its servers, and
    pgbouncer: tuple[PgbouncerTable, ...] = ()  # every way that clients have to them, or
    gate: Argv | None = None  # the site's own program that holds writes, on ``node``

    @property
    def start_argv(self) -> tuple[str, ...]:
        """The command that starts replication on its node."""
        return self.start or ("systemctl", "start", self.unit)

    @property
    def stop_argv(self) -> tuple[str, ...]:
        """The command that stops replication on its node."""
        return self.stop or ("systemctl", "stop", self.unit)


class Key(Model, frozen=True):
    """``[[key]]``: must survive everything. Paths are on the key's node, but for ``recovery_proof``."""

    name: Name
    node: Name
    store: Literal["tpm", "pkcs11", "command"]
    handle: Text  # tpm: 0x81010002; pkcs11: its URI with pin-source; command: what the program calls it
    auth: Text | None = None  # tpm: file with the authorization value
    twin: Text | None = None  # tpm: handle of the same secret as an HMAC key
    twin_auth: Text | None = None
    counter: Text | None = None  # tpm: index of an NV counter that only grows
    tcti: Text | None = None  # tpm: how tpm2-tools reach it
    command: Argv | None = None  # command: the site's own program
    blobs: tuple[Text, ...] = ()  # files that hold the key, wrapped
    protected: tuple[Text, ...] = ()  # other files and folders no rollout may touch
    recovery_proof: Text | None = None
    accepted_without_recovery: Text | None = None


class Site(Model, frozen=True):
    """One isolated installation, as its site.toml describes it. Made only by ``site.load_site``."""

    identity: Identity = msgspec.field(name="site")
    registry: RegistryTable
    trust: TrustTable = TrustTable()
    cluster: ClusterTable | None = None
    nodes: tuple[Node, ...] = msgspec.field(name="node", default=())
    deploys: tuple[Deploy, ...] = msgspec.field(name="deploy", default=())
    green: GreenTable | None = None
    traffic: TrafficTable | None = None
    monitor: MonitorTable | None = None
    replication: ReplicationTable | None = None
    compliance: ComplianceTable | None = None
    keys: tuple[Key, ...] = msgspec.field(name="key", default=())
    smoke: tuple[SmokeTable, ...] = ()

    @property
    def name(self) -> str:
        """The site's own name."""
        return self.identity.name

    @property
    def tier(self) -> str | None:
        """``tier`` as it stands in the file; ``strategy`` says what it means."""
        return self.identity.tier

    @property
    def master_nodes(self) -> tuple[Node, ...]:
        """The nodes of ``[cluster] masters``, in that order."""
        by_address = {node.address: node for node in self.nodes}
        return tuple(by_address[master] for master in (self.cluster.masters if self.cluster else ()))

    def nodes_of_cluster(self, cluster: str) -> tuple[Node, ...]:
        """Return the nodes of ``blue`` or ``green``: green's are named, and blue's are the others that serve."""
        green = self.green.nodes if self.green else ()
        return tuple(n for n in self.nodes if n.role != "gateway" and (n.name in green) == (cluster == "green"))

    def nodes_of(self, role: str) -> tuple[Node, ...]:
        """Return the nodes that play ``role``, in the order of the file."""
        return tuple(node for node in self.nodes if node.role == role)

    def allowed_endpoints(self) -> frozenset[tuple[str, int]]:
        """Return every host and port that the installer itself may connect to; hosts as the file writes them."""
        endpoints = {registry_endpoint(self.registry.url)[1:]}
        for master in self.cluster.masters if self.cluster else ():
            host, port = parse_address(master)
            endpoints |= {(host, port), (host, port + GRPC_PORT_OFFSET)}
        endpoints |= {parse_url(url)[1:] for url in (self.cluster.urls(self.nodes) if self.cluster else ())}
        for node in self.nodes:
            host, port = parse_address(node.address)
            endpoints.add((host, port))
            if node.smoke_url is not None:
                endpoints.add(parse_url(node.smoke_url)[1:])
            if node.transport.ssh is not None:
                endpoints.add(parse_ssh(node.transport.ssh)[1:])
            if node.role == "volume" and self.cluster is not None and self.cluster.engine == "seaweedfs":
                # Shards are moved over the volume servers' own gRPC port.
                endpoints.add((host, port + GRPC_PORT_OFFSET))
        for probe in self.compliance.probes.values() if self.compliance else ():
            if probe.http is not None:
                endpoints.add(parse_url(probe.http)[1:])
        if self.replication is not None and self.replication.engine == "seaweedfs":
            endpoints.add(parse_address(self.replication.metrics))
            for address in (self.replication.blue, self.replication.green):
                host, port = parse_address(address)
                endpoints |= {(host, port), (host, port + GRPC_PORT_OFFSET)}
        endpoints |= {parse_url(test.http)[1:] for test in self.smoke if test.http is not None and test.is_whole_url}
        if self.monitor is not None and self.traffic is not None:
            for address in (self.traffic.blue, self.traffic.green):
                endpoints.add(parse_url(self.monitor.url_of(address))[1:])
        return frozenset(endpoints)
