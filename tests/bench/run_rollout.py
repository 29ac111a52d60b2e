"""Our own share of a rolling update: what passes between the steps of a real one, on a real cluster.

The journal says when each step began and when its effect was seen; in between the nodes and the storage work, and the
gates look three times by design. The rest, from the gate before the first node to the last node being back, is ours.
Before it the nodes digest what was staged, after it they digest what runs, and the last gate looks: that is theirs.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.ports import Entry
from teraferry.installer.rollout.execute import DONE, INTENT
from teraferry.installer.rollout.plan import CHECK, REBALANCE
from tests.bench.measure import BenchError
from tests.bench.table import Row
from tests.e2e.room import build_kit
from tests.lab.clients import load_objects
from tests.lab.secops import Secops
from tests.lab.site import SITE_FILE, LabSite
from tests.lab.weed import weed_binary

OLD_WEED, NEW_WEED = "4.47", "4.48"
BUDGET = 0.02


def rollout_rows(folder: Path) -> list[Row]:
    """Roll a release out over six volume servers and a filer, and return our share of the time."""
    secops = Secops(folder / "secops").open()
    kit = build_kit(secops, folder, "4.2.0", program=weed_binary(NEW_WEED), layer_bytes=300_000)
    secops.sign_fully(kit)
    (folder / "site").mkdir()
    with LabSite(folder / "site", weed=weed_binary(OLD_WEED)) as site:
        load_objects(site.cluster, folder / "objects.json")
        shutil.copyfile(secops.root, site.etc / "root-from-paper.json")
        _type(site, "trust", "pin", str(SITE_FILE.parent / "root-from-paper.json"), "--fingerprint", secops.fingerprint)
        _type(site, "install", str(site.carry(kit)), "--yes")
        entries = FileJournal(site.state / "journal.jsonl").replay()
    gaps, whole = own_gaps(entries)
    ours = sum(seconds for seconds, _ in gaps)
    share = ours / (whole - ours)
    return [
        Row(
            "our own time in a rolling update of 7 nodes",
            f"{ours:.2f} s of {whole:.0f} s",
            f"{100 * share:.1f} %",
            "<= 2 % of the nodes' own",
            share <= BUDGET,
            profile=() if share <= BUDGET else _profile(gaps),
        )
    ]


def _type(site: LabSite, *words: str) -> None:
    answer = site.type(sys.executable, "-m", "teraferry.installer.cli", *words, timeout_seconds=500)
    if answer.status != 0:
        raise BenchError(f"{words[0]}: {answer.status}\n{answer.stderr[-2000:]}")


def own_gaps(entries: Sequence[Entry]) -> tuple[list[tuple[float, str]], float]:
    """Return what passed between steps, with the entries around it, and the seconds from first gate to last node."""
    first = next(at for at, entry in enumerate(entries) if entry.event == INTENT and entry.step.startswith(CHECK))
    last = max(at for at, entry in enumerate(entries) if entry.event == DONE and entry.step.startswith(REBALANCE))
    run = entries[first : last + 1]
    gaps = [
        (_seconds(before, after), f"{before.event} {before.step.split()[0]} -> {after.event} {after.step.split()[:1]}")
        for before, after in pairwise(run)
        if not (before.event == INTENT and after.event in (INTENT, DONE))
    ]
    return gaps, _seconds(run[0], run[-1])


def _profile(gaps: Sequence[tuple[float, str]]) -> tuple[str, ...]:
    kinds: dict[str, list[float]] = {}
    for seconds, kind in gaps:
        kinds.setdefault(kind, []).append(seconds)
    worst = sorted(kinds.items(), key=lambda each: -sum(each[1]))[:8]
    return tuple(f"{sum(each):6.2f} s in {len(each)}: {kind}" for kind, each in worst)


def _seconds(before: Entry, after: Entry) -> float:
    return (datetime.fromisoformat(after.time_utc) - datetime.fromisoformat(before.time_utc)).total_seconds()
