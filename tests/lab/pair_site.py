"""A tier 2 site for tests: blue, green and a gateway between namespaces, and an admin who types the product's commands.

The switch is nftables or HAProxy on the gateway, the nodes run a real program that a release replaces, replication is a
site's own program. Clients write nothing here; they are connected, and notice every error.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from teraferry.builder.kit import Kit
from teraferry.bundles.digest import Digest, digest_of
from teraferry.installer.blue_green_ports import TrafficSwitch
from teraferry.installer.cli_blue_green import make_switch
from teraferry.installer.site.load import parse_site
from teraferry.keys.tuf_metadata import Root, fingerprint_of, parse_metadata
from tests.fakes.replicator import FakeReplicator, load
from tests.fakes.site_program import store
from tests.lab.gateway import BLUE, GREEN, PORTS, REPOSITORY, VIRTUAL, GatewayLab
from tests.lab.haproxy import HAPROXY_FILES, HaproxyLab
from tests.lab.house import PRODUCT, House
from tests.lab.nodes import Lab, Node
from tests.lab.opened import Opened
from tests.lab.registry import LabRegistry
from tests.lab.secops import Answer
from tests.lab.site import LabSite, type_at
from tests.lab.weed import Service, install_service

SOURCE = (sys.executable, "-m", "teraferry.installer.cli")
REGISTRY_PORT = 5000
DEAD_MAN_SECONDS = 10
"""Long enough for a busy machine to renew in, and to answer a check in."""
SLEEP = "/bin/sleep"

Event = dict[str, Any]


class ClientAsSite:
    """The gateway lab's nodes by the names that other labs have for them: who types and connects is on ``site``."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def node(self, name: str) -> Node:
        """Return the node of that name."""
        return self._lab.node({"site": "client"}.get(name, name))


class PairLab(Opened):
    """Two clusters of one node each. Use as a context.

    Args:
        gateway: The nodes; its client node is where the admin sits.
        folder: For keys, kits, state and the site file.
        engine: What turns traffic, "nftables" or "haproxy".
    """

    def __init__(self, gateway: GatewayLab, folder: Path, *, engine: str = "nftables") -> None:
        self.gateway = gateway
        self.folder = folder
        self.haproxy = HaproxyLab(gateway) if engine == "haproxy" else None
        self.window = {"seconds": 3, "every_seconds": 3, "latency_p99_ms": 2400}
        self.cut_after = ""
        self.installer: tuple[str, ...] = SOURCE
        self.node = gateway.lab.node("client")
        self.replication = folder / "replication.json"
        self.site_file = folder / "site.toml"
        self.house = House(folder / "house")
        self.services = {name: Service(gateway.lab.node(name), "app", "/opt/app") for name in ("blue", "green")}
        self.registry = LabRegistry(
            folder / "registry",
            host="127.0.0.1",
            port=REGISTRY_PORT,
            tls=False,
            with_password=False,
            prefix=self.node.prefix,
        )

    def open(self) -> None:
        """Bring the site up, with a program that no release brought, and pin the root that came on paper."""
        # The switch keeps files in /etc, which is the machine's own.
        self.gateway.gateway.sh("cp -a /etc /srv/own-etc && mount --bind /srv/own-etc /etc")
        if self.haproxy is not None:
            self.haproxy.open()
        self.start_services()
        self.registry.start()
        store(FakeReplicator(), self.replication)
        self.house.open(now=datetime.now(UTC) - timedelta(hours=1))
        self.watches()
        fingerprint = fingerprint_of(parse_metadata(Root, self.house.root, what="root"))
        root = self.house.folder / "trust" / "1.root.json"
        answer = self.type("trust", "pin", str(root), "--fingerprint", fingerprint)
        if answer.status:
            raise RuntimeError(answer.stderr)

    def watches(self, **window: int) -> None:
        """Write site.toml, with another window after the cutover if that is said."""
        self.window.update(window)
        self._write_site()

    def cuts(self, after: str) -> None:
        """Write site.toml so that connections are cut that long after a cutover; never with ""."""
        self.cut_after = after
        self._write_site()

    def _write_site(self) -> None:
        self.site_file.write_text(self.site_toml())
        parse_site(self.site_file.read_bytes(), name="site.toml", tier="2")

    def start_services(self) -> None:
        """Have every node run a program."""
        for service in self.services.values():
            install_service(service, Path(SLEEP), "100000")
            service.start()

    def close(self) -> None:
        """End what does not end with the nodes."""
        if self.haproxy is not None:
            self.haproxy.close()
        self.registry.stop()

    def kit(self, version: str) -> tuple[Path, Digest]:
        """Return a signed kit, and the digest of its program: the same one, told apart by what lies behind it."""
        program = Path(SLEEP).read_bytes() + version.encode()
        self.sign(self.house.build(version, files={"bin/app": program}))
        return self.house.folder / f"{PRODUCT}-{version}", digest_of(program)

    def sign(self, kit: Kit) -> None:
        """Sign a kit as of a minute ago."""
        self.house.sign(kit, "release-1", "release-2", now=datetime.now(UTC) - timedelta(minutes=1))

    def replicator(self) -> FakeReplicator:
        """Return what replication has seen."""
        return load(self.replication)

    def switch(self) -> TrafficSwitch:
        """Return the site's switch: it has to be set up before anybody can be sent anywhere."""
        return make_switch(parse_site(self.site_file.read_bytes(), name="site.toml", tier="2"))

    def type(self, *words: str, on_event: Callable[[Event, subprocess.Popen[bytes]], None] | None = None) -> Answer:
        """Type a command of the installer as the admin; ``on_event`` sees each line, and may end the process."""
        argv = [*self.installer, "--site", str(self.site_file), "--state", str(self.folder / "state"), *words]
        return type_at(self.node, LabSite.argv(*argv, tier="2"), on_event=on_event)

    def install(self, kit: Path, *more: str, on_event: Callable[[Event], None] | None = None) -> Answer:
        """Type ``install``."""
        told = None if on_event is None else lambda event, _: on_event(event)
        return self.type("install", str(kit), "--yes", *more, on_event=told)

    def install_killed_at(self, kit: Path, action: str) -> None:
        """Type ``install``, and kill its process as soon as it says that it is at a step."""

        def kill(event: Event, process: subprocess.Popen[bytes]) -> None:
            if event.get("event") == "step" and event.get("action") == action:
                process.send_signal(signal.SIGKILL)

        self.type("install", str(kit), "--yes", "--foreground", on_event=kill)

    def breaks(self, cluster: str, *, broken: bool = True) -> None:
        """Have the application of a cluster say that it is not well, or that it is."""
        self.gateway.lab.node(cluster).sh("touch /srv/broken" if broken else "rm -f /srv/broken")

    def tables(self) -> dict[str, Any]:
        """Return what differs between sites of this kind."""
        python = [sys.executable, "-m", "tests.fakes.replicator", str(self.replication)]
        addresses = {"blue": f"{BLUE}:8000", "green": f"{GREEN}:8000"}
        return {
            "role": "app",
            "file": "bin/app",
            "addresses": addresses,
            "replicated": addresses,
            "virtual_ip": f"{VIRTUAL}:{PORTS[0]}",
            "health": "http://{active}/health",
            "replication": f'engine = "command"\nwriters = "two"\n'
            f"command = {words(['env', '-C', str(REPOSITORY), *python])}\nstalled_after_seconds = 20",
        }

    def site_toml(self) -> str:
        """Return the site file, as the admin would have it."""
        its = self.tables()
        probe = ["sh", "-c", f"cat {self.folder}/holds.json"]
        (self.folder / "holds.json").write_text('{"holds": 0}')
        nodes = [("gateway-1", "gateway", "gateway", "10.78.0.3:22")]
        nodes += [(f"{name}-1", its["role"], name, address) for name, address in its["addresses"].items()]
        service = self.services["blue"]
        blue, green = its["addresses"].values()
        return "\n".join(
            [
                '[site]\nname = "lab-pair"',
                f'[registry]\nurl = "http://127.0.0.1:{REGISTRY_PORT}"',
                *(
                    f'[[node]]\nname = "{name}"\nrole = "{role}"\naddress = "{address}"\n'
                    f"transport = {{ command = {words(self.gateway.lab.node(node).prefix)} }}"
                    for name, role, node, address in nodes
                ),
                f'[[deploy]]\nfile = "{its["file"]}"\nrole = "{its["role"]}"\nworkload = "binary"',
                f'path = "{service.program}"',
                f"start = {words(service.start_argv)}\nstop = {words(service.stop_argv)}",
                '[green]\nnodes = ["green-1"]',
                f'[traffic]\nnode = "gateway-1"\nvirtual_ip = "{its["virtual_ip"]}"\n{self._engine()}',
                f'blue = "{blue}"\ngreen = "{green}"',
                *([f'cut_after = "{self.cut_after}"'] if self.cut_after else []),
                f'[monitor]\nhealth = "{its["health"]}"\nerror_rate_max = 0',
                *(f"{name} = {number}" for name, number in self.window.items()),
                *("[replication]", *(f'{name} = "{address}"' for name, address in its["replicated"].items())),
                its["replication"],
                "[compliance]",
                *(
                    f'{name} = {{ command = {words(probe)}, pass_when = {{ field = "holds", equals = 0 }} }}'
                    for name in ("legal_hold", "audit_export")
                ),
            ]
        )

    def _engine(self) -> str:
        if self.haproxy is None:
            return f'engine = "nftables"\ndead_man = "{DEAD_MAN_SECONDS}s"'
        return f'engine = "haproxy"\ndead_man = "none"\nsocket = "{HAPROXY_FILES.socket}"\nmap = "{HAPROXY_FILES.map}"'


def words(argv: list[str] | tuple[str, ...]) -> str:
    """Return a command as site.toml writes it."""
    return json.dumps(list(argv))
