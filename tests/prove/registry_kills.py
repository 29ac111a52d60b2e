"""The kit's registry, killed before every single effect of its set-up, of an upgrade and of one that is taken back.

The test is ``tests/adversarial/test_kit_registry_killed.py``, which the suite runs with one effect of fifteen.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.prove.record import REPOSITORY, Outcome, Record

TEST = "tests/adversarial/test_kit_registry_killed.py"
SETTINGS: dict[str, int | str] = {"every": 1}
SECONDS = 3600


def prove(record: Record) -> Outcome:
    """Run it whole; two minutes are not worth resuming."""
    record.folder.mkdir(parents=True, exist_ok=True)
    log, report = record.folder / "log", record.folder / "report"
    report.unlink(missing_ok=True)
    with log.open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", TEST],
            cwd=REPOSITORY,
            env={**os.environ, "TERAFERRY_REGISTRY_KILL_EVERY": "1", "TERAFERRY_REGISTRY_KILL_REPORT": str(report)},
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=False,
        )
    rows = report.read_text().splitlines() if report.exists() else []
    counts = {what: int(number) for what, _, number in (row.rpartition(" ") for row in rows)}
    kills = sum(counts.values())
    return Outcome(done.returncode == 0 and kills > 0, f"{kills} kills, each ended well when typed again", counts)
