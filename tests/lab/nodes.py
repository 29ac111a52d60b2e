"""Machines for tests and the demo: namespaces on one kernel, joined by a bridge with no way out.

A ``Lab`` holds named nodes. Each node is one holder process in network, mount, UTS and (servers)
PID namespaces of its own. /opt, /srv and /run are the node's own; the rest of the file system is
the machine's. The bridge lives in a namespace of its own too, so the machine's network is left
as it is, and nothing in the lab has a route out.

Nothing survives the lab. Every holder reads a pipe whose other end only the lab's process has.
When that process ends, even by SIGKILL, the pipe closes, the holder ends, and the kernel ends
every process of its PID namespace and removes its links. The site node has no PID namespace of
its own, since a process may enter only PID namespaces below its own and the installer there has
to enter the others; its holder ends what is left in its network namespace instead.

Needs root, iproute2 and util-linux.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from tests.lab.opened import Opened

OWN_DIRECTORIES = ("opt", "srv", "run", "var/lib/teraferry-node")
START_SECONDS = 20.0
BRIDGE = "br0"
Result = TypeVar("Result")

_SERVER_HOLDER = """
set -e
hostname {name}
{mounts}
ip link set lo up
echo ready
exec env --ignore-signal=CHLD cat >/dev/null
"""
# SIGCHLD ignored: as process 1 the holder inherits orphans, and the kernel then reaps them by itself.
# Not a `read` loop of the shell: dash's own SIGCHLD handler ends the read, and with it the node.

_SITE_HOLDER = """
set -e
hostname {name}
ip link set lo up
echo ready
while read -r line; do :; done
own=$(readlink /proc/$$/ns/net)
for pass in 1 2 3; do
  for process in /proc/[0-9]*; do
    pid=${{process#/proc/}}
    [ "$pid" != $$ ] || continue
    [ "$(readlink "$process/ns/net" 2>/dev/null)" = "$own" ] && kill -KILL "$pid" 2>/dev/null
  done
done
exit 0
"""


class LabError(Exception):
    """The lab could not be set up; the message says which command failed and how."""


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of the lab."""

    name: str
    address: str  # its IPv4 address on the bridge
    folder: Path  # what its /opt, /srv and /run are on this machine: folder/opt ...
    pid: int  # of the holder, in the machine's PID namespace
    own_processes: bool  # has a PID namespace of its own

    @property
    def prefix(self) -> list[str]:
        """Return the argv that runs what follows it on this node."""
        kinds = ["--mount", "--net", "--uts"] + (["--pid"] if self.own_processes else [])
        return ["nsenter", "--target", str(self.pid), *kinds, "--"]

    def run(
        self, *argv: str, stdin: bytes = b"", check: bool = True, timeout_seconds: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        """Run ``argv`` on the node to its end."""
        done = subprocess.run([*self.prefix, *argv], input=stdin, capture_output=True, timeout=timeout_seconds)
        if check and done.returncode:
            raise LabError(f"{self.name}: {shlex.join(argv)}: {done.returncode}, {done.stderr.decode()[-2000:]}")
        return done

    def sh(self, script: str, *, check: bool = True, timeout_seconds: float = 60) -> str:
        """Run a shell script on the node and return what it printed."""
        return self.run("sh", "-c", script, check=check, timeout_seconds=timeout_seconds).stdout.decode()

    def call(self, function: Callable[[], Result]) -> Result:
        """Call ``function`` in a thread of ours that is in this node's network, and return what it returns."""
        outcome: list[Result] = []
        failure: list[BaseException] = []

        def body() -> None:
            try:
                _enter_network(self.pid)
                outcome.append(function())
            except BaseException as error:
                failure.append(error)

        # A thread of its own: a network namespace belongs to a thread, and this one never comes back.
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return outcome[0]

    def start(self, argv: Sequence[str], *, output: Path) -> subprocess.Popen[bytes]:
        """Start ``argv`` on the node as our child; it gets SIGKILL when our process ends."""
        with output.open("ab") as sink:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.prefix, *argv],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )


class Nodes(Protocol):
    """Nodes that somebody else made."""

    def node(self, name: str) -> Node:
        """Return the node called ``name``."""


class Lab(Opened):
    """Nodes on one bridge. Use as a context; ``close`` twice is fine.

    Args:
        folder: Empty or missing folder that holds every node's files; may be left there afterwards.
        nodes: Name -> IPv4 address, all in ``network``.
        site: Name of the node where the installer and the clients run.
    """

    def __init__(self, folder: Path, nodes: dict[str, str], *, site: str = "site", prefix_length: int = 24) -> None:
        self.folder = folder
        self._addresses = dict(nodes)
        self._site = site
        self._prefix_length = prefix_length
        self._nodes: dict[str, Node] = {}
        self._holders: list[subprocess.Popen[bytes]] = []

    def node(self, name: str) -> Node:
        """Return the node called ``name``."""
        return self._nodes[name]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, in the order given."""
        return tuple(self._nodes.values())

    def open(self) -> None:
        """Make every namespace and the network between them."""
        if os.geteuid() != 0:
            raise LabError("the lab: not root, expected root (it makes namespaces)")
        self.folder.mkdir(parents=True, exist_ok=True)
        hub = self._hold(["--net", "--mount", "--uts"], "hostname hub\necho ready\nwhile read -r line; do :; done\n")
        hub_prefix = ["nsenter", "--target", str(hub.pid), "--net", "--"]
        _command([*hub_prefix, "ip", "link", "add", BRIDGE, "type", "bridge"])
        _command([*hub_prefix, "ip", "link", "set", BRIDGE, "up"])
        for name, address in self._addresses.items():
            node = self._make_node(name, address)
            self._nodes[name] = node
            self._connect(hub_prefix, node, len(self._nodes))

    def close(self) -> None:
        """End every namespace and what runs in it."""
        for holder in reversed(self._holders):
            if holder.stdin is not None:
                holder.stdin.close()
        for holder in reversed(self._holders):
            try:
                holder.wait(timeout=START_SECONDS)
            except subprocess.TimeoutExpired:
                holder.kill()
                holder.wait()
            if holder.stdout is not None:
                holder.stdout.close()
        self._holders.clear()
        self._nodes.clear()

    def _make_node(self, name: str, address: str) -> Node:
        folder = self.folder / name
        if name == self._site:
            folder.mkdir(exist_ok=True)
            holder = self._hold(["--net", "--mount", "--uts"], _SITE_HOLDER.format(name=name))
            return Node(name, address, folder, holder.pid, own_processes=False)
        for own in OWN_DIRECTORIES:
            (folder / own).mkdir(parents=True, exist_ok=True)
            (Path("/") / own).mkdir(parents=True, exist_ok=True)  # what it is mounted over
        mounts = "\n".join(f"mount --bind {shlex.quote(str(folder / own))} /{own}" for own in OWN_DIRECTORIES)
        kinds = ["--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc"]
        holder = self._hold(kinds, _SERVER_HOLDER.format(name=name, mounts=mounts))
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
        return Node(name, address, folder, int(children[0]), own_processes=True)

    def _hold(self, kinds: list[str], script: str) -> subprocess.Popen[bytes]:
        """Start a holder and wait until it is ready; only we have the other end of its stdin."""
        holder = subprocess.Popen(
            ["unshare", *kinds, "--", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C on the terminal is for the tests; the lab ends when they are through.
            start_new_session=True,
        )
        self._holders.append(holder)
        if holder.stdout is None or holder.stdout.readline() != b"ready\n":
            raise LabError(f"unshare {' '.join(kinds)}: ended with {holder.poll()}, expected a namespace")
        return holder

    def _connect(self, hub_prefix: list[str], node: Node, number: int) -> None:
        link = f"n{number}"
        peer = ["peer", "name", "eth0", "netns", str(node.pid)]
        _command([*hub_prefix, "ip", "link", "add", link, "type", "veth", *peer])
        _command([*hub_prefix, "ip", "link", "set", link, "master", BRIDGE, "up"])
        node.run("ip", "addr", "add", f"{node.address}/{self._prefix_length}", "dev", "eth0")
        node.run("ip", "link", "set", "eth0", "up")


def _enter_network(pid: int) -> None:
    with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0):
            raise OSError(ctypes.get_errno(), f"setns to the network of process {pid}")


def _command(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True)
    if done.returncode:
        raise LabError(f"{shlex.join(argv)}: {done.returncode}, {done.stderr.decode().strip()}")


def wait_until(what: str, condition: Callable[[], bool], *, seconds: float = 60.0, every_seconds: float = 0.1) -> None:
    """Poll ``condition`` until it is true.

    Raises:
        LabError: It was not within ``seconds``; names ``what`` and the last exception.
    """
    deadline = time.monotonic() + seconds
    last: Exception | None = None
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except Exception as error:
            last = error
        time.sleep(every_seconds)
    raise LabError(f"{what}: not within {seconds} s; last error: {last!r}")
