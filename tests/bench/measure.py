"""How the bench measures: whole commands by the wall, interleaved in pairs, and memory in a run of its own.

A figure of a shared machine says little; the ratio of two things done one right after the other says
much. So every comparison is a row of pairs, who goes first changes from pair to pair, and what is
printed of the ratios is the smallest, the median and the largest.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
SAMPLE_SECONDS = 0.01
"""Between two looks at a process tree: a peak only grows, so just the growth of the last 10 ms is missed."""


class BenchError(Exception):
    """Something measured did not do its work; the figure would be meaningless."""


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run."""

    seconds: float
    cpu_seconds: float = 0.0  # user and system, of the process and all it waited for


@dataclass(frozen=True, slots=True)
class Ratios:
    """Ratios of pairs."""

    values: tuple[float, ...]

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    def text(self) -> str:
        return f"{self.low:.2f} / {self.median:.2f} / {self.high:.2f}"


@dataclass(frozen=True, slots=True)
class Pairs:
    """What interleaved pairs took: ours and theirs, in the order they ran."""

    ours: tuple[Run, ...]
    theirs: tuple[Run, ...]

    def faster(self) -> Ratios:
        """Return how many times as fast as theirs ours is."""
        return Ratios(tuple(b.seconds / a.seconds for a, b in zip(self.ours, self.theirs, strict=True)))

    def slower(self) -> Ratios:
        """Return how many times as long as theirs ours takes."""
        return Ratios(tuple(a.seconds / b.seconds for a, b in zip(self.ours, self.theirs, strict=True)))

    def cheaper(self) -> Ratios:
        """Return how many times as much processor time as ours theirs takes."""
        return Ratios(tuple(b.cpu_seconds / a.cpu_seconds for a, b in zip(self.ours, self.theirs, strict=True)))


def interleave(ours: Callable[[], Run], theirs: Callable[[], Run], *, pairs: int) -> Pairs:
    """Run both ``pairs`` times, one right after the other."""
    runs: tuple[list[Run], list[Run]] = [], []
    for number in range(pairs):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            runs[side].append((ours, theirs)[side]())
    return Pairs(tuple(runs[0]), tuple(runs[1]))


def median_seconds(runs: Iterable[Run]) -> float:
    return statistics.median(run.seconds for run in runs)


def run_command(
    argv: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    expect: int = 0,
) -> Run:
    """Run a command to its end and return what it took.

    Raises:
        BenchError: It ended with another status.
    """
    began = time.perf_counter()
    process = _start(argv, environment, folder)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    _require(process, argv, expect)
    return Run(seconds, usage.ru_utime + usage.ru_stime)


def run_shell(script: str, **settings: Path | None) -> Run:
    """Run a pipeline of other people's tools; its failure in the middle is a failure."""
    return run_command(["bash", "-euo", "pipefail", "-c", script], **settings)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Peaks:
    """The most a process tree held."""

    memory_bytes: int  # the sum of every process's VmHWM
    disk_bytes: int  # in the watched folder, above what lay there before


def peaks_of(
    argv: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, watched: Path | None = None
) -> Peaks:
    """Run a command under watch; not for timing, since the watching costs something."""
    before = tree_bytes(watched) if watched else 0
    most: dict[int, int] = {}
    disk = 0
    process = _start(argv, environment, None)
    while process.poll() is None:
        for pid in tree_of(process.pid):
            most[pid] = max(most.get(pid, 0), peak_bytes(pid))
        if watched:
            disk = max(disk, tree_bytes(watched) - before)
        time.sleep(SAMPLE_SECONDS)
    _require(process, argv, 0)
    return Peaks(sum(most.values()), disk)


def tree_of(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(word) for word in children.read_text().split()]
            except OSError:
                continue  # It ended meanwhile.
    return found


def peak_bytes(pid: int | str = "self") -> int:
    """Return VmHWM; 0 for a process that has ended."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found.group(1)) * 1024 if found else 0


def tree_bytes(folder: Path) -> int:
    """Return what the files below ``folder`` take on the disk."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def forget_pages(paths: Iterable[Path]) -> None:
    """Take files out of the page cache, so that they are read from the disk; a folder means its files."""
    for path in paths:
        for file in (path, *path.rglob("*")) if path.is_dir() else (path,):
            if file.is_file():
                descriptor = os.open(file, os.O_RDONLY)
                try:
                    os.fsync(descriptor)  # A page that is not on the disk yet stays.
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(descriptor)


def settle() -> None:
    """Let the disk finish what others left it, so that the next run does not pay for it."""
    os.sync()


def _start(
    argv: Sequence[str | Path], environment: Mapping[str, str] | None, folder: Path | None
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [str(word) for word in argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        cwd=folder,
    )
    said: list[bytes] = []
    reader = threading.Thread(target=lambda: said.append(process.stderr.read() if process.stderr else b""), daemon=True)
    reader.start()
    process.said = lambda: (reader.join(5), b"".join(said))[1]  # type: ignore[attr-defined]
    return process


def _require(process: subprocess.Popen[bytes], argv: Sequence[str | Path], expect: int) -> None:
    if process.returncode != expect:
        said: bytes = process.said()  # type: ignore[attr-defined]
        command = " ".join(str(word) for word in argv)
        raise BenchError(
            f"{command}: status {process.returncode}, expected {expect}\n{said.decode(errors='replace')[-2000:]}"
        )
    if process.stderr:
        process.said()  # type: ignore[attr-defined]
        process.stderr.close()
