"""A tier 2 site whose clusters are two real SeaweedFS ones, kept alike by ``filer.sync``, behind nftables on a gateway.

A release replaces ``weed`` itself. A writer goes through the virtual address all the while, a new connection a write,
and remembers what was acknowledged.
"""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from teraferry.bundles.digest import Digest, digest_of
from tests.lab.gateway import GATEWAY, VIRTUAL, GatewayLab
from tests.lab.house import PRODUCT
from tests.lab.pair_site import ClientAsSite, PairLab, words
from tests.lab.weed import weed_binary
from tests.lab.weed_pair import ADDRESSES, FILER_PORT, METRICS_PORT, PATH, WeedPair

WRITE_SECONDS = 20.0


@dataclass
class Written:
    """What a writer was promised."""

    acknowledged: dict[str, bytes] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


class WeedPairLab(PairLab):
    """Blue and green as SeaweedFS clusters of one release; ``kit`` holds another."""

    def __init__(self, gateway: GatewayLab, folder: Path, *, program: Path) -> None:
        for name in ("blue", "green"):
            gateway.lab.node(name).run("ip", "address", "add", f"{ADDRESSES[name]}/24", "dev", "eth0")
            # The gateway has to see both directions: an answer to a question that it did not see may look like one of
            # a switched connection with the same ports.
            gateway.lab.node("client").run("ip", "route", "add", ADDRESSES[name], "via", GATEWAY)
        self.pair = WeedPair(ClientAsSite(gateway.lab), program=program)
        super().__init__(gateway, folder)
        self.services = self.pair.clusters

    def start_services(self) -> None:
        """Bring both clusters up, and replication between them."""
        self.pair.start()
        self.pair.sync.start()

    def kit_of(self, version: str, *, weed: str) -> tuple[Path, Digest]:
        """Return a signed kit with one release of ``weed``, and its digest."""
        program = weed_binary(weed).read_bytes()
        self.sign(self.house.build(version, files={"bin/weed": program}))
        return self.house.folder / f"{PRODUCT}-{version}", digest_of(program)

    def writes(self, written: Written, stopped: threading.Event, *, name: str) -> threading.Thread:
        """Start a writer through the virtual address."""

        def write() -> None:
            number = 0
            while not stopped.is_set():
                number += 1
                path, content = f"{PATH}/{name}/{number}", f"{name} {number}".encode() * 50
                connection = http.client.HTTPConnection(VIRTUAL, FILER_PORT, timeout=WRITE_SECONDS)
                try:
                    connection.request("PUT", path, body=content)
                    status = connection.getresponse().status
                except (OSError, http.client.HTTPException) as error:
                    written.errors.append(f"{path}: {error!r}")
                else:
                    if status == http.HTTPStatus.CREATED:
                        written.acknowledged[path] = content
                    else:
                        written.errors.append(f"{path}: status {status}")
                finally:
                    with suppress(OSError):
                        connection.close()
                stopped.wait(0.02)

        thread = threading.Thread(target=lambda: self.node.call(write))
        thread.start()
        return thread

    def lost(self, cluster: str, written: Written) -> list[str]:
        """Name what was acknowledged and ``cluster`` does not hold."""
        return [path for path, content in written.acknowledged.items() if self.pair.get(cluster, path) != content]

    def tables(self) -> dict[str, Any]:
        """Return what site.toml says differently here."""
        sync = self.pair.sync
        addresses = {name: f"{ADDRESSES[name]}:{FILER_PORT}" for name in ("blue", "green")}
        return {
            "role": "filer",
            "file": "bin/weed",
            "addresses": addresses,
            "replicated": addresses,
            "virtual_ip": f"{VIRTUAL}:{FILER_PORT}",
            "health": "http://{active}/",
            "replication": (
                f'engine = "seaweedfs"\nwriters = "two"\npath = "{PATH}"\nnode = "blue-1"\nweed = "{sync.program}"\n'
                f'metrics = "{ADDRESSES["blue"]}:{METRICS_PORT}"\n'
                f"start = {words(sync.start_argv)}\nstop = {words(sync.stop_argv)}"
            ),
        }


def shown(value: object) -> str:
    """Return something for a person."""
    return json.dumps(value, default=str)[:2000]
