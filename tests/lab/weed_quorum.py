"""Three real masters and one volume server on lab nodes: what masters need to roll, and no more."""

from __future__ import annotations

from pathlib import Path

from tests.lab.nodes import Lab
from tests.lab.weed import MASTER_PORT, VOLUME_PORT, Service, install_service

MASTERS = ("master-1", "master-2", "master-3")
ADDRESSES = {
    "site": "10.79.0.2",
    **{name: f"10.79.0.{10 + number}" for number, name in enumerate(MASTERS, start=1)},
    "vol-1": "10.79.0.21",
}
SITE = """\
[site]
name = "lab-masters"
tier = "1"

[registry]
url = "https://10.79.0.2:5000"

[cluster]
engine = "seaweedfs"
masters = [{masters}]
mode = "quick"
soak_seconds = 0
weed = "/opt/seaweedfs-master/bin/weed"

[[deploy]]
file = "bin/weed"
role = "master"
workload = "binary"
path = "/opt/seaweedfs-master/bin/weed"
stop = ["/opt/seaweedfs-master/service", "stop"]
start = ["/opt/seaweedfs-master/service", "start"]
"""


class WeedQuorum:
    """The servers. Constructed without effect; ``start`` brings them up.

    Args:
        lab: With the nodes of ``ADDRESSES``.
        program: What they run at first.
    """

    def __init__(self, lab: Lab, *, program: Path) -> None:
        self.lab = lab
        self._program = program
        self.addresses = tuple(f"{ADDRESSES[name]}:{MASTER_PORT}" for name in MASTERS)
        self.masters = {name: Service(lab.node(name), "master", "/opt/seaweedfs-master") for name in MASTERS}
        self.volume = Service(lab.node("vol-1"), "volume", "/opt/seaweedfs")

    def start(self) -> None:
        """Install and start every server."""
        peers = ",".join(self.addresses)
        for name, service in self.masters.items():
            address = f"-ip={ADDRESSES[name]} -ip.bind={ADDRESSES[name]} -port={MASTER_PORT}"
            # Of SeaweedFS's two, this raft elects within a second, and can be asked for another leader.
            raft = f"-mdir=/srv/master -peers={peers} -raftHashicorp -telemetry=false"
            install_service(service, self._program, f"master {address} {raft}")
            service.start()
        place = f"-ip={ADDRESSES['vol-1']} -ip.bind={ADDRESSES['vol-1']} -port={VOLUME_PORT} -dir=/srv/volume"
        install_service(self.volume, self._program, f"volume {place} -master={peers} -preStopSeconds=1")
        self.volume.start()

    def site_toml(self) -> str:
        """Return what the admin of this site would have written."""
        text = SITE.format(masters=", ".join(f'"{address}"' for address in self.addresses))
        places = [(name, "master", f"{ADDRESSES[name]}:{MASTER_PORT}") for name in MASTERS]
        for name, role, address in (*places, ("vol-1", "volume", f"{ADDRESSES['vol-1']}:{VOLUME_PORT}")):
            command = ", ".join(f'"{word}"' for word in self.lab.node(name).prefix)
            text += f'\n[[node]]\nname = "{name}"\nrole = "{role}"\naddress = "{address}"\n'
            text += f"transport = {{ command = [{command}] }}\n"
        return text
