"""A whole install on a real cluster, killed at random moments and typed again, many times over.

Each round is the test ``tests/e2e/test_killed_for_real.py`` with a seed of its own, which draws 40 kill points; round 0
has 24 that were chosen. The suite kills at six of those, and on fakes at every touch of a site.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from typing import Any

from tests.prove.record import REPOSITORY, Outcome, Record

ROUNDS = int(os.environ.get("TERAFERRY_KILL_ROUNDS", "10"))
TEST = "tests/e2e/test_killed_for_real.py"
SETTINGS: dict[str, int | str] = {"rounds": ROUNDS}
ROUND_SECONDS = 3600


def prove(record: Record) -> Outcome:
    """Run the rounds that are left."""
    if not (REPOSITORY / TEST).exists():
        return Outcome(False, f"{TEST} is not there", {})
    for seed in range(ROUNDS + 1):
        name = f"seed {seed}"
        if name not in record:
            record.tell(name)
            record.done(name, run_round(record, seed))
    failed = [name for name, found in record.pieces().items() if not found["held"]]
    counts: Counter[str] = Counter()
    for found in record.pieces().values():
        counts.update(found["counts"])
    said = f"{ROUNDS + 1 - len(failed)} of {ROUNDS + 1} rounds ended well"
    said += f"; not: {', '.join(failed)}" if failed else ""
    return Outcome(not failed, said, {"rounds": ROUNDS + 1, **counts})


def run_round(record: Record, seed: int) -> dict[str, Any]:
    """Run one round; what it said is kept when it fails."""
    record.folder.mkdir(parents=True, exist_ok=True)
    log, report = record.folder / f"seed-{seed}.log", record.folder / f"seed-{seed}.json"
    with log.open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", TEST],
            cwd=REPOSITORY,
            env={**os.environ, "TERAFERRY_KILL_SEED": str(seed), "TERAFERRY_KILL_REPORT": str(report)},
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=ROUND_SECONDS,
            check=False,
        )
    counts = json.loads(report.read_text()) if report.exists() else {}
    report.unlink(missing_ok=True)
    if done.returncode == 0:
        log.unlink()
    return {"held": done.returncode == 0 and bool(counts), "counts": counts}
