"""Two clusters in memory and the way between them, with the ways in which the real one loses writes.

Run as a program it is a site's own replication behind ``CommandReplicator``, with its state in a file::

    python -m tests.fakes.replicator STATE observe blue
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from teraferry.bundles.errors import RefusedError
from teraferry.installer.blue_green_ports import ReplicationObservation
from tests.fakes.site_program import answer_replication, load_from, run_word

OTHER = {"blue": "green", "green": "blue"}


def _both() -> dict[str, dict[str, str]]:
    return {"blue": {}, "green": {}}


def _lists() -> dict[str, list[str]]:
    return {"blue": [], "green": []}


def _counts() -> dict[str, int]:
    return {"blue": 0, "green": 0}


@dataclass
class FakeReplicator:
    """``Replicator`` in memory. ``put``, ``kill`` and the like are what clients and accidents do."""

    writers: str = "two"
    running: bool = False
    parted: bool = False  # the clusters do not reach each other; both are reached from here
    lags: bool = False  # what is written comes over when ``deliver`` is called, or a marker is waited for, not at once
    dead: list[str] = field(default_factory=list)
    files: dict[str, dict[str, str]] = field(default_factory=_both)
    queue: dict[str, list[str]] = field(default_factory=_lists)
    lost: dict[str, list[str]] = field(default_factory=_lists)  # written, and gone from the change log
    processed: dict[str, int] = field(default_factory=_counts)
    failed: dict[str, int] = field(default_factory=_counts)
    markers: list[str] = field(default_factory=list)
    kept: dict[str, list[str]] = field(default_factory=dict)  # path -> both versions

    def start(self) -> None:
        if self.dead:
            raise refusal("replication-failed", "a cluster is down")
        self.running = True
        self.failed = _counts()
        self._deliver_at_once()

    def observe(self, source: str) -> ReplicationObservation:
        if not self.running:
            raise refusal("replication-cannot-tell", "not running")
        waiting, failed = len(self.queue[source]), self.failed[source]
        return ReplicationObservation(self.processed[source] + waiting + failed, self.processed[source], 0, failed)

    def sync_state(self, source: str, *, marker: str, stalled_after_seconds: float) -> None:
        self.write_marker(source, marker)
        if self.observe(source).failed:
            raise refusal("replication-failed", "some failed")
        if not self.read_marker(source, marker):
            raise refusal("replication-stalled", "nothing moves")

    def pending(self, source: str) -> Sequence[str] | None:
        if self.dead or self.parted:
            return None
        return sorted({*self.queue[source], *self.lost[source]} - set(self.kept))

    def conflicts(self, *, marker: str) -> Sequence[str]:
        if self.dead or self.parted or marker not in self.markers:
            raise refusal("replication-cannot-tell", "a cluster is down")
        self._keep_what_crossed()
        return sorted(self.kept)

    def write_marker(self, source: str, marker: str) -> None:
        if self.dead or not self.running:
            raise refusal("replication-cannot-tell", "a cluster is down")
        self.markers.append(marker)

    def read_marker(self, source: str, marker: str) -> bool:
        if self.parted:
            return False
        # As the real one: what the log lost is found by comparing, and brought over.
        self.queue[source] += self.lost[source]
        self.lost[source].clear()
        self.deliver()
        return True

    def put(self, cluster: str, path: str, content: str) -> None:
        if cluster in self.dead:
            raise ConnectionError(cluster)
        self.files[cluster][path] = content
        self.queue[cluster].append(path)
        self._deliver_at_once()

    def deliver(self) -> None:
        if not self.running or self.parted or self.dead:
            return
        self._keep_what_crossed()
        for cluster, other in OTHER.items():
            for path in self.queue[cluster]:
                self.files[other][path] = self.files[cluster][path]
                self.processed[cluster] += 1
            self.queue[cluster].clear()

    def _deliver_at_once(self) -> None:
        if not self.lags:
            self.deliver()

    def _keep_what_crossed(self) -> None:
        for path in set(self.queue["blue"]) & set(self.queue["green"]):
            blue, green = self.files["blue"][path], self.files["green"][path]
            self.kept[path] = [blue, green]
            self.files["blue"][path], self.files["green"][path] = green, blue
            for cluster in OTHER:
                self.queue[cluster] = [each for each in self.queue[cluster] if each != path]

    def kill(self, cluster: str) -> None:
        """A cluster dies; what it did not send yet is gone from its log, not from its disks."""
        self.dead.append(cluster)
        self.lost[cluster] += self.queue[cluster]
        self.queue[cluster].clear()

    def revive(self, cluster: str) -> None:
        self.dead.remove(cluster)


def refusal(reference: str, found: str) -> RefusedError:
    return RefusedError(reference, f"replication: {found}, expected it to run", hint="Start it.")


def load(state: Path) -> FakeReplicator:
    """Return the fake over a program's state."""
    return load_from(state, FakeReplicator)


if __name__ == "__main__":
    sys.exit(run_word(FakeReplicator, answer_replication))
