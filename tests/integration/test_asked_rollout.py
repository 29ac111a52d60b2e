"""A rolling update over a cluster that is asked by HTTP, in both modes; and what it never does without an answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import OperatorNeededError, RefusedError
from teraferry.bundles.progress import Silent
from teraferry.installer.rollout.execute import RunRecord
from teraferry.installer.rollout.gates import baseline_of
from teraferry.installer.rollout.key_gate import KeyGate
from teraferry.installer.rollout.plan import Plan, Target, plan_targets
from teraferry.installer.rollout.rolling import execute_rolling_update
from teraferry.installer.rollout.rolling_parts import Patience, RollingParts
from teraferry.installer.rollout.smoke import SmokeGate
from teraferry.keys.continuity.watch import KeyWatch
from tests.fakes.journal import MemoryJournal
from tests.fakes.workload import FakeWorkload
from tests.lab.answers import Answer, AnswerServer
from tests.lab.told_cluster import NODES, ToldCluster, cluster_of, start_cluster

OLD, NEW = digest_of(b"old"), digest_of(b"new")
PATH = "/opt/terachat/bin/store"
MODES = ("safe", "quick")


class Rollout:
    """One cluster, its nodes' programs, and a clock that only a pause moves."""

    def __init__(self, told: ToldCluster, server: AnswerServer, mode: str) -> None:
        self.told = told
        self.seconds = 0.0
        self.mode = mode
        self.journal = MemoryJournal(bytearray())
        self.programs = {
            name: FakeWorkload(
                OLD,
                on_stop=partial(told.inner.stop_node, address),
                on_start=partial(told.inner.start_node, address),
            )
            for name, address in NODES.items()
        }
        # Each mode has what it needs, and nothing of the other's.
        self.cluster = cluster_of(server.url, mode=mode, without="leave" if mode == "safe" else "drain")

    def run(self) -> None:
        record = RunRecord(self.journal, run="1", clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
        baseline = baseline_of(self.cluster.observe())
        execute_rolling_update(self._plan(), self._parts(), record, baseline=baseline)

    def _plan(self) -> Plan:
        targets = [Target(name, address, "volume", PATH, "bin/store", NEW, 3, 0o755) for name, address in NODES.items()]
        return plan_targets(targets, mode=self.mode)

    def _parts(self) -> RollingParts:
        def sleep(seconds: float) -> None:
            self.seconds += seconds

        return RollingParts(
            cluster=self.cluster,
            workloads={(name, PATH): program for name, program in self.programs.items()},
            volume_addresses=frozenset(NODES.values()),
            pieces=lambda _: [b"new"],
            patience=Patience(soak_seconds=0, stalled_after_seconds=3, polls=1, settle_seconds=3),
            staging_jobs=1,
            mode=self.mode,
            on_failure="stop",
            monotonic_seconds=lambda: self.seconds,
            sleep_seconds=sleep,
            progress=Silent(),
            keys=KeyGate(
                KeyWatch([], nonce=lambda: b""),
                self.journal,
                backups=Path("/nowhere"),
                recoveries={},
                progress=Silent(),
            ),
            smoke=SmokeGate({}, lambda: self.seconds, sleep, Silent()),
        )


@pytest.fixture
def told() -> Iterator[tuple[ToldCluster, AnswerServer]]:
    told, server = start_cluster()
    with server:
        yield told, server


@pytest.mark.parametrize("mode", MODES)
def test_every_node_is_brought_to_the_new_version(told: tuple[ToldCluster, AnswerServer], mode: str) -> None:
    rollout = Rollout(*told, mode)

    rollout.run()

    assert {name: set(program.running()) for name, program in rollout.programs.items()} == {n: {NEW} for n in NODES}
    act = "drain" if mode == "safe" else "leave"
    done = [request for request in told[1].requests if request.endswith(("/drain", "/leave"))]
    # A node that left is told so again right before it is stopped.
    assert list(dict.fromkeys(done)) == [f"POST /nodes/{name}/{act}" for name in NODES]


@pytest.mark.parametrize("answer", [Answer(b'{"rebalanced": false}'), Answer(b'{"rebalanced": true}', 503)])
def test_cluster_that_is_not_rebalanced_refuses_before_the_first_node(
    told: tuple[ToldCluster, AnswerServer], answer: Answer
) -> None:
    told[0].said["/erasure-status"] = answer
    rollout = Rollout(*told, "safe")

    with pytest.raises(RefusedError) as caught:
        rollout.run()

    assert (caught.value.exit_status, caught.value.reference) == (40, "cluster-degraded")
    assert {request.split()[0] for request in told[1].requests} == {"GET"}


def test_next_node_waits_until_the_cluster_says_that_it_is_rebalanced(told: tuple[ToldCluster, AnswerServer]) -> None:
    rollout = Rollout(*told, "quick")
    start = told[0].inner.start_node
    rollout.programs["vol-1"] = FakeWorkload(
        OLD,
        on_stop=partial(told[0].inner.stop_node, NODES["vol-1"]),
        on_start=lambda: (start(NODES["vol-1"]), told[0].said.update({"/erasure-status": Answer(b"")}), None)[-1],
    )

    with pytest.raises(OperatorNeededError) as caught:
        rollout.run()

    assert (caught.value.exit_status, caught.value.facts["cause"]) == (60, "rebalance-stalled")
    assert rollout.programs["vol-2"].running() == {OLD}


def test_node_that_nobody_says_has_left_is_never_stopped(told: tuple[ToldCluster, AnswerServer]) -> None:
    rollout = Rollout(*told, "quick")
    leave = told[0].inner.leave

    def leave_and_fall_silent(node: str) -> None:
        leave(node)
        told[0].said["/nodes/vol-1"] = Answer(b"", 504)

    told[0].inner.leave = leave_and_fall_silent  # type: ignore[method-assign]

    with pytest.raises(OperatorNeededError) as caught:
        rollout.run()

    assert caught.value.facts["cause"] == "drain-stalled"
    assert rollout.programs["vol-1"].running() == {OLD}


def test_node_that_nobody_says_is_empty_is_never_stopped(told: tuple[ToldCluster, AnswerServer]) -> None:
    rollout = Rollout(*told, "safe")
    told[0].said["/nodes/vol-1"] = Answer(b'{"in": true}')

    with pytest.raises(RefusedError) as caught:
        rollout.run()

    assert caught.value.reference == "drain-stalled"
    assert rollout.programs["vol-1"].running() == {OLD}
