"""One install on one real cluster, killed 24 times with SIGKILL and typed again each time: it ends well.

The kill points lie in every part of an install: verify, load, staging, and each kind of step. Four
of them wait for the cluster itself: shards on two nodes at once, a node that begins to be emptied,
one just emptied. Only the installer is killed; what it had running on the nodes lives on and meets
the next installer. Clients read, write and count shards all the while, and none may see an error.

With ``TERAFERRY_KILL_SEED`` set, the 40 kill points are moments drawn at random: ``scripts/prove kills``.
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
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb
from teraferry.installer.adapters.cluster.seaweedfs_rpc import VOLUME_SERVER, call
from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.ports import ClusterObservation
from teraferry.installer.program.handover import digest_of_file
from teraferry.installer.rollout.execute import DONE, ENDED, STARTED, UNDONE
from teraferry.installer.rollout.gates import judge_health
from tests.e2e.room import SOURCE, build_kit
from tests.lab.clients import load_objects
from tests.lab.rollable import cluster_from_site
from tests.lab.secops import Answer, Secops, parse_answer
from tests.lab.site import SITE_FILE, LabSite
from tests.lab.watchers import Watchers
from tests.lab.weed import weed_binary

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

OLD_WEED, NEW_WEED = "4.47", "4.48"
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


def random_points(seed: str) -> tuple[Point, ...]:
    draw = random.Random(seed)
    return tuple(Point({}, draw.uniform(0.1, RANDOM_SECONDS)) for _ in range(RANDOM_POINTS))


@pytest.fixture(scope="module")
def site(secops: Secops, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabSite]:
    """A site of its own, healthy, with the root pinned."""
    with LabSite(tmp_path_factory.mktemp("killed-site"), weed=weed_binary(OLD_WEED)) as site:
        copy = site.etc / "root-from-paper.json"
        copy.write_bytes(secops.root.read_bytes())
        there = SITE_FILE.parent / copy.name
        answer = site.type(*SOURCE, "trust", "pin", str(there), "--fingerprint", secops.fingerprint)
        assert answer.status == 0, answer.stderr
        yield site


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


def test_install_killed_24_times_on_a_real_cluster_ends_well(site: LabSite, kit: Path, tmp_path: Path) -> None:
    objects = tmp_path / "objects.json"
    load_objects(site.cluster, objects)
    there = site.carry(kit)
    first = cluster_from_site(site.cluster).observe()
    seed = os.environ.get(SEED)
    kills, began = 0, time.monotonic()
    with Watchers(site, objects, tmp_path / "watchers") as watchers:
        for point in random_points(seed) if seed else POINTS:
            ended = install_until(site, there, point, first)
            if ended is not None:
                assert seed and ended.status == 0, f"it ended before kill point {kills + 1}, {point}: {ended}"
                break
            kills += 1
            print(f"{time.monotonic() - began:4.0f} s: killed {kills} at {point.line}", flush=True)
        else:
            ended = site.type(*SOURCE, "install", str(there), "--yes")
    print(f"ended after {time.monotonic() - began:.0f} s")
    seen = watchers.reports()
    tell(kills, seen)

    assert ended.status == 0, (ended.result, ended.stderr)
    assert ended.result["resumed"] is True
    require_signed_everywhere(site)
    assert cluster_from_site(site.cluster).observe().stripe_groups == first.stripe_groups
    require_each_step_done_once(site)
    for kind in seen:
        assert seen[kind]["errors"] == []
        assert seen[kind]["failed"] == 0
        assert seen[kind]["ok"] >= seen[kind]["seconds"], seen[kind]
    assert seen["sampler"].get("samples_with_missing", 0) == 0


def tell(kills: int, seen: Mapping[str, Mapping[str, Any]]) -> None:
    """Say what the clients saw, also to who asked for it in a file."""
    counts = {"kills": kills}
    for kind, what in (("reader", "reads"), ("writer", "writes"), ("sampler", "samples")):
        counts[what] = seen[kind]["ok"] + seen[kind]["failed"]
        counts[f"failed {what}"] = seen[kind]["failed"]
    print(json.dumps(counts), flush=True)
    if REPORT in os.environ:
        Path(os.environ[REPORT]).write_text(json.dumps(counts))


def require_signed_everywhere(site: LabSite) -> None:
    wanted = digest_of_file(weed_binary(NEW_WEED))
    rolled = [*site.cluster.volumes.values(), site.cluster.filer]
    assert [service.running_digest() for service in rolled] == [wanted] * 7
    addresses = frozenset(site.cluster.volume_address(name) for name in site.cluster.volumes)
    health = judge_health(cluster_from_site(site.cluster).observe(), addresses, single_copies=True)
    assert health.is_full, health.summary()
    for address in addresses:
        state = site.node.call(
            partial(call, address, VOLUME_SERVER + "GetState", pb.GetStateRequest(), pb.GetStateResponse)
        )
        assert not state.state.maintenance, address
    left = site.node.sh("true") + "".join(
        service.node.sh(f"find {service.folder}/bin -name '*.part*' -o -name '*.new*'") for service in rolled
    )
    assert left == ""


def require_each_step_done_once(site: LabSite) -> None:
    verified: Answer = site.type(*SOURCE, "journal", "verify")
    assert verified.status == 0, verified.stderr
    entries = FileJournal(site.state / "journal.jsonl").replay()
    assert [entry.event for entry in entries if entry.event in (STARTED, ENDED, UNDONE)] == [STARTED, ENDED]
    done = Counter(entry.step for entry in entries if entry.event == DONE)
    assert set(done.values()) == {1}
    assert {f"wait_for_rebalance {name}" for name in (*site.cluster.volumes, "core-filer")} <= set(done)
