"""A real HAProxy on the gateway of ``tests.lab.gateway``: the site's own, with the lines that the switch turns.

It owns the virtual address meanwhile, and blue and green see the connections come from the gateway.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from teraferry.installer.adapters.traffic.haproxy import HaproxyFiles, HaproxySwitch
from teraferry.installer.adapters.traffic.haproxy_layout import backend_name, map_text
from teraferry.installer.adapters.traffic.sides import SIDES, endpoints
from teraferry.installer.ports import NodeTransport
from tests.lab.gateway import VIRTUAL, GatewayLab, virtual_address
from tests.lab.nodes import LabError, wait_until

HAPROXY_FILES = HaproxyFiles(socket="/srv/haproxy/admin.sock", map="/srv/haproxy/teraferry.map")
CONFIGURATION = "/srv/haproxy/haproxy.cfg"
PID_FILE = "/srv/haproxy/haproxy.pid"


_START = f"ulimit -n 20000; haproxy -W -D -p {PID_FILE} -f {CONFIGURATION} >/srv/haproxy/log 2>&1"

_KILL = "while pids=$(pidof haproxy); do kill -KILL $pids 2>/dev/null; sleep 0.01; done; true"
# The node has processes of its own, so no other HAProxy is among them.


@pytest.fixture
def haproxy(gateway_lab: GatewayLab) -> Iterator[HaproxyLab]:
    """A HAProxy that was started a moment ago, and stands at blue; ``tests/conftest.py`` hands it to every test."""
    gateway_lab.wipe()
    lab = HaproxyLab(gateway_lab)
    lab.open()
    yield lab
    lab.close()


class HaproxyLab:
    """One HAProxy on the gateway, and what is done to it."""

    def __init__(self, lab: GatewayLab) -> None:
        self.lab = lab
        self.gateway = lab.gateway

    def switch(self, transport: NodeTransport | None = None) -> HaproxySwitch:
        """Return the switch, as an installer that just started has it."""
        return HaproxySwitch(transport or self.lab.transport(), virtual_address(), files=HAPROXY_FILES)

    def open(self) -> None:
        """Start it as a site does that was set up at blue: the file of the map is there before it."""
        files = f"cat >{CONFIGURATION}; printf %s {shlex.quote(map_text('blue'))} >{HAPROXY_FILES.map}"
        script = f"ip addr replace {VIRTUAL}/32 dev lo; rm -rf /srv/haproxy; mkdir /srv/haproxy; {files}; {_START}"
        self.gateway.run("sh", "-ec", script, stdin=configuration().encode())

    def start(self) -> None:
        """Start it; it lives on in the node as a service does."""
        self.gateway.sh(_START)

    def kill(self) -> None:
        """End it and all its processes at once."""
        self.gateway.sh(_KILL)

    def reload(self) -> None:
        """Have it read its files again; the process before it serves on what it has."""
        before = self._worker()
        self.gateway.sh(f"kill -USR2 $(cat {PID_FILE})")
        wait_until("another process to answer", lambda: self._worker() not in ("", before))

    def reboot(self) -> None:
        """The node forgets what is in memory, then starts what is enabled."""
        self.kill()
        self.start()

    def ask(self, *commands: str) -> str:
        """Say something to the runtime API, as an admin would."""
        script = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "s.sendall(sys.argv[2].encode() + b'\\n'); print(b''.join(iter(lambda: s.recv(65536), b'')).decode())"
        )
        return self.gateway.run("python3", "-c", script, HAPROXY_FILES.socket, ";".join(commands)).stdout.decode()

    def close(self) -> None:
        """End it, and leave the gateway as it was."""
        self.gateway.sh(f"ip addr del {VIRTUAL}/32 dev lo; {_KILL}")

    def _worker(self) -> str:
        try:
            said = self.ask("show info")
        except LabError:
            return ""
        return next(line for line in said.splitlines() if line.startswith("Pid: "))


def configuration() -> str:
    """Return a haproxy.cfg with the lines of ``docs/rollout.md`` for each service."""
    lines = [
        "global",
        f"    stats socket {HAPROXY_FILES.socket} mode 600 level admin expose-fd listeners",
        "    maxconn 8000",
        "defaults",
        "    mode tcp",
        "    timeout connect 5s",
        "    timeout client 1h",
        "    timeout server 1h",
    ]
    virtual = virtual_address()
    for service in virtual.services:
        port = service.port
        lines += [
            f"frontend app_{port}",
            f"    bind {VIRTUAL}:{port}",
            f"    use_backend teraferry_%[str(active),map({HAPROXY_FILES.map})]_{port}",
        ]
    for side in SIDES:
        for port, end in endpoints(virtual, side):
            lines += [f"backend {backend_name(side, port)}", f"    server one {end.address}:{end.port} check"]
    return "\n".join(lines) + "\n"
