"""A site without a registry, and kits that bring one: Debian's docker-registry as a file of the release.

Two machines of the lab: the site, where the installer sets the registry up, and a puller, which is what a node
is to a registry: it knows a name, a CA and a password. Both know the name from their own /etc/hosts.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from teraferry.builder.kit import locate_kit
from teraferry.bundles.progress import Silent
from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.cli_kit_registry import make_kit_registry
from teraferry.installer.cli_wiring import Place
from teraferry.installer.kit_registry.bring_up import KitRegistry
from teraferry.installer.ports import Entry
from teraferry.installer.site.load import load_site
from teraferry.installer.verify import VerifiedBundle, open_bundle
from tests.lab.admin import Admin, make_house
from tests.lab.builds import file_table, image_table, locked, teraferry, write_recipe
from tests.lab.house import House
from tests.lab.images import layer_tar, make_oci_layout, random_bytes
from tests.lab.nodes import Lab, Node
from tests.lab.secops import Answer

NAME = "registry.lab"
ADDRESS = "10.81.0.2"
PORT = 5000
USER = "loader"
IMAGE = "terachat/api"
PROGRAM = Path(shutil.which("docker-registry") or "/usr/bin/docker-registry")


def make_kit(house: House, version: str, program: bytes | None, *, installer: Path | None = None) -> Path:
    """Return a signed kit with one image, whose layer is the version's own, one program, and perhaps a registry."""
    project = house.folder / f"project-{version}"
    release = f'[release]\nproduct = "terachat"\nversion = "{version}"\n'
    text = release + image_table(IMAGE, "oci:images:api") + file_table("bin/app", "app", "0755")
    if program is not None:
        text += file_table("bin/registry", "registry", "0755")
    write_recipe(project, text)
    layer = random_bytes(300_000, seed=sum(map(ord, version)))
    make_oci_layout(project / "images", "api", [layer_tar({"opt/app": layer})])
    (project / "app").write_bytes(Path("/bin/sleep").read_bytes() + version.encode())
    if program is not None:
        (project / "registry").write_bytes(program)
    kit = house.folder / f"terachat-{version}"
    built = teraferry("build", locked(project), "-o", kit, "--installer", installer or project / "teraferry-installer")
    if built.status:
        raise AssertionError(built.stderr)
    house.sign(locate_kit(kit), "release-1", "release-2", now=datetime.now(UTC))
    return kit


class KitRegistryLab:
    """The two machines. Use as a context."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lab = Lab(folder / "lab", {"site": ADDRESS, "puller": "10.81.0.3"})

    def __enter__(self) -> KitRegistryLab:
        self.lab.open()
        hosts = self.folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n{ADDRESS} {NAME}\n")
        for node in self.lab.nodes:
            node.run("mount", "--bind", str(hosts), "/etc/hosts")
        # The locks that installs leave on nodes, and where they meet their followers, are the machine's own.
        self.node.sh("mkdir -p /run/teraferry /var/lib/teraferry-node")
        self.node.sh("for own in /run/teraferry /var/lib/teraferry-node; do mount -t tmpfs -o mode=755 own $own; done")
        return self

    def __exit__(self, *_: object) -> None:
        self.lab.close()

    @property
    def node(self) -> Node:
        """The machine that becomes the registry."""
        return self.lab.node("site")

    @property
    def puller(self) -> Node:
        """A machine that pulls."""
        return self.lab.node("puller")


BROKEN = b"#!/bin/sh\nexit 1\n"
PROGRAMS = {"old": PROGRAM.read_bytes(), "new": PROGRAM.read_bytes() + b"another build", "broken": BROKEN}


@dataclass(frozen=True)
class Kits:
    """Signed kits, "old", "new", "broken" and "without" by their registry program."""

    house: House
    paths: dict[str, Path]

    def bundle(self, name: str) -> VerifiedBundle:
        """Return the bundle of a kit, as an installer opens it."""
        return open_kit(self.house, self.paths[name])


@cache
def kits_in(folder: Path) -> Kits:
    """Return the kits, made once for all tests of a process: each takes a second."""
    house = make_house(folder)
    programs = {**PROGRAMS, "without": None}
    return Kits(house, {name: make_kit(house, f"1.{n}.0", each) for n, (name, each) in enumerate(programs.items())})


def open_kit(house: House, kit: Path) -> VerifiedBundle:
    """Return a kit's bundle as an installer opens it."""
    now = datetime.now(UTC)
    return open_bundle(kit, house.judge(locate_kit(kit), now=now), whole=False, progress=Silent())


@dataclass
class KitSite:
    """One site of the lab, in a folder of its own. End it with ``end``: what it started outlives its commands."""

    lab: KitRegistryLab
    folder: Path
    host: str = NAME
    port: int = PORT
    more: str = ""  # lines of [registry.service]

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = self.folder / "data"
        self.settings = self.folder / "settings"
        self.program = self.folder / "opt" / "registry"
        self.ca = self.folder / "registry-ca.pem"
        self.password = self.folder / "registry.password"
        self.log = self.folder / "registry.log"
        self.pid_file = self.folder / "registry.pid"
        self.write_site()

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"

    @property
    def start(self) -> list[str]:
        """As a site without systemd would have it; not by start-stop-daemon, which would take a process that ended
        for one that runs, until this machine's process 1 reaps it."""
        serve = f"setsid {self.program} serve {self.settings / 'config.yml'} >>{self.log} 2>&1 </dev/null"
        return ["sh", "-c", f"{serve} & echo $! >{self.pid_file}"]

    @property
    def stop(self) -> list[str]:
        return ["sh", "-c", f"kill $(cat {self.pid_file}) || true"]

    def write_site(self) -> None:
        """Write the site file, as the admin would have it."""
        self.site.write_text(self.text())
        self.site.chmod(0o644)

    def text(self) -> str:
        lines = ['[site]\nname = "lab-dc1"\ntier = "1"', f'[registry]\nurl = "{self.url}"\nca = "{self.ca}"']
        lines += [f'credentials = {{ user = "{USER}", password_file = "{self.password}" }}']
        lines += [f'[registry.service]\nfile = "bin/registry"\npath = "{self.program}"\ndata = "{self.data}"']
        lines += [f'settings = "{self.settings}"\nstart = {_words(self.start)}\nstop = {_words(self.stop)}', self.more]
        return "\n".join([*lines, self.rollout()]) + "\n"

    def rollout(self) -> str:
        """Return the rest: one node of a cluster that says of itself that it is well, and what runs there."""
        app, pid = self.folder / "app", self.folder / "app.pid"
        yes = 'command = ["echo", \'{"ok": true}\'], pass_when = { field = "ok", equals = true }'
        lines = ['[cluster]\nengine = "command"\nmode = "quick"\nsoak_seconds = 0']
        lines += [f"health = [{{ {yes} }}]\nnode_in = {{ {yes} }}", 'leave = { command = ["true"] }']
        lines += ['[[node]]\nname = "vol-1"\nrole = "volume"\naddress = "127.77.0.1:18080"']
        lines += ['transport = { local = true }\n[[node]]\nname = "app-1"\nrole = "app"\naddress = "127.77.0.1:8080"']
        lines += ['transport = { local = true }\n[[deploy]]\nfile = "bin/app"\nrole = "app"\nworkload = "binary"']
        start = ["sh", "-c", f"setsid {app} 1000 >/dev/null 2>&1 </dev/null & echo $! >{pid}"]
        stop = ["sh", "-c", f"kill $(cat {pid}) || true"]
        return "\n".join([*lines, f'path = "{app}"\nstart = {_words(start)}\nstop = {_words(stop)}'])

    @property
    def site(self) -> Path:
        return self.folder / "site.toml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def admin(self) -> Admin:
        """Types commands on the machine."""
        admin = Admin.__new__(Admin)
        admin.folder, admin.environment = self.folder, {}
        admin.installer = (*self.lab.node.prefix, sys.executable, "-m", "teraferry.installer.cli")
        return admin

    def type(self, *words: str | Path) -> Answer:
        return self.admin.type(*words)

    def registry(self) -> KitRegistry:
        """Return the registry as a command of this process has it; call it by ``call``."""
        site, place = load_site(self.site, kit=None), Place(self.site, self.state)
        self.state.mkdir(mode=0o700, exist_ok=True)
        made = make_kit_registry(site, place, Silent(), journal=place.journal())
        assert made is not None
        service = replace(made.parts.service, gone_seconds=0.5, come_up_seconds=2)
        return KitRegistry(replace(made.parts, service=service))

    def bring_up(self, bundle: VerifiedBundle) -> bool:
        """Bring the registry up from this process, in the machine's network."""
        return self.lab.node.call(lambda: self.registry().bring_up(bundle))

    def entries(self, event: str) -> list[Entry]:
        """Return the entries of the journal with that event."""
        return [entry for entry in FileJournal(self.state / "journal.jsonl").replay() if entry.event == event]

    def events(self) -> list[str]:
        """Return what the journal says was done, in order, as ``event step``."""
        entries = FileJournal(self.state / "journal.jsonl").replay()
        return [f"{entry.event} {entry.step}".strip() for entry in entries]

    def running(self) -> bytes:
        """Return the program that runs now, from its own process."""
        return Path(f"/proc/{int(self.pid_file.read_text())}/exe").read_bytes()

    def skopeo(self, *words: str, password: str | None = None, check: bool = True) -> str:
        """Run skopeo on the puller, with the CA and the password that were made."""
        certificates = self.folder / "puller-certs"
        certificates.mkdir(exist_ok=True)
        shutil.copyfile(self.ca, certificates / "ca.crt")
        secret = self.password.read_text().strip() if password is None else password
        login = ["--creds", f"{USER}:{secret}", "--cert-dir", str(certificates)]
        done = self.lab.puller.run("skopeo", words[0], *login, *words[1:], check=check)
        return (done.stdout + done.stderr).decode()

    def digest_of(self, version: str) -> str:
        """Return the digest that the registry serves for the image of a version."""
        return self.skopeo(
            "inspect", "--format", "{{.Digest}}", f"docker://{self.host}:{self.port}/{IMAGE}:{version}"
        ).strip()

    def kept(self) -> dict[str, bytes]:
        """Return what no upgrade may touch: keys, CA, password."""
        names = [
            self.ca,
            self.password,
            *(self.settings / name for name in ("ca.key", "server.key", "server.pem", "htpasswd")),
        ]
        return {path.name: path.read_bytes() for path in names}

    def end(self) -> None:
        """Stop what serves."""
        self.lab.node.run(*self.stop, check=False)


def _words(argv: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in argv) + "]"
