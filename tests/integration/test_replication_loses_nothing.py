"""No acknowledged write is lost between two clusters: under writers, when green dies, when both write one path.

The writers are the truth: what they were told is written, byte for byte, is looked for on the other cluster.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.cluster.seaweedfs_rpc import CallFailedError
from teraferry.installer.adapters.replicator.seaweedfs_comparing import Comparing
from teraferry.installer.adapters.replicator.seaweedfs_filer import Filer
from teraferry.installer.adapters.replicator.seaweedfs_http import http_to
from teraferry.installer.adapters.replicator.seaweedfs_keeping import keep_write
from teraferry.installer.adapters.replicator.seaweedfs_sending import send
from teraferry.installer.adapters.transport.command import CommandTransport
from tests.lab.metrics import Metrics
from tests.lab.nodes import Lab
from tests.lab.pair_writers import CREATED, Writer, content_of, write_on_both, writing
from tests.lab.weed import weed_binary
from tests.lab.weed_pair import ADDRESSES, ReplicatorFromSite, WeedPair, replicator_from_site

pytestmark = pytest.mark.real

MARKER = "run-1"
PATIENT = 60.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WeedPair]:
    with Lab(tmp_path_factory.mktemp("pair") / "lab", ADDRESSES) as lab:
        pair = WeedPair(lab, program=weed_binary("4.47"))
        pair.start()
        yield pair


@pytest.fixture(scope="module")
def replicator(pair: WeedPair) -> ReplicatorFromSite:
    replicator = replicator_from_site(pair)
    replicator.start()
    replicator.sync_state("blue", marker=MARKER, stalled_after_seconds=PATIENT)
    return replicator


def named_conflicts(replicator: ReplicatorFromSite) -> set[str]:
    return {line.partition(":")[0] for line in replicator.conflicts(marker=MARKER)}


def nothing_pending(replicator: ReplicatorFromSite, source: str) -> bool:
    pending = replicator.pending(source)
    return pending is not None and not pending


def require_both_kept(pair: WeedPair, path: str) -> None:
    folder = "/data/.teraferry/kept" + path.removeprefix("/data")
    for cluster in ("blue", "green"):
        kept = {name.partition("-")[0]: name for name in pair.names(cluster, folder)}
        found = {writer: pair.get(cluster, f"{folder}/{name}") for writer, name in kept.items()}
        assert found == {writer: content_of(path, writer) for writer in ("blue", "green")}, path


def test_writes_that_go_on_during_a_sync_are_all_on_the_other_after_the_next(
    pair: WeedPair, replicator: ReplicatorFromSite
) -> None:
    blue, green = Writer(pair, "blue", "/data/live/blue"), Writer(pair, "green", "/data/live/green")
    with writing(blue, green):
        replicator.sync_state("green", marker="run-1-back", stalled_after_seconds=PATIENT)
    before = set(green.acknowledged)

    for source in ("blue", "green"):
        replicator.sync_state(source, marker=f"run-1-{source}", stalled_after_seconds=PATIENT)

    assert before
    assert (blue.not_on("green"), green.not_on("blue")) == (set(), set())
    assert list(replicator.conflicts(marker=MARKER)) == []


def test_what_a_green_killed_in_the_midst_acknowledged_is_counted_by_name_and_merged(
    pair: WeedPair, replicator: ReplicatorFromSite
) -> None:
    replaced, over = "/data/killed/replaced", "/data/killed/over"
    writers = [Writer(pair, "green", f"/data/killed/{number}") for number in range(2)]
    with writing(*writers):
        time.sleep(0.5)
        # The last moments of a green that dies in the midst, made long enough to hold something for sure.
        pair.sync.stop()
        # Blue's is younger, so replication replaces green's as soon as it is back: nobody is quick enough to look.
        for cluster, path in (("green", replaced), ("blue", replaced), ("blue", over), ("green", over)):
            assert pair.put(cluster, path, content_of(path, cluster)) == CREATED
        pair.kill("green")
        while not all(writer.in_doubt for writer in writers):
            time.sleep(0.01)
    in_doubt = {writer.in_doubt for writer in writers}

    assert replicator.pending("green") is None
    pair.clusters["green"].start()
    pair.wait_for("green")
    truth = set().union(*(writer.not_on("blue") for writer in writers))
    told = set(replicator.pending("green") or ())
    replicator.start()
    replicator.sync_state("green", marker="run-1-merge", stalled_after_seconds=PATIENT)

    assert truth
    assert told - in_doubt == {*truth, replaced, over}
    assert set().union(*(writer.not_on("blue") for writer in writers)) == set()
    assert nothing_pending(replicator, "green")
    # Green's log is gone; that both wrote is seen from what they hold, and from what was replaced.
    assert named_conflicts(replicator) == {replaced, over}
    for path in (replaced, over):
        require_both_kept(pair, path)


def test_paths_written_on_both_are_named_and_both_versions_kept_on_both(
    pair: WeedPair, replicator: ReplicatorFromSite
) -> None:
    live = [f"/data/both/live-{number}" for number in range(6)]
    apart = [f"/data/both/apart-{number}" for number in range(2)]
    before = named_conflicts(replicator)
    write_on_both(pair, live)
    pair.sync.stop()
    write_on_both(pair, apart)
    replicator.start()

    named = named_conflicts(replicator) - before
    replicator.sync_state("blue", marker="run-1-kept", stalled_after_seconds=PATIENT)
    replicator.sync_state("green", marker="run-1-kept", stalled_after_seconds=PATIENT)

    # Of two writes in the same moment one may have come before the other was done; then both clusters serve that one.
    unlike = {path for path in live if pair.get("blue", path) != pair.get("green", path)}
    assert named >= {*apart, *unlike}
    assert named <= {*apart, *live}
    for path in named:
        require_both_kept(pair, path)


def test_changes_that_fail_after_a_restart_as_well_end_the_sync(pair: WeedPair, replicator: ReplicatorFromSite) -> None:
    replicator.start()
    site = pair.lab.node("site")

    def failing() -> str:
        text = site.call(lambda: http_to(pair.settings.metrics, "GET", "/metrics", limit_bytes=10**6)[1]).decode()
        return re.sub(r"(events_failed_total\{[^}]*\}) 0", r"\1 1", text)

    metrics = site.call(lambda: Metrics(ADDRESSES["site"], failing))
    settings = replace(pair.settings, metrics=metrics.address, start=["true"], stop=["true"])
    try:
        with pytest.raises(RefusedError) as refused:
            replicator_from_site(pair, settings).sync_state("blue", marker="run-1-f", stalled_after_seconds=PATIENT)
    finally:
        metrics.close()

    assert refused.value.reference == "replication-failed"


def test_file_that_somebody_writes_while_it_is_brought_over_is_left_to_them(
    pair: WeedPair, replicator: ReplicatorFromSite
) -> None:
    path = "/data/raced"
    pair.sync.stop()
    pair.put("green", path, b"of green")
    filers = (Filer(pair.filer("green"), "/data"), Filer(pair.filer("blue"), "/data"))

    def meanwhile(_: str) -> None:
        if pair.get("blue", path) is None:
            pair.put("blue", path, b"of blue")
            pair.sync.start()

    with pytest.raises(CallFailedError):
        pair.lab.node("site").call(lambda: send([path], filers, folder="/data/.teraferry/sending", pause=meanwhile))

    assert path in named_conflicts(replicator)


def test_overwritten_version_whose_bytes_are_not_those_that_were_written_counts_as_gone(
    pair: WeedPair, replicator: ReplicatorFromSite
) -> None:
    one, other = "/data/rescue/one", "/data/rescue/other"
    pair.put("blue", one, b"what was written")
    pair.put("blue", other, b"another's bytes!")
    filer = Filer(pair.filer("blue"), "/data")
    comparing = Comparing(CommandTransport("blue", pair.lab.node("blue").prefix), pair.sync.program, "/data")

    def keep() -> None:
        logs = filer.changes(frozenset({one, other}), since_ns=1)
        # The volume's place was given to another file meanwhile, as after a vacuum.
        swapped = replace(logs[one][0], pieces=logs[other][0].pieces)
        filer.write(one, b"newer")
        keep_write(comparing, [filer], one, "blue", swapped)
        keep_write(comparing, [filer], other, "blue", logs[other][0])

    pair.lab.node("site").call(keep)

    (gone,) = pair.names("blue", "/data/.teraferry/kept/rescue/one")
    (kept,) = pair.names("blue", "/data/.teraferry/kept/rescue/other")
    assert (gone.endswith("-gone"), kept.endswith("-gone")) == (True, False)
