"""A whole install on a real cluster, killed at random points and typed again, many times over.

Each round is the test ``tests/e2e/test_killed_for_real.py`` with a seed of its own; the suite does the same on fakes.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.prove.record import REPOSITORY, Outcome, Record

ROUNDS = int(os.environ.get("TERAFERRY_KILL_ROUNDS", "20"))
TEST = "tests/e2e/test_killed_for_real.py"
SETTINGS: dict[str, int | str] = {"rounds": ROUNDS}
ROUND_SECONDS = 3600


def prove(record: Record) -> Outcome:
    """Run the rounds that are left."""
    if not (REPOSITORY / TEST).exists():
        return Outcome(False, f"{TEST} is not there", {})
    for number in range(1, ROUNDS + 1):
        name = f"seed {number}"
        if name not in record:
            record.tell(name)
            record.done(name, round_passes(record, number))
    passed = [name for name, well in record.pieces().items() if well]
    failed = [name for name, well in record.pieces().items() if not well]
    said = f"{len(passed)} of {ROUNDS} rounds ended well" + (f"; not: {', '.join(failed)}" if failed else "")
    return Outcome(not failed, said, {"rounds": ROUNDS})


def round_passes(record: Record, seed: int) -> bool:
    """Run one round; what it said is kept when it fails."""
    record.folder.mkdir(parents=True, exist_ok=True)
    log = record.folder / f"seed-{seed}.log"
    with log.open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", TEST],
            cwd=REPOSITORY,
            env={**os.environ, "TERAFERRY_KILL_SEED": str(seed)},
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=ROUND_SECONDS,
            check=False,
        )
    if done.returncode == 0:
        log.unlink()
    return done.returncode == 0
