"""The nodes of a lab site, reached by ssh: an sshd each, one of which lets in a user that is not root."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.nodes import Node
from tests.lab.site import SITE_FILE, LabSite
from tests.lab.sshd import LabSshd, make_key
from tests.lab.weed import Service

DEPLOYER, DEPLOYER_ID = "deploy", 4711

_CUTS_ITS_OWN_CONNECTION = """#!/bin/sh
# The first stop ends the connection that it was asked over, and goes on.
set -eu
if [ "$1" = stop ] && mkdir /run/cut 2>/dev/null; then
  pid=$$
  until [ "$(cat "/proc/$pid/comm")" = sshd ]; do pid=$(cut -d ' ' -f 4 "/proc/$pid/stat"); done
  kill -KILL "$pid"
fi
exec "$0.real" "$@"
"""


@dataclass(frozen=True)
class SshNodes:
    """Every node with an sshd, and the one key that opens them all."""

    servers: dict[str, LabSshd]
    identity: str  # as the site sees it

    def reach(self, node: Node) -> str:
        """Return what site.toml says of the way to ``node``."""
        there = self.servers[node.name].address
        return f'{{ ssh = "{there.user}@{there.host}", identity = "{self.identity}", host_key = "{there.host_key}" }}'


@contextmanager
def ssh_nodes(site: LabSite, folder: Path, *, unprivileged: Service) -> Iterator[SshNodes]:
    """Have an sshd on every node, and the node of ``unprivileged`` run and be reached as a user that is not root."""
    identity = make_key(folder / "id_ed25519")
    shutil.copy(identity, site.etc / identity.name)
    with ExitStack() as stack:
        servers = {}
        for node in site.lab.nodes:
            if node.name not in ("site", "registry"):
                user = DEPLOYER if node is unprivileged.node else "root"
                servers[node.name] = stack.enter_context(LabSshd(folder / node.name, node=node, user=user))
                servers[node.name].let_in(identity)
        _run_as_deployer(unprivileged)
        yield SshNodes(servers, str(SITE_FILE.parent / identity.name))


def _run_as_deployer(service: Service) -> None:
    """Let a user own and run the server of one node, who may do nothing else there."""
    owner = f"{DEPLOYER_ID}:{DEPLOYER_ID}"
    service.stop()
    service.node.sh(
        f"(cat /etc/passwd; echo '{DEPLOYER}:*:{owner}::/srv:/bin/sh') >/run/passwd\n"
        "mount --bind /run/passwd /etc/passwd\n"
        # The program itself stays root's: it is a file that other nodes have as well.
        f"find /opt /srv /var/lib/teraferry-node ! -path '*/bin/weed' -exec chown -h {owner} {{}} +\n"
        f"setpriv --reuid {DEPLOYER_ID} --regid {DEPLOYER_ID} --clear-groups {' '.join(service.start_argv)}"
    )


def cut_when_it_stops(service: Service) -> None:
    """Let the server's first stop end the connection it is asked over."""
    script = service.node.folder / service.folder.lstrip("/") / "service"
    script.rename(script.with_name("service.real"))
    script.write_text(_CUTS_ITS_OWN_CONNECTION)
    script.chmod(0o755)


def was_cut_when_it_stopped(service: Service) -> bool:
    """Tell whether that has happened."""
    return (service.node.folder / "run" / "cut").exists()
