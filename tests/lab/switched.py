"""Clients of a tier 2 site's virtual address, and what a cutover must leave behind, by ways that are not its own."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from typing import Any

from teraferry.bundles.digest import Digest
from teraferry.installer.adapters.journal.file import FileJournal
from tests.lab.nodes import LabError, wait_until
from tests.lab.rolled import problems_of_run
from tests.lab.weed_pair import FILER_PORT
from tests.lab.weed_pair_site import WeedPairLab, Written

OPEN, NEW_PER_SECOND = 50, 200
READ = "/elsewhere/ready"
"""Lies on both clusters, and outside of what is replicated."""


class SwitchedClients:
    """Connections that stay open, new ones at a pace, and a writer of acknowledged writes. Use as a context."""

    def __init__(self, lab: WeedPairLab, *, count: int = OPEN, new_per_second: int = NEW_PER_SECOND) -> None:
        self._lab = lab
        self._pace = {"count": count, "new_per_second": new_per_second}
        self._report = lab.folder / "clients.json"
        self._stopped = threading.Event()
        self._process: subprocess.Popen[bytes]
        self._writer: threading.Thread
        self.written = Written()

    def __enter__(self) -> SwitchedClients:
        # The switch has to be there before anybody can be sent anywhere.
        self._lab.switch().set_up("blue")
        self._process = self._lab.gateway.start_clients(
            self._report, port=FILER_PORT, get=READ, ask_every_seconds=2, **self._pace
        )
        self._writer = self._lab.writes(self.written, self._stopped, name="writer")
        wait_until("the first writes", lambda: len(self.written.acknowledged) > 20)
        wait_until(
            "the open connections",
            lambda: self._report.exists() and sum(self.seen()["open"].values()) == self._pace["count"],
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._writer.join()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()

    def seen(self) -> dict[str, Any]:
        """Return what the connections saw until now."""
        content: dict[str, Any] = json.loads(self._report.read_text())
        return content

    def errors(self) -> list[str]:
        """Say what the clients met that they should not have, when they have ended."""
        last = self.seen()
        errors = [*last["errors"], *(f"new: {error}" for _, error in last["failed"]), *self.written.errors]
        if not last["ended"]:
            errors.append("the clients ended before they were told to")
        if len(last["open"]) != 1 or sum(last["open"].values()) != self._pace["count"]:
            errors.append(f"open connections are {last['open']}, expected all where they were")
        if len({name for _, _, name in last["new"]}) != 2:
            errors.append("new connections did not come to both clusters")
        return errors

    def counts(self) -> dict[str, int]:
        """Say how much they asked for, when they have ended."""
        return {"connections": sum(self.seen()["made"].values()), "acknowledged writes": len(self.written.acknowledged)}


def problems_of(lab: WeedPairLab, written: Written, *, digest: Digest) -> list[str]:
    """Say what is wrong with a pair that was cut over to green, which runs the program ``digest`` since."""
    seen, problems = lab.switch().observe(), []
    if (seen.active, seen.standing, seen.held_seconds) != ("green", "green", None):
        problems.append(f"the switch says {seen}")
    green, blue = lab.services["green"], lab.services["blue"]
    if (running := green.running_digest()) != digest:
        problems.append(f"green runs {running}")
    if (green.starts(), blue.starts()) != (2, 1):
        problems.append(f"green was started {green.starts()} times and blue {blue.starts()}, expected 2 and 1")
    if not written.acknowledged:
        problems.append("nothing was written")
    for cluster in ("blue", "green"):
        try:
            wait_until(f"all writes on {cluster}", lambda name=cluster: lab.lost(name, written) == [])  # type: ignore[misc]
        except LabError:
            problems.append(f"{cluster} lacks {lab.lost(cluster, written)[:3]}")
    verified = lab.type("journal", "verify")
    if verified.status:
        problems.append(verified.stderr)
    entries = FileJournal(lab.folder / "state" / "journal.jsonl").replay()
    return problems + problems_of_run(entries, steps=["switch_virtual_ip", "monitor_stability", "commit_switch"])
