"""The model of blue-green rollouts, some 2,000 runs of planner and executor; ``scripts/prove model`` has 100,000."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fakes.pair_model import PairModel
from tests.fakes.rollout_run import Kit


def test_nothing_unsafe_happens_whatever_is_typed_killed_and_broken(program: Kit, later_program: Kit) -> None:
    PairModel.kits, PairModel.runs = (program, later_program), 0
    run_state_machine_as_test(
        PairModel,
        settings=settings(
            max_examples=300,
            stateful_step_count=8,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert PairModel.runs >= 1000
