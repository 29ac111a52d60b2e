"""The fuzzing proof holds only where every target was run to the end and nothing was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS
from tests.prove.fuzz import EXECUTIONS, HOME, SIGNING_ROOM, SITE, SLICE, outcome_of
from tests.prove.record import Record


@pytest.fixture
def record(tmp_path: Path) -> Record:
    record = Record("fuzz", {}, cache=tmp_path / "cache", pages=tmp_path / "pages").open()
    for name in SIGNING_ROOM:
        for number in range(EXECUTIONS // SLICE):
            record.done(f"{name} {number}", {"executions": SLICE, "peak_mb": 60 + number})
    return record


def test_a_million_executions_of_each_target_and_no_finding_hold(record: Record) -> None:
    outcome = outcome_of(record, SIGNING_ROOM, [])

    assert outcome.held
    assert outcome.counts == {**dict.fromkeys(SIGNING_ROOM, EXECUTIONS), "peak MB": 69}


def test_a_finding_fails_it(record: Record) -> None:
    outcome = outcome_of(record, SIGNING_ROOM, ["request: KeyError"])

    assert (outcome.held, outcome.said) == (False, "request: KeyError")


def test_a_target_that_was_not_run_to_the_end_fails_it(record: Record) -> None:
    outcome = outcome_of(record, (*SIGNING_ROOM, "site"), [])

    assert not outcome.held
    assert "site" in outcome.said


def test_every_target_is_part_of_one_of_the_proofs() -> None:
    assert sorted((*SITE, *SIGNING_ROOM, *HOME)) == sorted(TARGETS)
