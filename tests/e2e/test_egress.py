"""One real rollout, traced whole: it halts when the cluster breaks in the middle, goes on, and reaches for nobody else.

The cluster holds erasure-coded data. A volume server is killed as soon as the first node is
through; the run must halt before the next node. When the server is back, the same command goes on to the end.
Both runs are traced, with everything they start.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.room import Room, require_refusal
from tests.e2e.tracing import Trace, read_trace, supervised, traced
from tests.lab.clients import COLLECTION, write_object
from tests.lab.nodes import wait_until
from tests.lab.secops import Answer, parse_answer
from tests.lab.weed import VOLUME_NODES

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("site")]

KILLED = "vol-5"
OBJECTS = 12
OBJECT_BYTES = 256 * 1024


@dataclass(frozen=True)
class Halted:
    """The two runs of the one rollout."""

    first: Answer
    links_before: dict[str, str]
    links_when_halted: dict[str, str]
    second: Answer
    first_trace: Trace
    second_trace: Trace


def links(room: Room) -> dict[str, str]:
    """Return what each server's program path is now: a link's target, or a plain file."""
    found = {}
    for service in room.site.cluster.services:
        path = service.node.folder / service.program.lstrip("/")
        found[f"{service.node.name} {service.role}"] = str(path.readlink()) if path.is_symlink() else "plain file"
    return found


def store_data(room: Room) -> None:
    """Erasure-code objects 10+4 over the six servers; one more lies in a volume of two copies."""
    cluster = room.site.cluster
    query = f"?collection={COLLECTION}&replication=010"
    written = [
        room.site.node.call(lambda: write_object(cluster.master_address, os.urandom(OBJECT_BYTES), query=query)[0])
        for _ in range(OBJECTS)
    ]
    cluster.stripe(sorted({int(fid.partition(",")[0]) for fid in written}))
    room.site.node.call(lambda: write_object(cluster.master_address, b"two copies", query="?replication=010"))


def journal_says(room: Room, event: str, step: str) -> bool:
    lines = (room.site.state / "journal.jsonl").read_bytes().splitlines()
    entries = [json.loads(line) for line in lines if line.endswith(b"}")]
    return any((entry["event"], entry["step"]) == (event, step) for entry in entries)


def type_traced(room: Room, there: Path, output: Path) -> subprocess.Popen[bytes]:
    argv = room.site.argv(*room.installer, "install", str(there), "--yes")
    return subprocess.Popen(
        [*traced(output), *room.site.node.prefix, *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finished(process: subprocess.Popen[bytes]) -> Answer:
    stdout, stderr = process.communicate(timeout=240)
    return parse_answer(subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr))


@pytest.fixture(scope="module")
def halted(room: Room, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Halted]:
    """Run the rollout, break the cluster in the middle, mend it, run it again."""
    folder = tmp_path_factory.mktemp("traces")
    store_data(room)
    with supervised(room.site, folder), room.carried(room.rolling) as there:
        yield roll_out_twice(room, there, folder)


def roll_out_twice(room: Room, there: Path, folder: Path) -> Halted:
    before = links(room)
    running = type_traced(room, there, folder / "first")
    wait_until(
        "the first node to be through",
        lambda: running.poll() is not None or journal_says(room, "done", "wait_for_rebalance vol-1"),
        seconds=180,
        every_seconds=0.02,
    )
    service = room.site.cluster.volumes[KILLED]
    service.node.sh(f"kill -KILL $(cat {service.folder}/pid)")
    first = finished(running)
    when_halted = links(room)
    service.start()
    second = finished(type_traced(room, there, folder / "second"))
    return Halted(first, before, when_halted, second, read_trace(folder / "first"), read_trace(folder / "second"))


def test_rollout_halts_when_the_cluster_is_degraded_in_the_middle(halted: Halted) -> None:
    require_refusal(halted.first, 60, "halted-half-way")
    assert halted.first.result["cluster"] == "degraded"
    assert halted.first.result["cause"] == "cluster-degraded"
    assert halted.first.result["patched"] == ["vol-1"]


def test_no_further_node_is_touched_once_the_cluster_is_degraded(halted: Halted) -> None:
    changed = {name for name, link in halted.links_when_halted.items() if link != halted.links_before[name]}

    assert changed == {"vol-1 volume"}


def test_same_command_goes_on_to_the_end_when_the_cluster_is_mended(halted: Halted, room: Room) -> None:
    assert halted.second.status == 0, halted.second.stderr
    assert halted.second.result["resumed"] is True
    assert halted.second.result["nodes"] == [*VOLUME_NODES, "core-filer"]
    running = {service.running_digest() for service in (*room.site.cluster.volumes.values(), room.site.cluster.filer)}
    assert len(running) == 1


def test_journal_of_the_two_runs_is_whole(halted: Halted, room: Room) -> None:
    assert halted.second.status == 0
    assert room.type("journal", "verify").status == 0
    assert room.type("status").result["state"] == "installed"


def allowed_addresses(room: Room) -> set[str]:
    """Return every address that site.toml names."""
    return set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", room.site.site_toml()))


@pytest.mark.parametrize("run", ["first", "second"])
def test_install_and_its_children_reach_for_nothing_but_what_the_site_file_names(
    halted: Halted, room: Room, run: str
) -> None:
    trace: Trace = getattr(halted, f"{run}_trace")

    assert {address for address, _ in trace.destinations} <= allowed_addresses(room)
    # What would make the line above true for nothing: a trace that misses the registry or the children.
    assert (room.site.registry.host, room.site.registry.port) in trace.destinations
    assert {address for address, _ in trace.destinations} >= {room.site.lab.node("core").address}
    assert "/opt/seaweedfs/service" in trace.programs


@pytest.mark.parametrize("run", ["first", "second"])
def test_install_asks_no_name_server(halted: Halted, run: str) -> None:
    trace: Trace = getattr(halted, f"{run}_trace")

    assert not [place for place in trace.destinations if place[1] == 53]


def test_trace_sees_what_a_grandchild_reaches_for_even_without_a_route(room: Room, tmp_path: Path) -> None:
    script = (
        "sh -c 'curl -s --max-time 1 http://192.0.2.7:8443/; curl -s --max-time 1 http://[2001:db8::7]:8444/; true'"
    )

    subprocess.run([*traced(tmp_path / "trace"), *room.site.node.prefix, "sh", "-c", script], check=True, timeout=60)

    assert read_trace(tmp_path / "trace").destinations == {("192.0.2.7", 8443), ("2001:db8::7", 8444)}
