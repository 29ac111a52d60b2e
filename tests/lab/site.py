"""An isolated site for tests and the demo: a cluster, a registry, a state folder, and no route out.

The site node sees the machine's files but has its own /media (noexec, as sticks are mounted),
/var/lib and /etc/teraferry, so that what is typed there is what an admin types.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.lab.nodes import Lab, LabError, Node
from tests.lab.opened import Opened
from tests.lab.registry import LabRegistry
from tests.lab.secops import Answer, parse_answer
from tests.lab.weed import ADDRESSES, FILER_PORT, MASTER_PORT, VOLUME_NODES, VOLUME_PORT, WeedCluster

REGISTRY_PORT = 5000
STATE = Path("/var/lib/teraferry")
SITE_FILE = Path("/etc/teraferry/site.toml")
MEDIUM = Path("/media/stick")


def by_command(node: Node) -> str:
    """Return what site.toml says of a node that is entered by a command."""
    words = ", ".join(f'"{word}"' for word in node.prefix)
    return f"{{ command = [{words}] }}"


class LabSite(Opened):
    """One site of the lab. Use as a context."""

    def __init__(
        self, folder: Path, *, weed: Path, soak_seconds: int = 0, newer: Mapping[str, Path] | None = None
    ) -> None:
        self.folder = folder
        self.lab = Lab(folder / "lab", dict(ADDRESSES))
        self._weed = weed
        self._newer = newer
        self.soak_seconds = soak_seconds
        self.cluster: WeedCluster
        self.registry: LabRegistry

    @property
    def node(self) -> Node:
        """The node where the admin sits."""
        return self.lab.node("site")

    def open(self) -> None:
        """Bring the site up; the cluster runs the version given, and holds no data yet."""
        self.lab.open()
        own = self.folder / "site"
        for name in ("var-lib", "etc-teraferry"):
            (own / name).mkdir(parents=True)
        self.node.sh(
            f"mount --bind {own / 'var-lib'} /var/lib\n"
            "mkdir -p /media && mount -t tmpfs -o noexec,nosuid,nodev,mode=755 stick /media && mkdir /media/stick\n"
            "mount -t tmpfs -o mode=755 run /run\n"
            f"cp -a /etc {own / 'etc'} && mount --bind {own / 'etc'} /etc && mkdir -p /etc/teraferry\n"
        )
        self.etc = own / "etc" / "teraferry"
        self.state = own / "var-lib" / "teraferry"
        self._start_registry()
        self.cluster = WeedCluster(self.lab, program=self._weed, newer=self._newer)
        self.cluster.start()
        self.write_site_toml()

    def close(self) -> None:
        """End everything."""
        if hasattr(self, "registry"):
            self.registry.stop()
        self.lab.close()

    def write_site_toml(self, *, registry_port: int = REGISTRY_PORT, path: Path | None = None, more: str = "") -> None:
        """Write the site file, as the admin would have it."""
        text = self.site_toml(registry_port=registry_port) + more
        target = path or self.etc / "site.toml"
        target.write_text(text)
        target.chmod(0o644)

    def site_toml(self, *, registry_port: int = REGISTRY_PORT, reach: Callable[[Node], str] = by_command) -> str:
        """Return the text of the site file; ``reach`` says how a node is reached."""
        core = ADDRESSES["core"]
        lines = [
            '[site]\nname = "lab-dc1"\ntier = "1"\n',
            f'[registry]\nurl = "https://{ADDRESSES["registry"]}:{registry_port}"\nca = "/etc/teraferry/ca.pem"',
            'credentials = { user = "loader", password_file = "/etc/teraferry/registry.password" }',
            'nodes_pull_above = "16MiB"\n',
            f'[cluster]\nengine = "seaweedfs"\nmasters = ["{core}:{MASTER_PORT}"]\nmode = "safe"',
            f"soak_seconds = {self.soak_seconds}\nstalled_after_seconds = 120",
            f'on_failure = "stop"\nweed = "{self.cluster.master.program}"\n',
        ]
        roles = [("core-master", "master", f"{core}:{MASTER_PORT}", "core")]
        roles += [(name, "volume", f"{ADDRESSES[name]}:{VOLUME_PORT}", name) for name in VOLUME_NODES]
        roles += [("core-filer", "filer", f"{core}:{FILER_PORT}", "core")]
        for name, role, address, node in roles:
            lines.append(f'[[node]]\nname = "{name}"\nrole = "{role}"\naddress = "{address}"')
            lines.append(f"transport = {reach(self.lab.node(node))}\n")
        for service in (self.cluster.filer, self.cluster.volumes[VOLUME_NODES[0]]):
            words = {key: ", ".join(f'"{w}"' for w in getattr(service, f"{key}_argv")) for key in ("start", "stop")}
            lines.append(f'[[deploy]]\nfile = "bin/weed"\nrole = "{service.role}"\nworkload = "binary"')
            lines.append(f'path = "{service.program}"\nstop = [{words["stop"]}]\nstart = [{words["start"]}]\n')
        return "\n".join(lines)

    def type(
        self,
        *argv: str,
        tier: str | None = "1",
        timeout_seconds: float = 900,
        on_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> Answer:
        """Run an installer command line at the site, as root, and return what it said.

        Args:
            argv: The command line; ``--json`` is added.
            tier: DEPLOYMENT_TIER, None for none.
            timeout_seconds: Ends the command when it takes longer.
            on_event: Called with each JSON line as it comes.
        """
        told = None if on_event is None else lambda event, _: on_event(event)
        return type_at(self.node, self.argv(*argv, tier=tier), timeout_seconds=timeout_seconds, on_event=told)

    @staticmethod
    def argv(*argv: str, tier: str | None = "1") -> list[str]:
        """Return the whole command line, with ``--json`` and the tier."""
        environment = ["env", "-u", "DEPLOYMENT_TIER", *([f"DEPLOYMENT_TIER={tier}"] if tier else [])]
        return [*environment, *argv, "--json"]

    def pin(self, installer: Sequence[str], root: Path, fingerprint: str) -> None:
        """Trust ``root``, a file of this machine, by the fingerprint that came on paper.

        Raises:
            LabError: It was refused.
        """
        copy = self.etc / "root-from-paper.json"
        copy.write_bytes(root.read_bytes())
        there = SITE_FILE.parent / copy.name
        answer = self.type(*installer, "trust", "pin", str(there), "--fingerprint", fingerprint)
        if answer.status:
            raise LabError(f"trust pin: {answer.status}, {answer.stderr}")

    def carry(self, kit: Path, *, name: str | None = None) -> Path:
        """Copy a kit onto the stick, and return where the site sees it."""
        there = MEDIUM / (name or kit.name)
        self.node.run(
            "sh", "-c", f"mkdir -p {there.parent} && rm -rf {there} && cp -r {kit} {there}", timeout_seconds=300
        )
        return there

    def forget(self, there: Path) -> None:
        """Take a kit off the stick."""
        self.node.run("rm", "-rf", str(there))

    def digests(self) -> dict[str, str]:
        """Return one digest each of registry, nodes and state, to compare before and after a refusal."""
        registry = self.registry.storage
        nodes = {
            str(path.relative_to(self.lab.folder)): _entry(path)
            for node in self.lab.nodes
            if (node.folder / "opt").is_dir()
            for path in sorted((node.folder / "opt").rglob("*"))
            if path.name != "log" and "/work/" not in str(path)
        }
        return {
            "registry": _tree(registry) if registry else "",
            "nodes": hashlib.sha256(repr(sorted(nodes.items())).encode()).hexdigest(),
            "state": _tree(self.state, skip=("installer", "installers")),
        }

    def _start_registry(self) -> None:
        node = self.lab.node("registry")
        self.registry = LabRegistry(
            self.folder / "registry", host=node.address, port=REGISTRY_PORT, tls=True, prefix=node.prefix
        )
        self.registry.start()
        for source, name in ((self.registry.ca_file, "ca.pem"), (self.registry.password_file, "registry.password")):
            target = self.etc / name
            target.write_bytes(Path(source).read_bytes())
            target.chmod(0o600)


def type_at(
    node: Node,
    argv: list[str],
    *,
    timeout_seconds: float = 900,
    on_event: Callable[[dict[str, Any], subprocess.Popen[bytes]], None] | None = None,
) -> Answer:
    """Run a command line on a node and return what it said.

    Args:
        node: Where the admin sits.
        argv: Whole; see ``LabSite.argv``.
        timeout_seconds: Ends the command when it takes longer.
        on_event: Called with each JSON line as it comes, and the process, which it may end.
    """
    command = [*node.prefix, *argv]
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, stderr=stderr)
        watchdog = threading.Timer(timeout_seconds, process.kill)
        watchdog.start()
        lines = []
        for line in process.stdout or ():
            lines.append(line)
            if on_event is not None and line.startswith(b"{"):
                on_event(json.loads(line), process)
        process.wait()
        watchdog.cancel()
        stderr.seek(0)
        done = subprocess.CompletedProcess(command, process.returncode, b"".join(lines), stderr.read())
    return parse_answer(done)


def _entry(path: Path) -> tuple[str, int, int]:
    status = path.lstat()
    shown = str(path.readlink()) if path.is_symlink() else "folder" if path.is_dir() else "file"
    return (shown, status.st_size if not path.is_dir() else 0, status.st_mtime_ns if shown == "file" else 0)


def _tree(folder: Path, *, skip: tuple[str, ...] = ()) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_dir() or relative.parts[0] in skip:
            continue
        digest.update(f"{relative}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
