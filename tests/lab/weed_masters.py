"""Real masters of SeaweedFS on loopback, and nothing else of a cluster: killed and started again as a test likes."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import urllib.request
from itertools import islice
from pathlib import Path
from typing import Any

from teraferry.installer.adapters.cluster.seaweedfs_rpc import GRPC_PORT_OFFSET
from tests.lab.nodes import wait_until
from tests.lab.opened import Opened

LOWEST_PORT, HIGHEST_PORT = 20_000, 22_700
"""These, and gRPC's, 10000 above, are below what the kernel hands out."""


class LoopbackMasters(Opened):
    """Masters that know each other; as many as they are asked to be. Use as a context."""

    def __init__(self, folder: Path, *, program: Path, count: int, raft: str = "") -> None:
        self._folder = folder
        self._program = program
        self._raft = [raft] if raft else []
        self.addresses = tuple(f"127.0.0.1:{port}" for port in _free_ports(count))
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def open(self) -> None:
        """Start all of them, and wait until one leads."""
        for address in self.addresses:
            self.start(address)
        wait_until("a leader", lambda: bool(self.leader()) and all(map(_answers_grpc, self.addresses)))

    def start(self, address: str) -> None:
        """Start one, with what it knew before. It ends with the thread that started it."""
        host, _, port = address.partition(":")
        folder = self._folder / port
        folder.mkdir(parents=True, exist_ok=True)
        peers = ",".join(self.addresses) if len(self.addresses) > 1 else "none"
        argv = [str(self._program), "master", f"-ip={host}", f"-ip.bind={host}", f"-port={port}", f"-mdir={folder}"]
        argv += [f"-peers={peers}", "-telemetry=false", *self._raft]
        with (folder / "log").open("ab") as log:
            self._running[address] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
            )

    def kill(self, address: str) -> None:
        """End one with SIGKILL."""
        process = self._running.pop(address)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        """End all."""
        for address in list(self._running):
            self.kill(address)

    def leader(self) -> str:
        """Return the one that all that run call leader; empty while they do not agree."""
        told = {self._status(address).get("Leader", "") for address in self._running}
        (leader, *others) = told or {""}
        return leader.rpartition(".")[0] if not others and leader else ""

    def _status(self, address: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://{address}/cluster/status", timeout=2) as answer:
                said: dict[str, Any] = json.load(answer)
                return said
        except (OSError, ValueError):
            return {}


def _answers_grpc(address: str) -> bool:
    """Tell whether its second port is open, too; it opens after the first."""
    return not _is_free(int(address.rpartition(":")[2]) + GRPC_PORT_OFFSET)


def _free_ports(count: int) -> list[int]:
    # Drawn, so that two tests that look at the same time do not find the same.
    drawn = iter(random.sample(range(LOWEST_PORT, HIGHEST_PORT), HIGHEST_PORT - LOWEST_PORT))
    return list(islice((port for port in drawn if _is_free(port) and _is_free(port + GRPC_PORT_OFFSET)), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
