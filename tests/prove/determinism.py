"""The same inputs give the same bundle: fifty builds with everything else drawn at random.

Folder, number of jobs, umask, time zone, language, hash seed, optimisation and file times change; the digest must not.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

from tests.lab.builds import full_project, locked, teraferry
from tests.prove.record import Outcome, Record

BUILDS = 50
SETTINGS: dict[str, int | str] = {"builds": BUILDS}
ZONES = ("UTC", "Asia/Ho_Chi_Minh", "America/St_Johns", "Pacific/Kiritimati", "Europe/Berlin")
UMASKS = (0o000, 0o022, 0o027, 0o077)


def prove(record: Record) -> Outcome:
    """Build again and again."""
    for number in range(BUILDS):
        if f"{number}" not in record:
            record.done(f"{number}", build_once(record.folder, number))
            if number % 10 == 9:
                record.tell(f"{number + 1} of {BUILDS} builds")
    digests = set(record.pieces().values())
    said = f"{len(digests)} different bundle{'s' if len(digests) != 1 else ''} from {BUILDS} builds"
    return Outcome(len(digests) == 1, said, {"builds": BUILDS, "sha256": sorted(digests)[0]})


def build_once(place: Path, number: int) -> str:
    """Build the same project with settings that depend on ``number``; return the bundle's SHA-256."""
    draw = random.Random(number)
    folder = place / ("x" * draw.randrange(1, 40) + f" {number}")
    project = full_project(folder / "project")
    for path in sorted(project.rglob("*")):
        moment = draw.randrange(2_000_000_000)
        os.utime(path, (moment, moment))
    environment = {
        "TZ": draw.choice(ZONES),
        "PYTHONHASHSEED": str(draw.randrange(2**32)),
        "LC_ALL": draw.choice(("C", "C.UTF-8")),
        "PYTHONOPTIMIZE": draw.choice(("", "1", "2")),
        "HOME": str(folder),
    }
    try:
        answer = teraferry(
            "build",
            locked(project),
            "-o",
            folder / "kit",
            "--jobs",
            str(draw.randrange(1, 9)),
            environment=environment,
            umask=draw.choice(UMASKS),
        )
        if answer.status:
            raise RuntimeError(answer.stderr)
        return str(answer.result["sha256"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
