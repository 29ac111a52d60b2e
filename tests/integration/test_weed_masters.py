"""Real masters that are killed and come back: nothing is decided while none of them answers, and work goes on after."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.cluster.seaweedfs_masters import Masters
from teraferry.installer.adapters.cluster.seaweedfs_rpc import AdminLock
from tests.lab.weed import weed_binary
from tests.lab.weed_masters import LoopbackMasters

pytestmark = pytest.mark.real

AWAY_SECONDS = 1.0


@pytest.fixture
def master(tmp_path: Path) -> Iterator[LoopbackMasters]:
    # Of the two kinds of raft, this one leads again within a second of its start.
    with LoopbackMasters(tmp_path, program=weed_binary("4.47"), count=1, raft="-raftHashicorp") as running:
        yield running


def test_masters_that_never_answered_are_not_waited_for() -> None:
    with pytest.raises(RefusedError) as caught:
        Masters(["127.0.0.1:9"], lock_wait_seconds=1).placement()

    assert (caught.value.reference, caught.value.exit_status) == ("cluster-unreachable", 40)


def test_a_master_that_answered_before_is_waited_for(master: LoopbackMasters) -> None:
    masters = Masters(master.addresses, lock_wait_seconds=1)
    masters.placement()
    master.kill(*master.addresses)

    with ThreadPoolExecutor() as pool:
        answer = pool.submit(masters.placement)
        time.sleep(AWAY_SECONDS)
        assert not answer.done()
        master.start(*master.addresses)

        assert answer.result().observation.nodes == frozenset()


def test_work_under_a_lock_that_was_lost_with_the_master_is_begun_again_under_a_new_one(
    master: LoopbackMasters,
) -> None:
    attempts: list[AdminLock] = []

    def act(lock: AdminLock) -> None:
        attempts.append(lock)
        if len(attempts) == 1:
            work_until_lost(lock, master)

    Masters(master.addresses, lock_wait_seconds=20).under_lock(act)

    assert len(attempts) == 2


def work_until_lost(lock: AdminLock, master: LoopbackMasters) -> None:
    """The master dies under somebody who holds its lock, and who asks before each change whether it still holds."""
    master.kill(*master.addresses)
    give_up = time.monotonic() + 60
    try:
        while time.monotonic() < give_up:
            lock.require_held()
            time.sleep(0.1)
    finally:
        master.start(*master.addresses)
