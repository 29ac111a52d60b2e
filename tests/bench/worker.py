"""Runs ``tests.bench.work`` in a process of its own and reads what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bench.measure import BenchError, Run, run_command

REPOSITORY = Path(__file__).parents[2]


def work(*words: str | int | Path, profile: bool = False) -> dict[str, Any]:
    """Run one piece of work and return its JSON line."""
    argv = [sys.executable, "-m", "tests.bench.work", *map(str, words), *(["--profile"] if profile else [])]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(argv)}: status {done.returncode}\n{done.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def timed(*words: str | int | Path) -> Run:
    """Run one piece of work and return what it took, from inside."""
    answer = work(*words)
    return Run(answer["seconds"], answer["cpu_seconds"])


def profile_of(*words: str | int | Path) -> tuple[str, ...]:
    """Return where the time of one piece of work goes, and what a start alone takes."""
    bare = run_command([sys.executable, "-c", "import teraferry.builder.cli, teraferry.builder.pack"])
    return (
        f"{bare.seconds:6.2f} s  start: interpreter and imports, before any work",
        *work(*words, profile=True)["profile"],
    )
