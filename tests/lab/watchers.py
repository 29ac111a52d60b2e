"""Starts the three clients of ``clients.py`` at a site, and reads what they saw."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.lab.nodes import wait_until
from tests.lab.site import LabSite

REPOSITORY = Path(__file__).parents[2]


class Watchers:
    """Reader, writer and sampler. Use as a context: they run inside it."""

    def __init__(self, site: LabSite, objects: Path, folder: Path) -> None:
        self._site = site
        self._objects = objects
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Watchers:
        self._folder.mkdir(parents=True)
        for kind in ("reader", "writer", "sampler"):
            argv = [sys.executable, "-m", "tests.lab.clients", kind, "--master", self._site.cluster.master_address]
            argv += ["--report", str(self._report(kind))]
            if kind == "reader":
                argv += ["--objects", str(self._objects)]
            argv = ["env", "-C", str(REPOSITORY), *argv]
            self._running[kind] = self._site.node.start(argv, output=self._folder / f"{kind}.log")
        wait_until("the clients' first reports", lambda: all(self._report(kind).exists() for kind in self._running))
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            process.wait(timeout=30)

    def reports(self) -> dict[str, dict[str, Any]]:
        """Return what each client saw, by its kind."""
        return {kind: json.loads(self._report(kind).read_text()) for kind in self._running}

    def _report(self, kind: str) -> Path:
        return self._folder / f"{kind}.json"
