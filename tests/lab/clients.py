"""Clients that watch a rollout from outside: a reader, a writer and a sampler of the master's truth.

Each runs as a process of its own on the ``site`` node, ends at SIGTERM and writes a JSON report::

    python -m tests.lab.clients reader  --master H:P --objects objects.json --report reader.json
    python -m tests.lab.clients writer  --master H:P --report writer.json
    python -m tests.lab.clients sampler --master H:P --report sampler.json
    python -m tests.lab.clients loader  --master H:P --objects objects.json

The loader makes the objects and ends; ``load_objects`` runs it and has the cluster stripe them.

Reader and writer talk to the volume servers directly, by file id: they ask the master where a
volume is, take one of its answers and never try again. The filer is restarted during a rollout
and would hide errors by its own retries, so it is left out on purpose. The reader takes the
places the master names in turn, so every volume server is asked. Every body's digest is compared.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb
from teraferry.installer.adapters.cluster.seaweedfs_placement import parse_placement
from teraferry.installer.adapters.cluster.seaweedfs_rpc import CallFailedError, call_leader

if TYPE_CHECKING:
    pass

if TYPE_CHECKING:
    from tests.lab.weed import WeedCluster

TIMEOUT_SECONDS = 10.0
READS_PER_SECOND = 20.0
WRITES_PER_SECOND = 4.0
SAMPLE_EVERY_SECONDS = 0.25
WRITE_BYTES = 64 * 1024
ERRORS_KEPT = 5000
OBJECTS = 240
OBJECT_BYTES = 256 * 1024
"""60 MiB in volumes of about 16 MiB each: every one of ten data shards (1 MiB blocks) gets objects."""

COLLECTION = "striped"
REPOSITORY = Path(__file__).parents[2]

_stopped = threading.Event()


class Failed(Exception):
    """One request failed; the message says why."""


def request(address: str, method: str, path: str, body: bytes | None = None) -> bytes:
    """Send one request on a connection of its own; no retry, no redirect."""
    host, _, port = address.partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, body=body)
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"{method} {address}{path}: {error!r}") from error
    finally:
        connection.close()
    if answer.status not in (200, 201):
        raise Failed(f"{method} {address}{path}: {answer.status} {content[:200]!r}")
    return content


class Report:
    """Counts and errors, written when the client ends (and every second, for who looks on)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._started = time.monotonic()
        self._written = 0.0
        self.counts: Counter[str] = Counter()
        self.servers: Counter[str] = Counter()
        self.slowest_seconds = 0.0
        self.errors: list[dict[str, str]] = []

    def failed(self, reason: str) -> None:
        """Count one failure."""
        self.counts["failed"] += 1
        self.errors.append({"time_utc": datetime.now(UTC).isoformat(), "reason": reason})

    def write(self, *, last: bool = False) -> None:
        """Replace the report file, at most once a second unless it is the last time."""
        now = time.monotonic()
        if not last and now - self._written < 1:
            return
        self._written = now
        content = {
            **dict.fromkeys(("ok", "failed"), 0),
            **self.counts,
            "seconds": round(now - self._started, 3),
            "slowest_seconds": round(self.slowest_seconds, 3),
            "servers": dict(sorted(self.servers.items())),
            "errors": self.errors[:ERRORS_KEPT],
            "ended": last,
        }
        partial = self._path.with_name(self._path.name + ".part")
        partial.write_text(json.dumps(content, indent=1))
        partial.replace(self._path)


def repeat(action: Callable[[], None], report: Report, *, per_second: float) -> None:
    """Call ``action`` at a steady pace until told to stop; failures are counted, never retried."""
    due = time.monotonic()
    while not _stopped.is_set():
        started = time.monotonic()
        try:
            action()
            report.counts["ok"] += 1
        except Failed as error:
            report.failed(str(error))
        report.slowest_seconds = max(report.slowest_seconds, time.monotonic() - started)
        report.write()
        due = max(due + 1 / per_second, time.monotonic() - 1)
        _stopped.wait(max(0.0, due - time.monotonic()))


def locations(master: str, volume: str) -> list[str]:
    """Return the servers the master names for a volume, sorted and without doubles."""
    answer = json.loads(request(master, "GET", f"/dir/lookup?volumeId={volume}"))
    return sorted({place["url"] for place in answer.get("locations", [])})


class Reader:
    """Reads every object in turn, each time from the next server that holds its volume."""

    def __init__(self, master: str, objects: list[dict[str, Any]], report: Report) -> None:
        self._master = master
        self._objects = objects
        self._report = report
        self._turn = 0

    def read_next(self) -> None:
        """Read one object and compare its digest."""
        wanted = self._objects[self._turn % len(self._objects)]
        places = locations(self._master, wanted["fid"].partition(",")[0])
        if not places:
            raise Failed(f"lookup {wanted['fid']}: no location")
        # The least asked first: the turn of objects and that of servers must not run in step.
        place = min(places, key=lambda place: self._report.servers[place])
        self._turn += 1
        body = request(place, "GET", f"/{wanted['fid']}")
        self._report.servers[place] += 1
        self._report.counts["bytes"] += len(body)
        found = hashlib.sha256(body).hexdigest()
        if found != wanted["sha256"]:
            raise Failed(f"GET {place}/{wanted['fid']}: sha256 {found}, expected {wanted['sha256']}")


def write_object(master: str, content: bytes, *, query: str = "") -> tuple[str, str]:
    """Ask the master for a place, write ``content`` there, and return (file id, server)."""
    answer = json.loads(request(master, "GET", f"/dir/assign{query}"))
    if "fid" not in answer:
        raise Failed(f"assign: {answer}")
    request(answer["url"], "PUT", f"/{answer['fid']}", body=content)
    return answer["fid"], answer["url"]


def write_and_read_back(master: str, report: Report) -> None:
    """Write one new object, read it back and compare."""
    content = os.urandom(WRITE_BYTES)
    fid, server = write_object(master, content)
    report.servers[server] += 1
    places = locations(master, fid.partition(",")[0])
    if not places:
        raise Failed(f"lookup {fid}: no location")
    if request(places[0], "GET", f"/{fid}") != content:
        raise Failed(f"GET {places[0]}/{fid}: other bytes than were written")


class Sampler:
    """Asks the master what it holds and counts samples with a missing shard."""

    def __init__(self, master: str, report: Report) -> None:
        self._master = master
        self._report = report
        self._known: set[int] = set()

    def sample(self) -> None:
        """Take one sample."""
        try:
            answer = call_leader([self._master], "VolumeList", pb.VolumeListRequest(), pb.VolumeListResponse)
        except CallFailedError as error:
            raise Failed(str(error)) from error
        observation = parse_placement(answer).observation
        missing = 0
        groups = {group.id: group for group in observation.stripe_groups}
        self._known |= set(groups)
        for number in self._known:
            held = frozenset().union(*groups[number].holders.values()) if number in groups else frozenset()
            missing += 14 - len(held)
        self._report.counts["samples"] += 1
        self._report.counts["stripe_groups"] = len(self._known)
        if missing:
            self._report.counts["samples_with_missing"] += 1
            raise Failed(f"{missing} shards missing")


def load(master: str, path: Path) -> None:
    """Write objects into a collection of their own and list them in ``path``."""
    objects = []
    for _ in range(OBJECTS):
        content = os.urandom(OBJECT_BYTES)
        fid, _server = write_object(master, content, query=f"?collection={COLLECTION}&replication=010")
        objects.append({"fid": fid, "sha256": hashlib.sha256(content).hexdigest()})
    path.write_text(json.dumps(objects))


def load_objects(cluster: WeedCluster, path: Path) -> None:
    """Fill ``cluster`` with erasure-coded objects, spread evenly, and list them in ``path``.

    Nobody reads before the shards are where they will stay: a read during ``ec.encode`` and
    ``ec.balance`` would leave a volume server with a wrong map of them, and that server's next
    reads of the volume would fail (``installer/adapters/cluster/seaweedfs_maps.py``).
    """
    argv = [sys.executable, "-m", "tests.lab.clients", "loader", "--master", cluster.master_address]
    argv += ["--objects", str(path)]
    cluster.lab.node("site").run("env", "-C", str(REPOSITORY), *argv, timeout_seconds=120)
    volumes = sorted({int(entry["fid"].partition(",")[0]) for entry in json.loads(path.read_text())})
    cluster.stripe(volumes)


def read_all(cluster: WeedCluster, path: Path) -> list[str]:
    """Read every object that is listed in ``path`` once, from the site; return what failed."""
    objects = json.loads(path.read_text())
    reader = Reader(cluster.master_address, objects, Report(path.with_name("read-all.json")))

    def read() -> list[str]:
        failed = []
        for _ in objects:
            try:
                reader.read_next()
            except Failed as error:
                failed.append(str(error))
        return failed

    return cluster.lab.node("site").call(read)


def main() -> None:
    """Run one client until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["reader", "writer", "sampler", "loader"])
    parser.add_argument("--master", required=True)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--objects", type=Path)
    parser.add_argument("--per-second", type=float)
    arguments = parser.parse_args()
    if arguments.kind == "loader":
        load(arguments.master, arguments.objects)
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _stopped.set())
    report = Report(arguments.report)
    action: Callable[[], None]
    if arguments.kind == "reader":
        action, pace = (
            Reader(arguments.master, json.loads(arguments.objects.read_text()), report).read_next,
            READS_PER_SECOND,
        )
    elif arguments.kind == "writer":
        action, pace = (lambda: write_and_read_back(arguments.master, report)), WRITES_PER_SECOND
    else:
        action, pace = Sampler(arguments.master, report).sample, 1 / SAMPLE_EVERY_SECONDS
    try:
        repeat(action, report, per_second=arguments.per_second or pace)
    finally:
        report.write(last=True)


if __name__ == "__main__":
    main()
