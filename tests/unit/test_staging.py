"""Files go to all nodes together; intents first, and a node that fails stops the others before anything is touched."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from teraferry.bundles.digest import Buffer, Digest, digest_of
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.progress import Silent
from teraferry.installer.rollout.execute import DONE, FAILED, INTENT, Action, RunRecord, execute
from teraferry.installer.rollout.plan import STAGE, Step, Target
from teraferry.installer.rollout.staging import stage_action, stage_together
from tests.fakes.journal import MemoryJournal

CONTENT = b"a program"
DIGEST = digest_of(CONTENT)
NODES = ("a", "b", "c", "d")


class Shelf:
    """The part of a workload that staging needs; every upload waits until so many are under way."""

    def __init__(self, together: threading.Barrier | None, *, fails: bool = False, has_it: bool = False) -> None:
        self.content = CONTENT if has_it else b""
        self.uploads = 0
        self._together = together
        self._fails = fails

    def staged(self, digest: Digest) -> bool:
        return digest_of(self.content) == digest

    def stage(self, pieces: Iterable[Buffer], digest: Digest, *, mode: int) -> None:
        if self._together is not None:
            self._together.wait(timeout=60)
        if self._fails:
            raise RefusedError("node-no-space", "node b: disk full", hint="Free some.")
        self.uploads += 1
        self.content = b"".join(pieces)


@pytest.fixture
def record() -> RunRecord:
    return RunRecord(MemoryJournal(bytearray()), run="r", clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))


def actions_of(shelves: dict[str, Shelf]) -> list[Action]:
    return [
        stage_action(
            Step(f"{STAGE} {node} app", STAGE, node, ""),
            Target(node, "", "volume", "/opt/app", "app", DIGEST, len(CONTENT), 0o755),
            shelf,  # type: ignore[arg-type]
            pieces=lambda _: [CONTENT],
            progress=Silent(),
            is_moot=lambda: False,
        )
        for node, shelf in shelves.items()
    ]


def stage(actions: list[Action], record: RunRecord, *, jobs: int = 4) -> None:
    lengths = {action.step.id: len(CONTENT) for action in actions}
    stage_together(actions, record, Silent(), lengths_bytes=lengths, jobs=jobs, before_step=lambda _: None)


def test_all_nodes_are_sent_to_at_the_same_time(record: RunRecord) -> None:
    together = threading.Barrier(len(NODES))  # an upload alone would wait for ever
    shelves = {node: Shelf(together) for node in NODES}
    actions = actions_of(shelves)

    stage(actions, record)
    execute(actions, record, Silent())

    assert {shelf.uploads for shelf in shelves.values()} == {1}
    assert [entry.event for entry in record.entries()] == [INTENT] * 4 + [DONE] * 4


def test_node_that_has_the_file_is_not_sent_it(record: RunRecord) -> None:
    shelves = {"a": Shelf(None, has_it=True), "b": Shelf(None)}

    stage(actions_of(shelves), record)

    assert [shelf.uploads for shelf in shelves.values()] == [0, 1]


def test_failure_is_journaled_and_raised_and_nothing_is_called_done(record: RunRecord) -> None:
    shelves = {"a": Shelf(None), "b": Shelf(None, fails=True), "c": Shelf(None)}

    with pytest.raises(RefusedError) as caught:
        stage(actions_of(shelves), record, jobs=1)

    assert caught.value.reference == "node-no-space"
    assert shelves["c"].uploads == 0
    failed = [entry for entry in record.entries() if entry.event == FAILED]
    assert [(entry.step, entry.facts["reference"]) for entry in failed] == [(f"{STAGE} b app", "node-no-space")]
    assert not record.done()


def test_stop_that_was_asked_for_comes_before_the_first_byte(record: RunRecord) -> None:
    shelves = {"a": Shelf(None)}

    def stop(step: Step) -> None:
        raise RuntimeError(step.id)

    with pytest.raises(RuntimeError, match="stage_file a app"):
        stage_together(actions_of(shelves), record, Silent(), lengths_bytes={}, jobs=1, before_step=stop)

    assert shelves["a"].uploads == 0
    assert not record.entries()
