"""A gateway between clients and two clusters, on one bridge: what a traffic switch is tried on.

Clients reach the virtual address by the gateway, and blue and green reach the clients by it, as the network address
translation on it needs.
"""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from teraferry.installer.adapters.traffic.nftables import NftablesSwitch, SwitchFiles
from teraferry.installer.adapters.traffic.nftables_layout import UNIT
from teraferry.installer.adapters.traffic.sides import Endpoint, Service, VirtualAddress
from teraferry.installer.adapters.transport.command import CommandTransport
from teraferry.installer.ports import NodeTransport
from tests.lab.nodes import Lab, Node, wait_until
from tests.lab.opened import Opened

REPOSITORY = Path(__file__).parents[2]
CLIENT, GATEWAY, BLUE, GREEN = "10.78.0.2", "10.78.0.3", "10.78.0.11", "10.78.0.12"
VIRTUAL = "10.78.9.1"
PORTS = (80, 443)
ANSWER_SECONDS = 20.0
SERVER_PID = "/run/traffic.pid"
FILES = SwitchFiles(rules="/srv/etc/traffic.nft", units="/srv/etc/units")


def virtual_address() -> VirtualAddress:
    """Return two services; each side's server listens on one port for both."""
    blue, green = Endpoint(IPv4Address(BLUE), 8000), Endpoint(IPv4Address(GREEN), 8000)
    return VirtualAddress(IPv4Address(VIRTUAL), tuple(Service(port, blue, green) for port in PORTS))


@pytest.fixture(scope="module")
def gateway_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayLab]:
    """The nodes of one test module; ``tests/conftest.py`` hands it and ``gateway`` to every test."""
    with GatewayLab(tmp_path_factory.mktemp("gateway")) as lab:
        yield lab


@pytest.fixture
def gateway(gateway_lab: GatewayLab) -> GatewayLab:
    """A gateway that was set up a moment ago, and stands at blue."""
    gateway_lab.wipe()
    gateway_lab.switch().set_up("blue")
    return gateway_lab


class GatewayLab(Opened):
    """Four nodes: client, gateway, and a server each on blue and green that says its name. Use as a context."""

    def __init__(self, folder: Path) -> None:
        addresses = {"client": CLIENT, "gateway": GATEWAY, "blue": BLUE, "green": GREEN}
        self.folder = folder
        self.lab = Lab(folder / "lab", addresses, site="client")
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def gateway(self) -> Node:
        """Return the node whose kernel switches."""
        return self.lab.node("gateway")

    def transport(self) -> NodeTransport:
        """Return the way to the gateway."""
        return CommandTransport("gateway", tuple(self.gateway.prefix))

    def switch(self, transport: NodeTransport | None = None) -> NftablesSwitch:
        """Return the switch on the gateway, as an installer that just started has it."""
        return NftablesSwitch(transport or self.transport(), virtual_address(), files=FILES)

    def answers(self, port: int = PORTS[0]) -> str:
        """Make a new connection to the virtual address and return who answers."""

        def ask() -> str:
            with socket.create_connection((VIRTUAL, port), timeout=ANSWER_SECONDS) as connection:
                connection.sendall(b"who\n")
                return connection.recv(100).decode().strip()

        return self.lab.node("client").call(ask)

    @contextmanager
    def connection(self) -> Iterator[None]:
        """Hold one connection to the virtual address open, answered once."""
        with self.asking() as ask:
            ask()
            yield

    @contextmanager
    def asking(self) -> Iterator[Callable[[], str]]:
        """Hold one connection open, and yield what asks over it who answers."""

        def connect() -> socket.socket:
            return socket.create_connection((VIRTUAL, PORTS[0]), timeout=ANSWER_SECONDS)

        with self.lab.node("client").call(connect) as connection:

            def ask() -> str:
                connection.sendall(b"who\n")
                return connection.recv(100).decode().strip()

            yield ask

    def reboot(self, files: SwitchFiles = FILES) -> None:
        """The kernel forgets every rule; then what is enabled runs, as its unit says.

        In one transaction: a gateway that boots answers nobody before it has its rules.
        """
        rules = "flush ruleset\n"
        for _, option, path in self.enabled_commands(files):
            assert option == "-f", f"{option} {path}: expected a file of rules"
            rules += f'include "{path}"\n'
        self.gateway.run("nft", "-f", "-", stdin=rules.encode())

    def enabled_commands(self, files: SwitchFiles = FILES) -> list[list[str]]:
        """Return what the gateway's boot runs, as the enabled unit says."""
        enabled = self.gateway.sh(f"cat {files.units}/sysinit.target.wants/{UNIT}")
        return [shlex.split(line) for line in re.findall(r"^ExecStart=(.*)$", enabled, re.MULTILINE)]

    def wipe(self) -> None:
        """Make the gateway one that no installer ever saw."""
        self.gateway.sh("nft flush ruleset; rm -rf /srv/etc")

    def start_clients(
        self,
        report: Path,
        *,
        count: int,
        new_per_second: int,
        ask_every_seconds: float,
        port: int = PORTS[0],
        get: str = "",
    ) -> subprocess.Popen[bytes]:
        """Start clients of the virtual address; see ``tests.lab.switch_traffic``."""
        load = ["--open", str(count), "--new-per-second", str(new_per_second), "--ask-every", str(ask_every_seconds)]
        return self._start("client", ["clients", VIRTUAL, str(port), *load, "--report", str(report), "--get", get])

    def freeze(self, side: str) -> None:
        """Stop the server of a side: the kernel still takes connections for it, and nobody answers."""
        self.lab.node(side).sh(f"kill -STOP $(cat {SERVER_PID})")

    def thaw(self, side: str) -> None:
        """Let it go on."""
        self.lab.node(side).sh(f"kill -CONT $(cat {SERVER_PID})")

    def kill(self, side: str) -> None:
        """End the server of a side at once, and every connection with it."""
        self.lab.node(side).sh(f"kill -KILL $(cat {SERVER_PID})")

    def serve(self, side: str) -> None:
        """Start the server of a side."""
        self._start(side, ["server", side, "8000"], before=f"echo $$ >{SERVER_PID}; ")
        address = {"blue": BLUE, "green": GREEN}[side]
        wait_until(f"{side} to listen", lambda: self._listens(address), seconds=30)

    def close(self) -> None:
        """End everything."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()
        self.lab.close()

    def open(self) -> None:
        """Bring the nodes up, and the servers."""
        self.lab.open()
        self.gateway.sh(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0"
        )
        # Past the switch by the gateway as well, as the answers come: an answer to a question that it did not see it
        # takes for one to the client that had the same source port a moment ago, and sends it astray.
        for address in (VIRTUAL, BLUE, GREEN):
            self.lab.node("client").run("ip", "route", "add", address, "via", GATEWAY)
        for side in ("blue", "green"):
            self.lab.node(side).run("ip", "route", "add", CLIENT, "via", GATEWAY)
            self.serve(side)

    def _listens(self, address: str) -> bool:
        def connect() -> bool:
            with socket.create_connection((address, 8000), timeout=ANSWER_SECONDS):
                return True

        # From the gateway: the servers' way back to it is direct.
        return self.gateway.call(connect)

    def _start(self, name: str, arguments: list[str], *, before: str = "") -> subprocess.Popen[bytes]:
        argv = ["env", "-C", str(REPOSITORY), sys.executable, "-m", "tests.lab.switch_traffic", *arguments]
        # The limit on open files is one for the servers' and the clients' many connections.
        argv = ["sh", "-c", f'{before}ulimit -n 20000; exec "$@"', "sh", *argv]
        process = self.lab.node(name).start(argv, output=self.folder / f"{name}.log")
        self._processes.append(process)
        return process
