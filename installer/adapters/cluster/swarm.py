"""A Docker swarm as the cluster of a tier 1 site, asked and told through one manager's node.

``safe`` empties a node by ``--availability drain``: the swarm runs its tasks elsewhere, and the drain is over when
nothing of them is left and every service has all its tasks again. Where they cannot go elsewhere the node takes tasks
again, and the drain has failed. ``quick`` pauses it: what runs there stays, and stops with the node.
Docker moves no running task back to a node that returns, and neither do we.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.clock import monotonic_seconds, sleep_seconds
from teraferry.installer.adapters.cluster.swarm_state import SwarmNode, SwarmState, parse_state
from teraferry.installer.ports import ClusterObservation, NodeTransport
from teraferry.installer.site.addresses import host_of

LOOK: Final = """
set -eu
docker=$1
nodes=$("$docker" node ls --quiet)
"$docker" node inspect --format \
'node|{{.ID}}|{{.Spec.Availability}}|{{.Status.State}}|{{.Status.Addr}}|'\
'{{if .ManagerStatus}}{{.ManagerStatus.Reachability}}|{{.ManagerStatus.Addr}}{{else}}|{{end}}' $nodes
services=$("$docker" service ls --quiet)
[ -n "$services" ] || exit 0
"$docker" service inspect --format \
'service|{{.ID}}|{{.Spec.Name}}|{{with .Spec.Mode.Replicated}}{{.Replicas}}{{end}}|'\
'{{if .Spec.Mode.Global}}everywhere{{end}}|{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}|'\
'{{json .Spec.TaskTemplate.ContainerSpec.Mounts}}' $services
tasks=$("$docker" service ps --quiet --no-trunc $services; "$docker" node ps --quiet --no-trunc $nodes)
tasks=$(printf '%s\\n' "$tasks" | sort -u)
[ -z "$tasks" ] || "$docker" inspect --type task --format \
'task|{{.ServiceID}}|{{.NodeID}}|{{.DesiredState}}|{{.Status.State}}' $tasks
"""
# Names and ids of a swarm hold no blanks and no |.

LOOK_SECONDS: Final = 60.0
LOOKS: Final = 3
"""A task that went between being listed and being looked at fails the look; the next one does not list it."""

LOOK_AGAIN_SECONDS: Final = 0.5


class SwarmCluster:
    """``Cluster`` of a swarm.

    Args:
        manager: Reaches a manager's node.
        nodes: Addresses of the nodes that take tasks, as site.toml has them: an IP address and a port.
        others: Addresses of further nodes, which may be asked whether they serve.
        docker: The program on the manager's node.
        moves: Nodes are going to be emptied: something of the release goes to them, and the mode is ``safe``.
        stalled_after_seconds: A drain in which no task came or went for so long has failed.
    """

    def __init__(
        self,
        manager: NodeTransport,
        *,
        nodes: Sequence[str],
        others: Sequence[str] = (),
        docker: str = "docker",
        moves: bool = True,
        stalled_after_seconds: float = 300.0,
    ) -> None:
        self._manager = manager
        self._docker = docker
        self._addresses = {host_of(address): address for address in nodes}
        self._others = frozenset(others)
        self._moves = moves
        self._stalled_after_seconds = stalled_after_seconds
        self._drained = ""

    def observe(self) -> ClusterObservation:
        """Look once at every node, service and task; see ``installer.ports.Cluster``."""
        return self._look().observe(self._addresses, moves=self._moves)

    def drain(self, node: str) -> None:
        """Let the swarm run the node's tasks elsewhere, and wait until it has.

        Raises:
            RefusedError: ``drain-stalled`` or ``cluster-refused``, 40: the node takes tasks again.
        """
        state = self._look()
        member = self._member(state, node)
        here = {task.service for task in state.tasks_left_on(member)}
        for service in state.services:
            if service.id in here and not state.tied(service).passes:
                raise _refused(
                    f"service {service.name} keeps {', '.join(service.keeps)} there, which would stay behind"
                )
        self._drained = node
        self._make(member, "drain")
        at_last = self._wait_until_empty(node)
        if at_last.is_emptied(self._member(at_last, node)):
            return
        left = self._left(at_last, node)
        self._make(member, "active")
        raise RefusedError(
            "drain-stalled",
            f"drain of {node}: no task moved for {self._stalled_after_seconds:g} s and {left}, expected "
            "all of them to run elsewhere; the node takes tasks again",
            hint="`docker service ps` says what keeps them: room, or a constraint. Mend it, then type the same again.",
        )

    def leave(self, node: str) -> None:
        """Let the node take no further tasks; what runs there stays. One that was emptied stays so."""
        member = self._member(self._look(), node)
        if member.availability == "active":
            self._make(member, "pause")

    def rejoin(self, node: str) -> None:
        """Let the node take tasks again; one that is not back yet is told once more by whoever waits for it."""
        state = self._look()
        member = state.at(host_of(node))
        if member is not None and member.availability != "active":
            self._make(member, "active")

    def rebalance(self, *, home: str = "") -> None:
        """Let ``home`` take tasks again; those that run elsewhere stay where they are."""
        home = home or self._drained
        if home:
            self.rejoin(home)

    def serves(self, address: str) -> bool:
        """Tell whether the member at ``address``, a node of site.toml, is ready."""
        if address not in self._others and address not in self._addresses.values():
            return False
        member = self._look().at(host_of(address))
        return member is not None and member.state == "ready"

    def _wait_until_empty(self, node: str) -> SwarmState:
        """Return what was seen last, once the node is empty or nothing moves any more."""
        last: SwarmState | None = None
        since = monotonic_seconds()
        while True:
            seen = self._look()
            if seen.is_emptied(self._member(seen, node)):
                return seen
            if seen != last:
                last, since = seen, monotonic_seconds()
            if monotonic_seconds() - since >= self._stalled_after_seconds:
                return seen
            sleep_seconds(LOOK_AGAIN_SECONDS)

    def _left(self, seen: SwarmState, node: str) -> str:
        left = len(seen.tasks_left_on(self._member(seen, node)))
        short = [said for said in map(seen.told, seen.services) if not said.passes]
        return ", ".join([f"{left} are there still", *(f"{each.condition}: {each.found}" for each in short)])

    def _member(self, state: SwarmState, node: str) -> SwarmNode:
        member = state.at(host_of(node))
        if member is None:
            raise _refused(f"no member of the swarm, or two, at {node}")
        return member

    def _make(self, member: SwarmNode, availability: str) -> None:
        argv = [self._docker, "node", "update", "--availability", availability, member.id]
        done = self._manager.run(argv, timeout_seconds=LOOK_SECONDS)
        if done.status:
            raise _refused(f"docker node update --availability {availability}: {_last_line(done.stderr)}")

    def _look(self) -> SwarmState:
        found = ""
        for _ in range(LOOKS):
            done = self._manager.run(["sh", "-c", LOOK, "sh", self._docker], timeout_seconds=LOOK_SECONDS)
            if done.status == 0:
                return _parsed(done.text())
            found = f"status {done.status}, {_last_line(done.stderr)}"
            sleep_seconds(LOOK_AGAIN_SECONDS)
        raise RefusedError(
            "cluster-unreachable",
            f"swarm: {found}, expected a manager that answers",
            hint="Type `docker node ls` on the node that [cluster] names as its manager; correct one of the two.",
        )


def _parsed(text: str) -> SwarmState:
    try:
        return parse_state(text)
    except ValueError as error:
        raise RefusedError(
            "cannot-tell",
            f"swarm: {error}",
            hint="Type `docker node ls` on the manager's node by hand; this is a version of Docker we do not read.",
        ) from error


def _refused(found: str) -> RefusedError:
    return RefusedError(
        "cluster-refused",
        f"swarm: {found}, expected it to be done",
        hint="`docker node ls` and `docker service ls` on a manager say how the swarm is. Data that stays on a node "
        'wants mode = "quick". Then type the same command again.',
    )


def _last_line(stderr: bytes) -> str:
    return (stderr.decode("utf-8", "replace").strip().splitlines() or ["nothing said"])[-1][:200]
