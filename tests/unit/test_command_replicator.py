"""A replication program of the site's own, with two writers or one: everything but a right answer is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.replicator.command import CommandReplicator
from teraferry.installer.adapters.replicator.command_primary import CommandPrimary
from teraferry.installer.adapters.transport.local import LocalTransport

EVEN = {"received": 4, "processed": 4, "in_flight": 0, "failed": 0}
WELL: dict[str, object] = {
    "start": {"running": True},
    "observe": EVEN,
    "write-marker": {"written": True},
    "read-marker": {"arrived": True},
    "pending": {"pending": []},
    "conflicts": {"conflicts": []},
}


def replicator(folder: Path, *, status: int = 0, **said: object) -> CommandReplicator:
    """Return one whose program answers as it should, but for what is told otherwise."""
    answers = {**WELL, **{word.replace("_", "-"): answer for word, answer in said.items()}}
    for word, answer in answers.items():
        (folder / word).write_text(answer if isinstance(answer, str) else json.dumps(answer))
    program = folder / "program"
    program.write_text(f'#!/bin/sh\ncat "{folder}/$1"\nexit {status}\n')
    program.chmod(0o755)
    return CommandReplicator(LocalTransport("site"), [str(program)], writers="two")


def reference(call: Callable[[], object]) -> str:
    with pytest.raises(RefusedError) as refused:
        call()
    return refused.value.reference


def sync(tried: CommandReplicator) -> None:
    tried.sync_state("blue", marker="m", stalled_after_seconds=0)


def test_program_that_answers_well_passes(tmp_path: Path) -> None:
    tried = replicator(tmp_path)

    tried.start()
    sync(tried)

    assert (list(tried.pending("green") or ()), list(tried.conflicts(marker="m"))) == ([], [])


def test_right_answer_with_a_wrong_status_is_none(tmp_path: Path) -> None:
    tried = replicator(tmp_path, status=1)

    assert tried.pending("green") is None
    assert reference(lambda: tried.observe("blue")) == "replication-cannot-tell"
    assert reference(lambda: sync(tried)) == "replication-cannot-tell"
    assert reference(lambda: tried.conflicts(marker="m")) == "replication-cannot-tell"
    assert reference(tried.start) == "replication-failed"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "all is well",
        "[]",
        '{"pending": []} {"pending": []}',
        '{"conflicts": null}',
        '{"conflicts": [], "more": 1}',
        '{"conflicts": [1]}',
        '{"conflicts": []}' + " " * (16 * 1024 * 1024),
    ],
)
def test_answer_of_another_form_is_none(tmp_path: Path, answer: str) -> None:
    tried = replicator(tmp_path, conflicts=answer, pending=answer)

    assert reference(lambda: tried.conflicts(marker="m")) == "replication-cannot-tell"
    assert tried.pending("green") is None


@pytest.mark.parametrize("answer", [{"written": False}, {}])
def test_marker_that_was_not_written_ends_the_sync(tmp_path: Path, answer: dict[str, bool]) -> None:
    assert reference(lambda: sync(replicator(tmp_path, write_marker=answer))) == "replication-cannot-tell"


@pytest.mark.parametrize(
    ("counts", "refused"),
    [
        ({"failed": 1}, "replication-failed"),
        ({"in_flight": 1}, "replication-stalled"),
        ({"received": 5}, "replication-stalled"),
        ({"failed": -1}, "replication-cannot-tell"),
    ],
)
def test_marker_alone_is_not_enough(tmp_path: Path, counts: dict[str, int], refused: str) -> None:
    assert reference(lambda: sync(replicator(tmp_path, observe={**EVEN, **counts}))) == refused


def test_what_cannot_be_told_is_not_nothing(tmp_path: Path) -> None:
    assert replicator(tmp_path, pending={"pending": None}).pending("green") is None


# ---- one writer

HELD = {"primary": "blue", "held_seconds": 9.5, "under_way": 0}
FREE = {**HELD, "held_seconds": None}


def mover(folder: Path, primary: object, **said: object) -> CommandPrimary:
    """Return one whose program says ``primary`` whenever it is asked who is, and acknowledges everything else."""
    words = {**dict.fromkeys(("hold", "promote", "release"), HELD), **said}
    for word, answer in {"primary": primary, **words}.items():
        (folder / word).write_text(answer if isinstance(answer, str) else json.dumps(answer))
    program = folder / "program"
    program.write_text(f'#!/bin/sh\necho "$*" >>"{folder}/asked"\ncat "{folder}/$1"\n')
    program.chmod(0o755)
    return CommandPrimary(LocalTransport("site"), [str(program)], writers="one")


@pytest.mark.parametrize("seen", [FREE, {**HELD, "under_way": 1}, "all waits", {**HELD, "more": 1}])
def test_hold_that_cannot_be_seen_is_released_and_refused(tmp_path: Path, seen: object) -> None:
    assert reference(lambda: mover(tmp_path, seen).hold_writes(seconds=5.9)) == "write-hold-failed"

    asked = (tmp_path / "asked").read_text().splitlines()
    assert (asked[0], "release" in asked) == ("hold 5", True)


@pytest.mark.parametrize("seen", [FREE, {**HELD, "under_way": 1}, {**HELD, "held_seconds": 0.5}])
def test_nothing_is_promoted_unless_every_write_waits(tmp_path: Path, seen: object) -> None:
    assert reference(lambda: mover(tmp_path, seen).promote("green")) == "write-hold-lapsed"

    assert "promote" not in (tmp_path / "asked").read_text()


def test_promotion_that_only_the_program_speaks_of_is_none(tmp_path: Path) -> None:
    tried = mover(tmp_path, HELD, promote={**HELD, "primary": "green"})

    assert reference(lambda: tried.promote("green")) == "promotion-failed"
    tried.promote("blue")  # it is, already


def test_release_is_believed_when_it_is_seen(tmp_path: Path) -> None:
    assert reference(mover(tmp_path, HELD).release_writes) == "write-hold-failed"
    mover(tmp_path, FREE).release_writes()


@pytest.mark.parametrize("seen", ["", "{}", {**HELD, "primary": "red"}, {**HELD, "held_seconds": -1}])
def test_primary_that_is_told_otherwise_is_not_known(tmp_path: Path, seen: object) -> None:
    assert reference(mover(tmp_path, seen).primary) == "replication-cannot-tell"
