"""Two SeaweedFS clusters under writers: green killed at a random moment, away for a while, and back; then both write.

A round has clusters of its own. Even rounds stop replication with the kill, so that what is pending can be compared
with the truth, by name; in odd ones it lives on, tries, and gives changes up while green is away for half a minute.
The suite's short form is ``tests/integration/test_replication_loses_nothing.py``.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.lab.nodes import Lab
from tests.lab.pair_writers import Writer, content_of, write_on_both, writing
from tests.lab.weed import weed_binary
from tests.lab.weed_pair import ADDRESSES, ReplicatorFromSite, WeedPair, replicator_from_site
from tests.prove.record import Outcome, Record

ROUNDS = int(os.environ.get("TERAFERRY_REPLICATION_ROUNDS", "10"))
SETTINGS: dict[str, int | str] = {"rounds": ROUNDS}
VERSIONS = ("4.47", "4.48")
WRITERS = 6
AWAY_SECONDS = 35.0
PATHS_ON_BOTH = 40
PATIENT = 120.0
MARKER = "run"


def prove(record: Record) -> Outcome:
    """Run the rounds that are left."""
    for number in range(ROUNDS):
        name = f"round {number}"
        if name not in record:
            record.tell(name)
            record.done(name, run_round(number))
    counts: Counter[str] = Counter()
    for found in record.pieces().values():
        counts.update(found)
    wrong = {name: counts[name] for name in ("lost", "wrongly pending", "conflicts not named", "versions not kept")}
    said = f"{counts['acknowledged']} acknowledged writes in {ROUNDS} rounds, {counts['lost']} lost"
    said += f"; {counts['pending']} were pending, {counts['conflicts']} paths were in conflict"
    return Outcome(not any(wrong.values()) and counts["acknowledged"] > 0, said, {"rounds": ROUNDS, **counts})


def run_round(number: int) -> dict[str, Any]:
    """Run one round and return what was counted."""
    drawn = random.Random(number)
    with (
        tempfile.TemporaryDirectory(prefix="teraferry-prove-") as folder,
        Lab(Path(folder) / "lab", ADDRESSES) as lab,
    ):
        pair = WeedPair(lab, program=weed_binary(VERSIONS[number % len(VERSIONS)]))
        pair.start()
        replicator = replicator_from_site(pair)
        replicator.start()
        replicator.sync_state("blue", marker=MARKER, stalled_after_seconds=PATIENT)
        counts = _kill_green(pair, replicator, drawn, counted=number % 2 == 0)
        counts.update(_write_on_both(pair, replicator))
    return dict(counts)


def _kill_green(pair: WeedPair, replicator: ReplicatorFromSite, drawn: random.Random, *, counted: bool) -> Counter[str]:
    writers = [Writer(pair, "green", f"/data/green-{number}") for number in range(WRITERS)]
    beside = Writer(pair, "blue", "/data/blue")
    with writing(*writers, beside):
        time.sleep(drawn.uniform(1, 6))
        pair.kill("green")
        if counted:
            pair.sync.stop()
        while not all(writer.in_doubt for writer in writers):
            time.sleep(0.01)
    told_dead = replicator.pending("green")
    if not counted:
        time.sleep(AWAY_SECONDS)
    pair.clusters["green"].start()
    pair.wait_for("green")
    counts = Counter({"acknowledged": sum(len(each.acknowledged) for each in (*writers, beside))})
    counts["told while dead"] = int(told_dead is not None)
    if counted:
        truth = set().union(*(writer.not_on("blue") for writer in writers))
        in_doubt = {writer.in_doubt for writer in writers}
        told = set(replicator.pending("green") or ())
        counts.update({"pending": len(truth), "wrongly pending": len((told - in_doubt) ^ truth)})
    replicator.start()
    for source in ("green", "blue"):
        replicator.sync_state(source, marker=f"{MARKER}-{source}", stalled_after_seconds=PATIENT)
    lost = set().union(*(writer.not_on("blue") for writer in writers), beside.not_on("green"))
    counts["lost"] = len(lost)
    return counts


def _write_on_both(pair: WeedPair, replicator: ReplicatorFromSite) -> Counter[str]:
    paths = [f"/data/both/{number}" for number in range(PATHS_ON_BOTH)]
    write_on_both(pair, paths)
    named = {line.partition(":")[0] for line in replicator.conflicts(marker=MARKER)} & set(paths)
    for source in ("green", "blue"):
        replicator.sync_state(source, marker=f"{MARKER}-{source}", stalled_after_seconds=PATIENT)
    unlike = {path for path in paths if pair.get("blue", path) != pair.get("green", path)}
    counts = Counter({"conflicts": len(named), "conflicts not named": len(unlike - named)})
    for path in named:
        folder = "/data/.teraferry/kept" + path.removeprefix("/data")
        kept = {pair.get("blue", f"{folder}/{name}") for name in pair.names("blue", folder)}
        counts["versions not kept"] += len({content_of(path, cluster) for cluster in ("blue", "green")} - kept)
    return counts
