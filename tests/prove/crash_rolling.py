"""Tier 1 on a real cluster: the installer dies by SIGKILL at every touch of a whole install, and is typed again.

One install is left alone first: its touches, from the locks on the nodes to their release, are what has to be died at.
Then the plan is cut into sections, a node each, with a cluster each; an install dies at every touch of its section.
Clients read, write and count shards all the while. A site mostly waits, so two are rolled at once. The suite has
the same enumeration on fakes, in ``tests/adversarial/test_killed_between_steps.py``.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

from teraferry.installer.program.handover import digest_of_file
from tests.e2e.room import SOURCE, build_kit
from tests.lab.clients import load_objects
from tests.lab.mortal import Mortal
from tests.lab.rollable import cluster_from_site
from tests.lab.rolled import client_counts, client_errors, problems_of
from tests.lab.secops import Secops
from tests.lab.site import LabSite
from tests.lab.watchers import Watchers
from tests.lab.weed import VOLUME_NODES, weed_binary
from tests.prove.lives import judge, live_until_done
from tests.prove.record import Outcome, Record

OLD, NEW = "4.47", "4.48"
NODES = os.environ.get("TERAFERRY_CRASH_NODES", ",".join((*VOLUME_NODES, "core-filer")))
SETTINGS: dict[str, int | str] = {"old": OLD, "new": NEW, "nodes": NODES}
CRASH_FREE = "without a crash"
SITES_AT_ONCE = 2
"""Few enough that two processors have time left: what clients meet shall not be the machine's doing."""
SECTIONS = {
    CRASH_FREE: "",
    "load and stage": r"^(any line|no line|[a-z]+-[a-z]+|\S+ load_registry|\S+ stage_file .*) \|",
    **{node: rf"^\S+ (?!stage_file )\S+ {node}\b" for node in NODES.split(",")},
}
"""By the newest line of the journal at a touch. A night suffices for all; some nodes may be named, of the same plan."""


def prove(record: Record) -> Outcome:
    """Go through the sections that are left."""
    left = {name: dies_at for name, dies_at in SECTIONS.items() if name not in record}
    with ProcessPoolExecutor(SITES_AT_ONCE, mp_context=multiprocessing.get_context("spawn")) as pool:
        sections = {pool.submit(_section, dies_at): name for name, dies_at in left.items()}
        for section in as_completed(sections):
            record.done(sections[section], section.result())
            record.tell(sections[section])
    found = judge(record.pieces(), SECTIONS, crash_free=CRASH_FREE, clients="reads")
    return replace(found, counts={**found.counts, "at the steps of": NODES})


def _section(dies_at: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="teraferry-prove-") as folder:
        return _in_a_site(Path(folder), dies_at)


def _in_a_site(folder: Path, dies_at: str) -> dict[str, Any]:
    secops = Secops(folder / "secops").open()
    kit = build_kit(secops, folder, "4.9.0", program=weed_binary(NEW), layer_bytes=1_000_000)
    secops.sign_fully(kit)
    with LabSite(folder / "site", weed=weed_binary(OLD)) as site:
        site.pin(SOURCE, secops.root, secops.fingerprint)
        objects = folder / "objects.json"
        load_objects(site.cluster, objects)
        there, first = site.carry(kit), cluster_from_site(site.cluster).observe()
        mortal = Mortal(folder / "mortal", site.lab.nodes, dies_at)
        with Watchers(site, objects, folder / "watchers") as watchers:
            wrong = live_until_done(
                mortal, lambda: site.type(*mortal.words, "install", str(there), "--yes", "--foreground")
            )
        seen = watchers.reports()
        wrong += problems_of(site, digest=digest_of_file(weed_binary(NEW)), first=first) + client_errors(seen)
        journal = (site.state / "journal.jsonl").read_text().splitlines()
    return {
        "wrong": wrong,
        "journal": journal if wrong else [],
        "deaths": mortal.deaths(),
        "touches": mortal.touches() if not dies_at else [],
        "counts": client_counts(seen),
    }
