"""The model of blue-green rollouts, 100,000 runs of planner and executor; ``tests/fakes/pair_model.py`` has the rules.

A piece is some hundreds of histories with a seed of their own; what is typed, killed and broken in each, hypothesis
draws. The suite runs the first hundreds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fakes.pair_model import PairModel
from tests.fakes.rollout_run import make_kit
from tests.prove.record import Outcome, Record

SETTINGS: dict[str, int | str] = {"runs": 100_000, "histories": 500}


def prove(record: Record) -> Outcome:
    """Run histories until planner and executor ran often enough."""
    wanted, histories = int(SETTINGS["runs"]), int(SETTINGS["histories"])
    with tempfile.TemporaryDirectory() as folder:
        PairModel.kits = (
            make_kit(_made(Path(folder) / "first"), "4.2.0", has_images=False),
            make_kit(_made(Path(folder) / "second"), "4.2.1", has_images=False),
        )
        number = 0
        while (runs := _runs(record)) < wanted:
            piece = f"{number:04}"
            if piece not in record:
                record.done(piece, _run_piece(number, histories))
                record.tell(f"{_runs(record)} of {wanted} runs")
                if record[piece]["failure"]:
                    break
            number += 1
    failures = [each["failure"] for each in record.pieces().values() if each["failure"]]
    counts = {"runs": runs, "histories": histories * len(record.pieces()), "failures": len(failures)}
    said = (
        failures[0] if failures else f"nothing unsafe in {runs} runs of planner and executor, and each history settled"
    )
    return Outcome(not failures, said, counts)


def _run_piece(number: int, histories: int) -> dict[str, int | str]:
    PairModel.runs, failure = 0, ""
    told = settings(
        max_examples=histories,
        stateful_step_count=8,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seed(number)(PairModel), settings=told)
    except Exception as error:
        notes = "; ".join(getattr(error, "__notes__", ()))
        failure = f"seed {number}: {type(error).__name__}: {error}; {notes}"
    return {"runs": PairModel.runs, "failure": failure}


def _runs(record: Record) -> int:
    return sum(int(each["runs"]) for each in record.pieces().values())


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
