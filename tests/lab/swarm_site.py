"""A tier 1 site whose cluster is a Docker swarm: a registry with TLS and a password, and an admin who types.

Each worker runs a container of its own beside the swarm's tasks, and the swarm a service; both from one image that the
site's registry has. Nodes trust the registry by its CA, where Docker looks for it.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.lab.docker_node import DOCKER
from tests.lab.docker_swarm import ADDRESSES, PORT, SwarmLab
from tests.lab.images import layer_tar, make_oci_layout
from tests.lab.nodes import Node
from tests.lab.registry import LabRegistry
from tests.lab.secops import Answer, Secops
from tests.lab.site import LabSite, type_at

SOURCE = (sys.executable, "-m", "teraferry.installer.cli")
REGISTRY = f"{ADDRESSES['site']}:5000"
IMAGE = f"{REGISTRY}/terachat/agent"
CONTAINER = "terachat-agent"
SERVICE = "terachat-web"

_AGENT = f"""#!/bin/sh
set -eu
case "$1" in
start) [ -e /opt/agent.env ] || exec docker start {CONTAINER}
  IMAGE=$(sed 's/^IMAGE=//' /opt/agent.env); docker rm --force {CONTAINER} >/dev/null 2>&1 || true
  docker run --detach --name {CONTAINER} --network none --stop-signal KILL --pull never "$IMAGE" sleep 1000000 ;;
stop) docker stop {CONTAINER} ;;
esac
"""

_SITE = f"""\
[site]
name = "lab-swarm"

[registry]
url = "https://{REGISTRY}"
ca = "{{ca}}"
credentials = {{{{ user = "{{user}}", password_file = "{{password_file}}" }}}}

[cluster]
engine = "swarm"
manager = "manager"
docker = "{DOCKER}"
soak_seconds = 0
stalled_after_seconds = 60

[[deploy]]
image = "terachat/agent"
role = "volume"
workload = "container"
path = "/opt/agent.env"
container = "{CONTAINER}"
docker = "{DOCKER}"
start = ["/opt/agent", "start"]
stop = ["/opt/agent", "stop"]

[[deploy]]
image = "terachat/agent"
role = "app"
workload = "swarm"
service = "{SERVICE}"
docker = "{DOCKER}"
"""


class SwarmSite(SwarmLab):
    """The site. Use as a context."""

    def open(self) -> None:
        """Bring the swarm up, then the registry, with every node as it is before the first visit."""
        super().open()
        site = self.lab.node("site")
        self.registry = LabRegistry(self._folder / "registry", host=ADDRESSES["site"], port=5000, prefix=site.prefix)
        self.registry.start()
        self._stack.callback(self.registry.stop)
        self._push_old(site)
        for name in ("manager", *self.workers):
            self._set_up(self.lab.node(name))
        self.state = self._folder / "state"
        self.site_file = self._folder / "site.toml"
        self.site_file.write_text(self._site_toml())

    def kit(self, secops: Secops, version: str) -> Path:
        """Return a signed kit with one image, which is another one for each version."""
        layout = self._folder / "images"
        self._add(layout, version)
        project = secops.project(version, images={"terachat/agent": f"oci:{layout}:{version}"}, files={})
        kit = self._folder / f"terachat-{version}"
        secops.build(project, kit)
        secops.sign_fully(kit)
        return kit

    def type(self, *words: str, kill_at: str = "") -> Answer:
        """Type a command of the installer as the admin; its process is killed when it says that it is at that phase."""
        argv = [*SOURCE, "--site", str(self.site_file), "--state", str(self.state), *words]

        def kill(event: dict[str, Any], process: subprocess.Popen[bytes]) -> None:
            if kill_at and event.get("phase") == kill_at:
                process.kill()

        return type_at(self.lab.node("site"), LabSite.argv(*argv), on_event=kill)

    def agents(self) -> dict[str, str]:
        """Return what each worker's own container runs, by the digest that it was pulled by."""
        return {name: self._digest_of(self.lab.node(name)) for name in self.workers}

    def _digest_of(self, node: Node) -> str:
        image = node.run(DOCKER, "inspect", "--format", "{{.Image}} {{.State.Running}}", CONTAINER).stdout.decode()
        assert image.endswith("true\n"), image
        rows = node.run(DOCKER, "image", "inspect", "--format", "{{json .RepoDigests}}", image.split()[0]).stdout
        return str(json.loads(rows)[0].rpartition("@")[2])

    def _add(self, layout: Path, version: str) -> None:
        files = {"bin/sleep": Path("/bin/busybox").read_bytes(), "version": version.encode()}
        make_oci_layout(layout, version, [layer_tar(files)])

    def _push_old(self, site: Node) -> None:
        layout = self._folder / "images"
        self._add(layout, "old")
        login = self._folder / "login.json"
        pair = base64.b64encode(f"{self.registry.user}:{self.registry.password}".encode()).decode()
        login.write_text(json.dumps({"auths": {REGISTRY: {"auth": pair}}}))
        site.run(
            *("skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"--dest-authfile={login}"),
            *(f"oci:{layout}:old", f"docker://{IMAGE}:old"),
        )

    def _set_up(self, node: Node) -> None:
        """Bring a node to where it is before the first visit: it trusts the registry and runs the old image."""
        certificates = f"/etc/docker/certs.d/{REGISTRY}"
        node.sh(
            "cp -a /etc /srv/own-etc && mount --bind /srv/own-etc /etc\n"
            f"mkdir -p {certificates} && cp {self.registry.ca_file} {certificates}/ca.crt\n"
        )
        config = "/run/by-hand"
        password = self.registry.password.encode()
        login = ("login", "--username", self.registry.user, "--password-stdin", REGISTRY)
        node.run(DOCKER, "--config", config, *login, stdin=password)
        node.run(DOCKER, "--config", config, "pull", "--quiet", f"{IMAGE}:old")
        if node.name == "manager":
            run = ("--network", "host", "--detach", "--stop-signal", "KILL", "--replicas", "2", "--with-registry-auth")
            update = ("--update-delay", "0s", "--update-monitor", "500ms", "--update-failure-action", "rollback")
            create = ("service", "create", "--name", SERVICE, *run, *update)
            node.run(DOCKER, "--config", config, *create, f"{IMAGE}:old", "sleep", "1000000")
            return
        agent = node.folder / "opt/agent"
        agent.write_text(_AGENT)
        agent.chmod(0o755)
        agent_of_its_own = ("--detach", "--name", CONTAINER, "--network", "none", "--stop-signal", "KILL")
        node.run(DOCKER, "run", *agent_of_its_own, f"{IMAGE}:old", "sleep", "1000000")

    def _site_toml(self) -> str:
        registry = self.registry
        text = _SITE.format(ca=registry.ca_file, user=registry.user, password_file=registry.password_file)
        for name in ("manager", *self.workers):
            role = "app" if name == "manager" else "volume"
            text += f'\n[[node]]\nname = "{name}"\nrole = "{role}"\naddress = "{ADDRESSES[name]}:{PORT}"\n'
            text += f"transport = {{ command = {json.dumps(self.lab.node(name).prefix)} }}\n"
        return text
