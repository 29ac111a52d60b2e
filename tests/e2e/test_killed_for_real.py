"""One install on one real cluster, killed again and again with SIGKILL and typed again each time: it ends well.

Some kill points wait for the cluster itself: shards on two nodes at once, a node that begins to be emptied, one just
emptied. Only the installer is killed; what it had running on the nodes lives on and meets the next installer. Clients
read, write and count shards all the while, and none may see an error.

The suite kills six times, in each dangerous kind of step once, on a site where five of seven servers were rolled
before. ``scripts/prove kills`` rolls all seven: with ``TERAFERRY_KILL_SEED`` 0 it kills 24 times, in every part of
an install from verify on; with any other seed at 40 moments drawn at random. ``scripts/prove crash-rolling`` kills
between any two effects.
"""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from teraferry.installer.ports import ClusterObservation
from teraferry.installer.program.handover import digest_of_file
from tests.e2e.room import SOURCE, build_kit
from tests.lab.clients import load_objects
from tests.lab.rollable import cluster_from_site
from tests.lab.rolled import client_counts, client_errors, problems_of
from tests.lab.secops import Answer, Secops, parse_answer
from tests.lab.site import LabSite
from tests.lab.watchers import Watchers
from tests.lab.weed import weed_binary

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

OLD_WEED, NEW_WEED = "4.47", "4.48"
ROLLED_BEFORE = ("vol-1", "vol-3", "vol-4", "vol-5", "vol-6")
SEED, REPORT = "TERAFERRY_KILL_SEED", "TERAFERRY_KILL_REPORT"
RANDOM_POINTS = 40
RANDOM_SECONDS = 20.0
Holds = Callable[[ClusterObservation, ClusterObservation], bool]  # at first, now


def is_doubled(first: ClusterObservation, now: ClusterObservation) -> bool:
    """Some shard is on line on two nodes: a drain or a rebalance is under way."""
    return any(sum(map(len, group.holders.values())) > 14 for group in now.stripe_groups)


def is_leaving(address: str) -> Holds:
    """Its shards are being taken off line, or were."""
    return lambda first, now: shards_on(now, address) < shards_on(first, address)


def is_empty(address: str) -> Holds:
    return lambda first, now: shards_on(now, address) == 0


def shards_on(observation: ClusterObservation, address: str) -> int:
    return sum(len(group.holders.get(address, ())) for group in observation.stripe_groups)


@dataclass(frozen=True)
class Point:
    """Kill when this JSON line was printed and this long has passed, or when the cluster looks so."""

    line: Mapping[str, str]
    after_seconds: float = 0.0
    when: Holds | None = None

    def is_at(self, line: Mapping[str, Any]) -> bool:
        return all(line.get(name) == value for name, value in self.line.items())


def phase(name: str, after_seconds: float = 0.0, when: Holds | None = None) -> Point:
    return Point({"event": "phase", "phase": name}, after_seconds, when)


def step(name: str, after_seconds: float = 0.0) -> Point:
    return Point({"event": "step", "step": name}, after_seconds)


SIX_POINTS = (
    phase("load", 0.05),
    phase("drain vol-2", when=is_doubled),
    phase("patch vol-2", 0.05),
    phase("rejoin vol-2"),
    phase("rebalance after vol-2", when=is_doubled),
    phase("patch core-filer", 0.1),
)

POINTS = (
    Point({"event": "trusted"}),
    phase("verify"),
    phase("verify", 0.05),
    phase("verify", 0.3),
    phase("check cluster health", 0.3),
    Point({"event": "gate"}),
    phase("load"),
    phase("load", 0.05),
    phase("stage"),
    phase("stage", 0.1),
    step("stage_file vol-1 bin/weed"),
    step("check_cluster_health vol-1", 0.3),
    phase("drain vol-1", when=is_doubled),
    phase("patch vol-1", 0.05),
    phase("rejoin vol-2"),
    phase("rebalance after vol-2", 0.05),
    phase("drain vol-3", when=is_leaving("10.77.0.13:8080")),
    phase("patch vol-3", 0.3),
    phase("drain vol-4", when=is_empty("10.77.0.14:8080")),
    phase("rejoin vol-4", 0.2),
    phase("patch vol-5", 0.15),
    phase("rebalance after vol-5", when=is_doubled),
    phase("rejoin vol-6", 0.05),
    phase("patch core-filer", 0.1),
)


def points_of(seed: str | None) -> tuple[Point, ...]:
    """Return where to kill: six points without a seed, all for 0, else moments drawn at random."""
    if not seed or not int(seed):
        return POINTS if seed else SIX_POINTS
    draw = random.Random(seed)
    return tuple(Point({}, draw.uniform(0.1, RANDOM_SECONDS)) for _ in range(RANDOM_POINTS))


@pytest.fixture(scope="module")
def kit(secops: Secops, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed-kit")
    kit = build_kit(secops, folder, "4.9.0", program=weed_binary(NEW_WEED), layer_bytes=5_000_000)
    secops.sign_fully(kit)
    return kit


def install_until(site: LabSite, there: Path, point: Point, first: ClusterObservation) -> Answer | None:
    """Type ``install`` and kill it at ``point``; returns what it said when it ended before that.

    In the foreground: what is killed must be what does the work, not what follows it.
    """
    command = [*site.node.prefix, *site.argv(*SOURCE, "install", str(there), "--yes", "--foreground")]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    coming: queue.Queue[bytes | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout or ():
            coming.put(line)
        coming.put(None)

    reader = threading.Thread(target=read)
    reader.start()
    lines = []
    try:
        while (line := coming.get(timeout=300)) is not None:
            lines.append(line)
            if line.startswith(b"{") and point.is_at(json.loads(line)):
                time.sleep(point.after_seconds)
                wait_for(site, point.when, first)
                break
        was_alive = process.poll() is None and line is not None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        reader.join()
    lines += [line for line in coming.queue if line is not None]
    said = subprocess.CompletedProcess(command, process.returncode, b"".join(lines), b"")
    return None if was_alive else parse_answer(said)


def wait_for(site: LabSite, when: Holds | None, first: ClusterObservation) -> None:
    cluster = cluster_from_site(site.cluster)
    give_up = time.monotonic() + 120
    while when is not None and not when(first, cluster.observe()):
        assert time.monotonic() < give_up, "the cluster never looked so"
        time.sleep(0.02)


def test_install_killed_again_and_again_on_a_real_cluster_ends_well(secops: Secops, kit: Path, tmp_path: Path) -> None:
    seed = os.environ.get(SEED)
    rolled_before = () if seed else ROLLED_BEFORE
    newer = dict.fromkeys(rolled_before, weed_binary(NEW_WEED))
    with LabSite(tmp_path / "site", weed=weed_binary(OLD_WEED), newer=newer) as site:
        site.pin(SOURCE, secops.root, secops.fingerprint)
        objects = tmp_path / "objects.json"
        load_objects(site.cluster, objects)
        there = site.carry(kit)
        first = cluster_from_site(site.cluster).observe()
        with Watchers(site, objects, tmp_path / "watchers") as watchers:
            kills, ended = kill_again_and_again(site, there, points_of(seed), first)
        seen = watchers.reports()
        tell({"kills": kills, **client_counts(seen)})

        assert ended.status == 0, (ended.result, ended.stderr)
        assert ended.result["resumed"] is True
        assert seed or kills == len(SIX_POINTS)
        digest = digest_of_file(weed_binary(NEW_WEED))
        assert problems_of(site, digest=digest, first=first, rolled_before=rolled_before) == []
        assert client_errors(seen) == []


def kill_again_and_again(
    site: LabSite, there: Path, points: tuple[Point, ...], first: ClusterObservation
) -> tuple[int, Answer]:
    """Return how often an install was killed, and what the last one said."""
    began = time.monotonic()
    for kills, point in enumerate(points):
        ended = install_until(site, there, point, first)
        if ended is not None:
            # Only what is drawn at random may come too late.
            assert not point.line, f"it ended before kill point {kills + 1}, {point}: {ended}"
            return kills, ended
        print(f"{time.monotonic() - began:4.0f} s: killed {kills + 1} at {point.line}", flush=True)
    ended = site.type(*SOURCE, "install", str(there), "--yes")
    print(f"ended after {time.monotonic() - began:.0f} s")
    return len(points), ended


def tell(counts: Mapping[str, int]) -> None:
    """Say what was done and seen, also to who asked for it in a file."""
    print(json.dumps(counts), flush=True)
    if REPORT in os.environ:
        Path(os.environ[REPORT]).write_text(json.dumps(counts))
