"""A real SeaweedFS cluster goes from one real version to the next under readers, by the adapters alone.

No planner and no executor here: this is the floor they stand on.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb
from teraferry.installer.adapters.cluster.seaweedfs_moving import copy_shards, drop_shards, take_off_line
from teraferry.installer.adapters.cluster.seaweedfs_placement import Move, parse_placement
from teraferry.installer.adapters.cluster.seaweedfs_rpc import MASTER, call
from teraferry.installer.adapters.transport.command import CommandTransport
from teraferry.installer.adapters.workload.binary import BinaryWorkload
from teraferry.installer.rollout.gates import judge_health
from tests.lab.clients import load_objects
from tests.lab.nodes import Lab, wait_until
from tests.lab.rollable import FromSite, cluster_from_site
from tests.lab.weed import ADDRESSES, VOLUME_NODES, Service, WeedCluster, weed_binary

pytestmark = pytest.mark.real

OLD, NEW = "4.47", "4.48"
FRESH = "fresh"
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WeedCluster]:
    folder = tmp_path_factory.mktemp("weed")
    with Lab(folder / "lab", ADDRESSES) as lab:
        cluster = WeedCluster(lab, program=weed_binary(OLD))
        cluster.start()
        load_objects(cluster, folder / "lab" / "objects.json")
        yield cluster


@pytest.fixture(scope="module")
def new_digest() -> str:
    with weed_binary(NEW).open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def is_whole(weed: WeedCluster, cluster: FromSite) -> bool:
    expected = frozenset(weed.volume_address(name) for name in VOLUME_NODES)
    return judge_health(cluster.observe(), expected).is_full


def workload_of(service: Service) -> BinaryWorkload:
    transport = CommandTransport(service.node.name, service.node.prefix)
    return BinaryWorkload(transport, service.program, start=service.start_argv, stop=service.stop_argv)


def pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(1024 * 1024):
            yield piece


@contextmanager
def clients(weed: WeedCluster, folder: Path) -> Iterator[dict[str, Path]]:
    """Reader, writer and sampler run on the site node."""
    reports = {kind: folder / f"{kind}.json" for kind in ("reader", "writer", "sampler")}
    running = []
    for kind, report in reports.items():
        argv = ["env", "-C", str(REPOSITORY), sys.executable, "-m", "tests.lab.clients", kind]
        argv += ["--master", weed.master_address, "--report", str(report)]
        argv += ["--objects", str(weed.lab.folder / "objects.json")] if kind == "reader" else []
        running.append(weed.lab.node("site").start(argv, output=folder / f"{kind}.log"))
    try:
        wait_until("the clients' first reports", lambda: all(report.exists() for report in reports.values()))
        yield reports
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(timeout=30)


def roll(cluster: FromSite, service: Service, address: str, digest: str) -> None:
    """One node, from its drain to its rejoin, as the executor orders it."""
    workload = workload_of(service)
    workload.stage(pieces(weed_binary(NEW)), digest, mode=0o755)
    cluster.drain(address)
    cluster.leave(address)
    workload.stop()
    workload.select(digest)
    workload.start()
    wait_until(f"{address} in", lambda: address in cluster.observe().nodes)
    cluster.rebalance()


@pytest.mark.timeout(280)
def test_every_node_goes_to_the_new_version_and_no_reader_sees_an_error(
    weed: WeedCluster, new_digest: str, tmp_path: Path
) -> None:
    cluster = cluster_from_site(weed)
    with clients(weed, tmp_path) as reports:
        for name, service in weed.volumes.items():
            assert is_whole(weed, cluster)
            roll(cluster, service, weed.volume_address(name), new_digest)
            wait_until("a whole cluster", lambda: is_whole(weed, cluster))
        filer = workload_of(weed.filer)
        filer.stage(pieces(weed_binary(NEW)), new_digest, mode=0o755)
        filer.stop()
        filer.select(new_digest)
        filer.start()
        wait_until("the filer", lambda: cluster.serves(weed.filer_address))
    seen: dict[str, Any] = {kind: json.loads(report.read_text()) for kind, report in reports.items()}

    assert seen["reader"]["failed"] == 0, seen["reader"]["errors"]
    assert seen["reader"]["ok"] >= 5 * seen["reader"]["seconds"]
    assert set(seen["reader"]["servers"]) == {weed.volume_address(name) for name in VOLUME_NODES}
    assert seen["writer"]["failed"] == 0, seen["writer"]["errors"]
    assert seen["sampler"].get("samples_with_missing", 0) == 0
    assert seen["sampler"]["failed"] == 0, seen["sampler"]["errors"]
    rolled = (*weed.volumes.values(), weed.filer)
    assert {service.running_digest() for service in rolled} == {new_digest}
    assert weed.master.running_digest() != new_digest


def test_drain_refuses_while_another_shell_holds_the_lock(weed: WeedCluster) -> None:
    request = pb.LeaseAdminTokenRequest(lock_name="shell", client_name="somebody")
    site = weed.lab.node("site")
    lease = site.call(
        lambda: call(weed.master_address, MASTER + "LeaseAdminToken", request, pb.LeaseAdminTokenResponse)
    )
    with pytest.raises(RefusedError) as caught:
        cluster_from_site(weed, lock_wait_seconds=1).drain(weed.volume_address("vol-1"))
    assert (caught.value.reference, caught.value.exit_status) == ("storage-locked", 40)
    assert "somebody" in caught.value.message
    release = pb.ReleaseAdminTokenRequest(
        previous_token=lease.token, previous_lock_time=lease.lock_ts_ns, lock_name="shell"
    )
    site.call(lambda: call(weed.master_address, MASTER + "ReleaseAdminToken", release, pb.ReleaseAdminTokenResponse))


def test_a_drain_that_was_killed_is_finished_by_the_next_run(weed: WeedCluster, tmp_path: Path) -> None:
    cluster = cluster_from_site(weed)
    address = weed.volume_address("vol-2")
    script = textwrap.dedent(f"""
        from teraferry.installer.adapters.cluster.seaweedfs import SeaweedfsCluster
        from teraferry.installer.adapters.transport.command import CommandTransport
        shell = CommandTransport("core", {weed.lab.node("core").prefix!r})
        SeaweedfsCluster([{weed.master_address!r}], shell, {weed.master.program!r}).drain({address!r})
    """)
    argv = [*weed.lab.node("site").prefix, "env", "-C", str(REPOSITORY), sys.executable, "-c", script]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    before = sum(len(held) for group in cluster.observe().stripe_groups for held in group.holders.values())

    def has_begun() -> bool:
        now = sum(len(held) for group in cluster.observe().stripe_groups for held in group.holders.values())
        return process.poll() is not None or now >= before + 5

    wait_until("the drain to begin", has_begun, every_seconds=0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    cluster.drain(address)
    assert all(address not in group.holders for group in cluster.observe().stripe_groups)
    weed.volumes["vol-2"].stop()
    weed.volumes["vol-2"].start()
    wait_until(f"{address} in", lambda: address in cluster.observe().nodes)
    cluster_from_site(weed).rebalance()
    wait_until("a whole cluster", lambda: is_whole(weed, cluster))


def restart(cluster: FromSite, service: Service, address: str) -> None:
    service.stop()
    service.start()
    wait_until(f"{address} in", lambda: address in cluster.observe().nodes)


def test_copies_that_a_killed_run_left_off_line_do_not_come_back(weed: WeedCluster) -> None:
    cluster, site, home = cluster_from_site(weed), weed.lab.node("site"), weed.volume_address("vol-2")
    before = cluster.observe().stripe_groups
    cluster.drain(home)
    restart(cluster, weed.volumes["vol-2"], home)
    # So far comes a run that is killed after it took the copies off line and before it deleted their files.
    copies = {
        (server, group.id): held - now.holders[server]
        for group, now in zip(cluster.observe().stripe_groups, before, strict=True)
        for server, held in group.holders.items()
    }
    for (server, volume), shards in copies.items():
        site.call(partial(take_off_line, server, volume, shards))
    left = {server for (server, _), shards in copies.items() if shards}

    cluster_from_site(weed).rebalance(home=home)

    name = next(name for name in VOLUME_NODES if weed.volume_address(name) in left)
    restart(cluster, weed.volumes[name], weed.volume_address(name))
    wait_until("a whole cluster", lambda: is_whole(weed, cluster))
    assert cluster.observe().stripe_groups == before


def test_no_read_fails_when_a_node_is_drained_while_the_places_of_parity_shards_are_known_wrongly(
    weed: WeedCluster,
) -> None:
    cluster, site, node = cluster_from_site(weed), weed.lab.node("site"), weed.volume_address("vol-1")
    assert read_everywhere(weed) == []  # every server knows every place now
    moved = 0
    for group in cluster.observe().stripe_groups:
        for shard in range(10, 14):
            moved += site.call(partial(move_shard, weed, group.id, shard, away_from=node))
    assert moved >= 2 * len(cluster.observe().stripe_groups)

    cluster.drain(node)

    assert read_everywhere(weed) == []
    restart(cluster, weed.volumes["vol-1"], node)
    cluster.rebalance()
    wait_until("a whole cluster", lambda: is_whole(weed, cluster))


def test_no_write_fails_when_the_node_of_every_writable_volume_is_drained(weed: WeedCluster, tmp_path: Path) -> None:
    """A writer asks for a place, waits, then writes there: what was assigned is taken, though the volume goes away."""
    cluster = cluster_from_site(weed)
    # The first to ask has one volume grown, with two copies; all writes of the collection go there.
    assign = f"/dir/assign?collection={FRESH}"
    node = json.loads(weed.from_site(f"http://{weed.master_address}{assign}"))["url"]
    script = f"""
        import sys, threading, time
        from tests.lab.clients import Failed, request, json
        def say(line):  # one write, so that no other thread's comes between a line and its end
            sys.stdout.write(f"{{line}}\\n")
            sys.stdout.flush()
        def write():
            for _ in range(60):
                try:
                    place = json.loads(request({weed.master_address!r}, "GET", {assign!r}))
                    time.sleep(0.4)
                    request(place["url"], "PUT", "/" + place["fid"], body=b"x" * 1000)
                    say("ok")
                except Failed as error:
                    say(error)
        writers = [threading.Thread(target=write) for _ in range(6)]
        for writer in writers: writer.start()
        for writer in writers: writer.join()
    """
    said = tmp_path / "said"
    argv = ["env", "-C", str(REPOSITORY), sys.executable, "-c", textwrap.dedent(script)]
    process = weed.lab.node("site").start(argv, output=said)
    wait_until("writes", lambda: said.exists() and said.read_text().count("ok") >= 6)
    name = next(name for name in VOLUME_NODES if weed.volume_address(name) == node)

    cluster.drain(node)

    assert process.wait(timeout=120) == 0
    assert set(said.read_text().splitlines()) == {"ok"}
    restart(cluster, weed.volumes[name], node)
    cluster.rebalance()
    wait_until("a whole cluster", lambda: is_whole(weed, cluster))


def move_shard(weed: WeedCluster, volume: int, shard: int, *, away_from: str) -> int:
    """Move one shard that ``away_from`` does not hold to another server, with no word to those that read it."""
    placement = parse_placement(
        call(weed.master_address, MASTER + "VolumeList", pb.VolumeListRequest(), pb.VolumeListResponse)
    )
    holders = placement.holders(volume)
    (source,) = (server for server, held in holders.items() if shard in held)
    if source == away_from:
        return 0
    target = min(holders.keys() - {source, away_from}, key=lambda server: len(holders[server]))
    copy_shards(placement, Move(volume, target, source, frozenset({shard})))
    drop_shards(placement, Move(volume, source, target, frozenset({shard})))
    return 1


def read_everywhere(weed: WeedCluster) -> list[str]:
    """Read every object from every server that has shards of its volume; return what failed."""
    script = f"""
        import json, pathlib
        from tests.lab.clients import Failed, locations, request
        for each in json.loads(pathlib.Path({str(weed.lab.folder / "objects.json")!r}).read_text()):
            for place in locations({weed.master_address!r}, each["fid"].partition(",")[0]):
                try:
                    request(place, "GET", "/" + each["fid"])
                except Failed as error:
                    print(error)
    """
    argv = ["env", "-C", str(REPOSITORY), sys.executable, "-c", textwrap.dedent(script)]
    return weed.lab.node("site").run(*argv, timeout_seconds=120).stdout.decode().splitlines()


def test_a_service_outlives_the_command_that_started_it_and_is_nobody_s_child(weed: WeedCluster) -> None:
    node = weed.volumes["vol-3"].node
    status = node.sh("cat /proc/$(cat /opt/seaweedfs/pid)/status")
    assert "\nPPid:\t1\n" in status
    session, group = node.sh("pid=$(cat /opt/seaweedfs/pid); set -- $(cat /proc/$pid/stat); echo $6 $5").split()
    assert session == group == node.sh("cat /opt/seaweedfs/pid").strip()
