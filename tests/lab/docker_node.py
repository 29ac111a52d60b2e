"""A node with a Docker of its own and a registry beside it, in a namespace with no way out.

Docker is kept off everything that is not its node's: no bridge, no firewall rule, no forwarding, its data below the
node's folder, its processes in the node's PID namespace. Where the machine has no control groups mounted, version 1 is
mounted for the node alone. Its images are a static busybox for two platforms, under an OCI index.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from teraferry.bundles.digest import Digest, digest_of, hex_of
from teraferry.bundles.manifest import Image, ImagePlatform, Manifest, Release
from teraferry.installer.site.load import parse_site
from teraferry.installer.site.model import Site
from tests.lab.images import layer_tar, make_oci_layout
from tests.lab.nodes import Lab, Node, wait_until
from tests.lab.opened import Opened
from tests.lab.registry import LabRegistry

NODE = "app-1"
IMAGE = "terachat/api"
DOCKER = "/usr/bin/docker"
"""Debian's own: another client may be on the PATH."""

_CGROUPS = """
set -e
[ -e /sys/fs/cgroup/cgroup.controllers ] || [ -d /sys/fs/cgroup/devices ] || {
  mount -t tmpfs cgroup /sys/fs/cgroup
  for group in $(awk '!/^#/ && $4 == 1 { print $1 }' /proc/cgroups); do
    mkdir "/sys/fs/cgroup/$group"
    mount -t cgroup -o "$group" cgroup "/sys/fs/cgroup/$group"
  done
}
"""


_SITE = """\
[site]
name = "hanoi-dc1"
tier = "1"

[registry]
url = "https://{registry}"
ca = "{ca}"
credentials = {{ user = "{user}", password_file = "{password_file}" }}

[cluster]
engine = "seaweedfs"
masters = ["10.0.0.10:9333"]

[[node]]
name = "app-1"
role = "app"
address = "10.0.0.21:8000"
transport = {{ command = {prefix} }}

[[node]]
name = "master-1"
role = "master"
address = "10.0.0.10:9333"
transport = {{ local = true }}
"""


@dataclass(frozen=True)
class LabImage:
    """One image in the lab's registry."""

    digest: Digest  # that it is pulled by
    id: Digest  # what Docker calls its content


class Daemon:
    """Docker on one node.

    Args:
        node: Where it runs, and what its data lie below.
        log: Where it writes.
    """

    def __init__(self, node: Node, log: Path) -> None:
        self._node = node
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._cgroup = f"teraferry-{node.pid}"

    def start(self) -> None:
        """Begin to start it; ``wait`` tells when it answers."""
        self._node.sh(_CGROUPS)
        argv = ["dockerd", "--data-root=/srv/docker", "--exec-root=/run/docker", "--pidfile=/run/docker.pid"]
        argv += ["--host=unix:///var/run/docker.sock", "--bridge=none", "--iptables=false", "--ip6tables=false"]
        argv += ["--ip-forward=false", "--ip-masq=false", f"--cgroup-parent=/{self._cgroup}"]
        self._process = self._node.start(argv, output=self._log)

    def wait(self) -> None:
        """Wait until it answers."""
        wait_until("Docker", lambda: self._node.run(DOCKER, "info", check=False).returncode == 0)

    def stop(self) -> None:
        """Stop it, and what it runs with it. Idempotent."""
        if self._process is not None and self._process.poll() is None:
            self._node.sh("kill $(cat /run/docker.pid)")
            self._process.wait()

    def forget(self) -> None:
        """Remove its control groups, once its node is gone."""
        if self._process is not None:
            self._process.wait()
        # A group can go once the kernel has let go of the last process that was in it.
        wait_until("its control groups to be left", self._forget_groups)

    def _forget_groups(self) -> bool:
        base = Path("/sys/fs/cgroup")
        for group in (*base.glob(f"*/{self._cgroup}"), *base.glob(self._cgroup)):  # version 1, version 2
            for folder in sorted((each for each in (*group.rglob("*"), group) if each.is_dir()), reverse=True):
                folder.rmdir()
        return True


class DockerNode(Opened):
    """One node with Docker and a registry. Use as a context.

    Args:
        folder: Empty or missing; holds everything.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lab = Lab(folder / "lab", {"site": "10.91.0.1", NODE: "10.91.0.2"})
        self._daemon: Daemon | None = None
        self._registry: LabRegistry | None = None

    @property
    def node(self) -> Node:
        """Return the node."""
        return self._lab.node(NODE)

    @property
    def registry(self) -> LabRegistry:
        """Return its registry, which asks for a password."""
        if self._registry is None:
            raise RuntimeError("the node is not open")
        return self._registry

    @property
    def repository(self) -> str:
        """Return what the image is called: host:port/name."""
        return f"{self.registry.host}:{self.registry.port}/{IMAGE}"

    def open(self) -> None:
        """Bring the node up, with Docker and the registry."""
        self._lab.open()
        self._start()

    def close(self) -> None:
        """End everything; its processes die with the node's namespace."""
        if self._registry is not None:
            self._registry.stop()
        self._lab.close()
        if self._daemon is not None:
            self._daemon.forget()

    def docker(self, *argv: str, check: bool = True, stdin: bytes = b"") -> str:
        """Run the node's docker client and return what it printed."""
        return self.node.run(DOCKER, *argv, check=check, stdin=stdin).stdout.decode().strip()

    def push(self, version: str, *, program: str = "bin/sleep") -> LabImage:
        """Return an image that the registry has and this node has not: two platforms, as a release has them.

        ``program`` is where its only program lies, a static busybox.
        """
        layout = self._folder / "images"
        files = {program: Path("/bin/busybox").read_bytes(), "version": version.encode()}
        digest = make_oci_layout(layout, version, [layer_tar(files)], platforms=("linux/amd64", "linux/arm64"))
        (self.node.folder / "run/skopeo.json").write_bytes(self._login_file(self.registry.password))
        self.node.run(
            *("skopeo", "copy", "--quiet", "--all", "--dest-tls-verify=false"),
            *("--dest-authfile=/run/skopeo.json", f"oci:{layout}:{version}", f"docker://{self.repository}:{version}"),
        )
        index = json.loads(_blob(layout, digest))
        rows = {row["platform"]["architecture"]: row["digest"] for row in index["manifests"]}
        config = json.loads(_blob(layout, rows["amd64"]))["config"]["digest"]
        return LabImage(digest, config)

    def forget(self, images: Sequence[LabImage]) -> None:
        """Remove all containers, and these images."""
        containers = self.docker("ps", "--all", "--quiet").split()
        if containers:
            self.docker("rm", "--force", *containers)
        for image in images:
            self.docker("image", "rm", "--force", image.id, check=False)

    def pull_by_hand(self, version: str) -> str:
        """Let the node pull what an admin would, by its tag; return the reference."""
        reference = f"{self.repository}:{version}"
        self.docker("--config", self.login(), "pull", "--quiet", reference)
        return reference

    def login(self) -> str:
        """Log in as an admin would; return the folder of settings that has the password now."""
        config = "/run/by-hand"
        registry = self.registry
        self.docker(
            *("--config", config, "login", "--username", registry.user, "--password-stdin"),
            f"{registry.host}:{registry.port}",
            stdin=registry.password.encode(),
        )
        return config

    def _start(self) -> None:
        self._daemon = Daemon(self.node, self._folder / "dockerd.log")
        self._daemon.start()
        self._registry = LabRegistry(self._folder / "registry", prefix=self.node.prefix)
        self._registry.start()
        self._daemon.wait()

    def _login_file(self, password: str) -> bytes:
        auth = base64.b64encode(f"{self.registry.user}:{password}".encode()).decode()
        return json.dumps({"auths": {f"{self.registry.host}:{self.registry.port}": {"auth": auth}}}).encode()


def _blob(layout: Path, digest: Digest) -> bytes:
    return (layout / "blobs/sha256" / hex_of(digest)).read_bytes()


def site_of_docker(at: DockerNode, deploy: str) -> Site:
    """Return the site whose app node is ``at``, as an admin would write it down."""
    registry = at.registry
    text = _SITE.format(
        registry=f"{registry.host}:{registry.port}",
        ca=registry.ca_file,
        user=registry.user,
        password_file=registry.password_file,
        prefix=json.dumps(at.node.prefix),
    )
    return parse_site((text + deploy).encode(), name="site.toml")


def release_of(image: LabImage) -> Manifest:
    """Return a release of just that image."""
    platform = ImagePlatform(platform="linux/amd64", manifest=digest_of(b"its manifest"), config=image.id, layers=())
    media_type = "application/vnd.oci.image.index.v1+json"
    held = Image(name=IMAGE, digest=image.digest, media_type=media_type, platforms=(platform,))
    return Manifest(format=1, release=Release(product="terachat", version="1.0.0"), images=(held,))
