"""What a Docker swarm says of itself, read and judged. Pure.

A swarm is at 100 % when every manager reaches the others, each node that ``site.toml`` names is ready and takes tasks,
and every service has as many running tasks as it shall have, with no update under way or given up. Tasks are counted
one by one: ``docker service ls`` shows a count that its own update has not settled yet.

Tasks move, and what they wrote to a volume of their node does not: their replacement begins with an empty one. So a
service that keeps data on its node never counts as one that may be moved away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import msgspec

from teraferry.installer.ports import ClusterObservation, Said
from teraferry.installer.site.addresses import parse_address

AT_REST: Final = frozenset({"", "completed", "rollback_completed"})
"""States of a service's last update that leave nothing to be done."""

_OVER: Final = frozenset({"complete", "shutdown", "failed", "rejected", "remove", "orphaned"})
"""States of a task of which nothing is left on its node."""

_FIELDS: Final = {"node": 6, "service": 6, "task": 4}
"""What a line begins with -> how many fields follow; the last one of a service, its mounts, may hold a | itself."""

_SHARED: Final = frozenset({"nfs", "nfs4", "cifs", "ceph", "glusterfs"})
"""Types of a volume that every node sees the same."""


@dataclass(frozen=True, slots=True)
class SwarmNode:
    """One member, a worker or a manager."""

    id: str
    availability: str  # active, pause, drain
    state: str  # ready, down, unknown, disconnected
    host: str  # its IP address, as short as it can be written
    reachability: str  # of a manager: reachable, unreachable, unknown; of a worker: ""


@dataclass(frozen=True, slots=True)
class SwarmService:
    """One service that shall run all the time; a job, which ends, is none."""

    id: str
    name: str
    replicas: int | None  # None: one task on every node
    update: str  # state of its last update; "" when there was none
    keeps: tuple[str, ...]  # what it writes to that stays on a node: volume NAME, bind PATH


@dataclass(frozen=True, slots=True)
class SwarmTask:
    """One task that the swarm made."""

    service: str
    node: str
    wanted: str  # running, shutdown ...
    state: str


class _Driver(msgspec.Struct):
    Name: str = ""
    Options: dict[str, str] | None = None


class _VolumeOptions(msgspec.Struct):
    DriverConfig: _Driver | None = None


class _Mount(msgspec.Struct):
    Type: str
    Source: str = ""
    ReadOnly: bool = False
    VolumeOptions: _VolumeOptions | None = None


@dataclass(frozen=True, slots=True)
class SwarmState:
    """What one look found."""

    nodes: tuple[SwarmNode, ...]
    services: tuple[SwarmService, ...]
    tasks: tuple[SwarmTask, ...]

    def at(self, host: str) -> SwarmNode | None:
        """Return the member at an IP address; None where there is none, or two that are up.

        A machine that left and joined again has an old entry, which is down.
        """
        here = [node for node in self.nodes if node.host == host]
        up = [node for node in here if node.state != "down"] or here[:1]
        return up[0] if len(up) == 1 else None

    def tasks_left_on(self, node: SwarmNode) -> tuple[SwarmTask, ...]:
        """Return the tasks of which something may be on the node, wanted there or not."""
        return tuple(task for task in self.tasks if task.node == node.id and task.state not in _OVER)

    def is_emptied(self, node: SwarmNode) -> bool:
        """Tell whether nothing is on the node, and every service has all its tasks elsewhere."""
        return not self.tasks_left_on(node) and all(self.told(service).passes for service in self.services)

    def told(self, service: SwarmService) -> Said:
        """Judge one service."""
        wanted = [task for task in self.tasks if task.service == service.id and task.wanted == "running"]
        running = sum(task.state == "running" for task in wanted)
        shall = len(wanted) if service.replicas is None else service.replicas
        passes = running == shall == len(wanted) and service.update in AT_REST
        update = "" if service.update in AT_REST else f", its update is {service.update}"
        return Said(f"service {service.name}", passes, f"{running} of {shall} tasks run{update}")

    def tied(self, service: SwarmService) -> Said:
        """Judge whether a service's tasks may move to another node."""
        found = ", ".join(service.keeps) or "nothing"
        return Said(
            f"service {service.name} keeps no data on its node", service.replicas is None or not service.keeps, found
        )

    def observe(self, addresses: Mapping[str, str], *, moves: bool) -> ClusterObservation:
        """Return the observation.

        Args:
            addresses: IP address -> what site.toml calls the node there, of all nodes that take tasks.
            moves: Nodes are going to be emptied, so every service must be one that may move.
        """
        managers = [node for node in self.nodes if node.reachability]
        reached = sum(node.reachability == "reachable" and node.state == "ready" for node in managers)
        known = {address: self.at(host) for host, address in addresses.items()}
        twice = {address for host, address in addresses.items() if self._is_twice(host)}
        strangers = {node.host for node in self.nodes if node.host not in addresses and _takes_tasks(node)}
        said = [Said("managers", 0 < reached == len(managers), f"{reached} of {len(managers)} reachable")]
        said += [self.told(service) for service in self.services]
        said += [self.tied(service) for service in self.services] if moves else []
        return ClusterObservation(
            nodes=frozenset({address for address, node in known.items() if node and _takes_tasks(node)} | strangers),
            stripe_groups=(),
            volumes=(),
            said=tuple(said),
            unknown=frozenset(
                {address for address, node in known.items() if node and node.state not in ("ready", "down")} | twice
            ),
            holding=frozenset(address for address, node in known.items() if node is None or not self._is_empty(node)),
        )

    def _is_empty(self, node: SwarmNode) -> bool:
        return self.is_emptied(node) if node.availability == "drain" else not self.tasks_left_on(node)

    def _is_twice(self, host: str) -> bool:
        return sum(node.host == host and node.state != "down" for node in self.nodes) > 1


def parse_state(text: str) -> SwarmState:
    """Read what ``swarm.LOOK`` prints.

    Raises:
        ValueError: It is something else.
    """
    nodes, services, tasks = [], [], []
    for line in text.splitlines():
        kind, *fields = line.split("|", _FIELDS.get(line.partition("|")[0], 0))
        if len(fields) != _FIELDS.get(kind):
            raise ValueError(f"{line[:80]!r}, expected a line about a node, a service or a task")
        if kind == "node":
            nodes.append(_node(fields))
        elif kind == "service":
            services += _service(fields)
        else:
            tasks.append(SwarmTask(*fields))
    if not nodes:
        raise ValueError("no node, expected at least the manager that was asked")
    return SwarmState(tuple(nodes), tuple(services), tuple(tasks))


def _takes_tasks(node: SwarmNode) -> bool:
    return node.state == "ready" and node.availability == "active"


def _node(fields: list[str]) -> SwarmNode:
    id_, availability, state, host, reachability, managers_address = fields
    found = ip_address(host) if host else None
    if managers_address and (found is None or found.is_unspecified or found.is_loopback):
        # A manager may not know what it looks like from outside; what the other managers call it is said here.
        found = ip_address(parse_address(managers_address)[0])
    return SwarmNode(id_, availability, state, found.compressed if found else "", reachability)


def _service(fields: list[str]) -> list[SwarmService]:
    id_, name, replicas, everywhere, update, mounts = fields
    if not replicas and not everywhere:
        return []
    keeps = [f"{mount.Type} {mount.Source}".strip() for mount in _mounts(mounts) if _stays(mount)]
    return [SwarmService(id_, name, int(replicas) if replicas else None, update, tuple(keeps))]


def _mounts(text: str) -> list[_Mount]:
    try:
        return msgspec.json.decode(text, type=list[_Mount] | None) or []
    except msgspec.DecodeError as error:
        raise ValueError(f"mounts {text[:80]!r}, expected a JSON list") from error


def _stays(mount: _Mount) -> bool:
    """Tell whether what is written there stays behind when a task moves."""
    if mount.ReadOnly or mount.Type not in ("volume", "bind"):
        return False
    driver = mount.VolumeOptions.DriverConfig if mount.VolumeOptions is not None else None
    if mount.Type == "bind" or driver is None or driver.Name in ("", "local"):
        return (driver.Options or {}).get("type", "") not in _SHARED if driver is not None else True
    return False
