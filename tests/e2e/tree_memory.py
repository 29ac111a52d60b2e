"""Peak resident memory of a command and everything it starts, as the kernel counts it.

``VmHWM`` is a process's own peak and is kept by the kernel, so looking now and then loses nothing
but processes that live shorter than the time between two looks. The peaks of all processes are added up:
more than what was ever resident at once, never less.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOOK_EVERY_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Measured:
    """What one command took."""

    peak_bytes: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.peak_bytes / 1024**2:.1f} MiB in {self.seconds:.1f} s"


def run_measured(argv: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Measured:
    """Run ``argv``, which must end with 0, and return what its process tree took.

    Raises:
        AssertionError: It ended with another status; the message holds all it said, and the room left for files.
    """
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        peaks: dict[int, int] = {}
        while process.poll() is None:
            for pid in _tree(process.pid):
                peaks[pid] = max(peaks.get(pid, 0), _peak_bytes(pid))
            time.sleep(LOOK_EVERY_SECONDS)
        said.seek(0)
        if process.returncode:
            free_bytes = shutil.disk_usage(tempfile.gettempdir()).free
            text = said.read().decode(errors="replace")
            raise AssertionError(f"{argv}: {process.returncode}, {free_bytes >> 20} MiB free\n{text}")
    return Measured(sum(peaks.values()), time.monotonic() - began)


def _tree(pid: int) -> list[int]:
    found, todo = [], [pid]
    while todo:
        here = todo.pop()
        found.append(here)
        try:
            for thread in Path(f"/proc/{here}/task").iterdir():
                todo += [int(child) for child in (thread / "children").read_text().split()]
        except OSError:
            continue  # It ended while we looked.
    return found


def _peak_bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
