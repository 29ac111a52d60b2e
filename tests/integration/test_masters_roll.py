"""Three real masters go to another version one by one, wired from site.toml, and a cluster that is asked goes on.

No installer is typed here: its plan, its parts and its executor are called from the site's network.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from teraferry.bundles.manifest import File, Manifest, Release
from teraferry.bundles.progress import Silent
from teraferry.installer.adapters.cluster.seaweedfs_masters import Masters
from teraferry.installer.adapters.cluster.seaweedfs_quorum import SeaweedfsQuorum
from teraferry.installer.adapters.cluster.seaweedfs_rpc import AdminLock
from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.cli_wiring import make_rolling
from teraferry.installer.ports import MasterView
from teraferry.installer.program.handover import digest_of_file
from teraferry.installer.rollout.execute import INTENT, RunRecord
from teraferry.installer.rollout.gates import Baseline, judge_masters
from teraferry.installer.rollout.key_gate import KeyGate
from teraferry.installer.rollout.plan import PATCH, plan_rolling
from teraferry.installer.rollout.rolling import execute_rolling_update
from teraferry.installer.site.load import parse_site
from teraferry.keys.continuity.watch import KeyWatch
from tests.lab.nodes import Lab, wait_until
from tests.lab.weed import weed_binary
from tests.lab.weed_quorum import ADDRESSES, WeedQuorum

pytestmark = pytest.mark.real

OLD, NEW = "4.47", "4.48"


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WeedQuorum]:
    with Lab(tmp_path_factory.mktemp("masters") / "lab", ADDRESSES) as lab:
        weed = WeedQuorum(lab, program=weed_binary(OLD))
        weed.start()
        wait_until("one leader", lambda: agree(weed))
        yield weed


def views(weed: WeedQuorum) -> dict[str, MasterView]:
    return dict(weed.lab.node("site").call(SeaweedfsQuorum(weed.addresses).observe))


def agree(weed: WeedQuorum) -> bool:
    return not judge_masters(views(weed), frozenset(weed.addresses))


def leader_of(weed: WeedQuorum) -> str:
    leader = next(iter(views(weed).values())).leader
    return next(name for name, address in zip(weed.masters, weed.addresses, strict=True) if address == leader)


def roll(weed: WeedQuorum, program: Path, record: RunRecord, journal: FileJournal) -> None:
    """What an install does of its rollout, once the files are verified."""
    site = parse_site(weed.site_toml().encode(), name="site.toml")
    file = File(name="bin/weed", mode="0755", digest=digest_of_file(program), length_bytes=program.stat().st_size)
    plan = plan_rolling(Manifest(format=1, release=Release(product="demo", version="1.0.0"), files=(file,)), site)
    keys = KeyGate(
        KeyWatch([], nonce=lambda: os.urandom(32)), journal, backups=Path("/nowhere"), recoveries={}, progress=Silent()
    )
    parts = make_rolling(site, plan, lambda _: pieces(program), Silent(), keys=keys)
    execute_rolling_update(plan, parts, record, baseline=Baseline(frozenset()))


def pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(1024 * 1024):
            yield piece


def test_masters_roll_one_by_one_and_whoever_asks_the_cluster_is_answered(weed: WeedQuorum, tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "journal.jsonl")
    record = RunRecord(journal, run="run", clock=lambda: datetime.now(UTC))
    leader, site = leader_of(weed), weed.lab.node("site")
    masters, over = Masters(weed.addresses, lock_wait_seconds=60), threading.Event()
    answers: list[frozenset[str]] = []

    def ask() -> None:
        while not over.wait(0.2):
            answers.append(site.call(masters.placement).observation.nodes)

    asking = threading.Thread(target=ask)
    asking.start()
    site.call(partial(roll, weed, weed_binary(NEW), record, journal))
    over.set()
    asking.join()

    assert {service.running_digest() for service in weed.masters.values()} == {digest_of_file(weed_binary(NEW))}
    assert agree(weed)
    begun = [entry.step for entry in journal.replay() if entry.event == INTENT and entry.step.startswith(PATCH)]
    assert sorted(begun) == [f"{PATCH} {name}" for name in weed.masters]
    assert begun[-1] == f"{PATCH} {leader}"
    assert f"{ADDRESSES['vol-1']}:8080" in answers[-1]


def test_a_lock_is_taken_and_the_cluster_answers_while_the_first_master_is_away(weed: WeedQuorum) -> None:
    first = next(iter(weed.masters.values()))
    masters, site = Masters(weed.addresses, lock_wait_seconds=60), weed.lab.node("site")
    site.call(masters.placement)
    first.node.sh(f"kill -KILL $(cat {first.folder}/pid)")
    held: list[AdminLock] = []

    site.call(partial(masters.under_lock, held.append))

    assert len(held) == 1
    assert site.call(masters.placement).observation.nodes
    first.start()
    wait_until("one leader", lambda: agree(weed))
