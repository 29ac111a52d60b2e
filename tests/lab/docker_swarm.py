"""A Docker swarm in namespaces: a manager that takes no tasks, and three workers that each run two services' tasks.

The services run a static busybox that is on every node already, under a name that no registry answers for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from teraferry.installer.adapters.transport.command import CommandTransport
from teraferry.installer.cli_cluster import make_cluster
from teraferry.installer.ports import Cluster
from teraferry.installer.site.load import parse_site
from tests.lab.docker_node import DOCKER, Daemon
from tests.lab.images import layer_tar, make_docker_archive
from tests.lab.nodes import Lab
from tests.lab.opened import Opened

ADDRESSES = {
    "site": "10.92.0.1",
    "manager": "10.92.0.10",
    "w-1": "10.92.0.11",
    "w-2": "10.92.0.12",
    "w-3": "10.92.0.13",
}
WORKERS = ("w-1", "w-2", "w-3")
PORT = 7946
IMAGE = "127.0.0.1:9/lab/sleep:1"

_SITE = """\
[site]
name = "hanoi-dc1"
tier = "1"

[registry]
url = "http://127.0.0.1:5000"

[cluster]
engine = "swarm"
manager = "{manager}"
docker = "/usr/bin/docker"
stalled_after_seconds = {stalled}

[[deploy]]
file = "bin/agent"
role = "volume"
workload = "binary"
path = "/opt/agent"
unit = "agent"
"""
_NODE = '[[node]]\nname = "{name}"\nrole = "{role}"\naddress = "{address}"\ntransport = {{ command = {prefix} }}\n'
_SERVICE = ("--network", "host", "--detach", "--no-resolve-image", "--stop-signal", "KILL", "--restart-delay", "100ms")


class SwarmLab(Opened):
    """The swarm. Use as a context.

    Args:
        folder: Empty or missing; holds everything.
        workers: Some of ``WORKERS``.
    """

    def __init__(self, folder: Path, *, workers: Sequence[str] = WORKERS) -> None:
        self._folder = folder
        self.workers = tuple(workers)
        self.lab = Lab(folder / "lab", {name: ADDRESSES[name] for name in ("site", "manager", *workers)})
        self._stack = ExitStack()
        self._daemons: dict[str, Daemon] = {}

    def docker(self, *argv: str) -> str:
        """Run the manager's docker client and return what it printed."""
        return self.lab.node("manager").run(DOCKER, *argv).stdout.decode().strip()

    def address(self, name: str) -> str:
        """Return what site.toml calls a node."""
        return f"{ADDRESSES[name]}:{PORT}"

    def stop(self, name: str) -> None:
        """Stop Docker on a node, and every task there with it."""
        self._daemons[name].stop()

    def start(self, name: str) -> None:
        """Start Docker on a node again."""
        self._daemons[name].start()

    def cluster(self, *, manager: str = "manager", stalled_after_seconds: int = 60) -> Cluster:
        """Return the product's own cluster, wired from a site file."""
        text = _SITE.format(manager=manager, stalled=stalled_after_seconds)
        for name in ("manager", *self.workers, "site"):
            role = "volume" if name in self.workers else "filer" if name == "manager" else "app"
            prefix = json.dumps(self.lab.node(name).prefix)
            text += _NODE.format(name=name, role=role, address=self.address(name), prefix=prefix)
        site = parse_site(text.encode(), name="site.toml")
        return make_cluster(site, lambda node: CommandTransport(node.name, node.transport.command or ()))

    def close(self) -> None:
        """End everything; its processes die with the nodes' namespaces."""
        self._stack.close()

    def open(self) -> None:
        """Bring every Docker up, and join them."""
        self._stack.callback(self._forget)
        self._stack.enter_context(self.lab)
        image = self._folder / "image.tar"
        make_docker_archive(image, [IMAGE], [layer_tar({"bin/sleep": Path("/bin/busybox").read_bytes()})])
        for name in ("manager", *self.workers):
            self._daemons[name] = Daemon(self.lab.node(name), self._folder / f"{name}.log")
            self._daemons[name].start()
        for name in ("manager", *self.workers):
            self._daemons[name].wait()
            self.lab.node(name).run(DOCKER, "load", "--quiet", "--input", str(image))
        own = ADDRESSES["manager"]
        # A worker is taken for gone after three heartbeats.
        self.docker(
            *("swarm", "init", "--advertise-addr", own, "--listen-addr", f"{own}:2377"),
            *("--availability", "drain", "--dispatcher-heartbeat", "1s"),
        )
        token = self.docker("swarm", "join-token", "--quiet", "worker")
        for name in self.workers:
            address = ADDRESSES[name]
            join = ("swarm", "join", "--token", token, "--advertise-addr", address, "--listen-addr", f"{address}:2377")
            self.lab.node(name).run(DOCKER, *join, f"{own}:2377")
        self.docker("service", "create", "--name", "agent", "--mode", "global", *_SERVICE, IMAGE, "sleep", "1000000")
        self.docker("service", "create", "--name", "api", "--replicas", "3", *_SERVICE, IMAGE, "sleep", "1000000")

    def tied_service(self, name: str, *options: str) -> None:
        """Make a service that can run on the first worker only."""
        where = ("--constraint", "node.hostname==w-1")
        self.docker("service", "create", "--name", name, *where, *options, *_SERVICE, IMAGE, "sleep", "1000000")

    def _forget(self) -> None:
        for daemon in self._daemons.values():
            daemon.forget()
