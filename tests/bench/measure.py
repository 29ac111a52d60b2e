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


def interleave(*ways: Callable[[], Run], rounds: int) -> tuple[tuple[Run, ...], ...]:
    """Run every way ``rounds`` times, one right after the other, and return the runs of each way.

    Any two of them make ``Pairs``. Every other round goes backwards.
    """
    runs: tuple[list[Run], ...] = tuple([] for _ in ways)
    for number in range(rounds):
        order = range(len(ways)) if number % 2 == 0 else reversed(range(len(ways)))
        for way in order:
            runs[way].append(ways[way]())
    return tuple(tuple(each) for each in runs)


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
    started = _start(argv, environment, folder)
    _, status, usage = os.wait4(started.process.pid, 0)
    seconds = time.perf_counter() - began
    started.process.returncode = os.waitstatus_to_exitcode(status)
    started.require(expect)
    return Run(seconds, usage.ru_utime + usage.ru_stime)


def run_shell(script: str, **settings: Path | None) -> Run:
    """Run a pipeline of other people's tools; its failure in the middle is a failure."""
    return run_command(["bash", "-euo", "pipefail", "-c", script], **settings)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Peaks:
    """The most a process tree held."""

    memory_bytes: int  # the largest sum of VmHWM over the processes that lived at the same time
    disk_bytes: int  # in the watched folder, above what lay there before


def peaks_of(
    argv: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, watched: Path | None = None
) -> Peaks:
    """Run a command under watch; not for timing, since the watching costs something."""
    before = tree_bytes(watched) if watched else 0
    memory = disk = 0
    started = _start(argv, environment, None)
    while started.process.poll() is None:
        memory = max(memory, sum(map(peak_bytes, tree_of(started.process.pid))))
        if watched:
            disk = max(disk, tree_bytes(watched) - before)
        time.sleep(SAMPLE_SECONDS)
    started.require(0)
    return Peaks(memory, disk)


def tree_of(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for one in found:
        try:
            for children in Path(f"/proc/{one}/task").glob("*/children"):
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
                total += (Path(path) / name).lstat().st_blocks * 512
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


@dataclass(frozen=True, slots=True)
class _Started:
    """A process, and what it says on its error channel."""

    process: subprocess.Popen[bytes]
    argv: str
    reader: threading.Thread
    said: list[bytes]

    def require(self, expect: int) -> None:
        """Raise with what it said unless it ended as expected."""
        self.reader.join(5)
        if self.process.returncode != expect:
            text = b"".join(self.said).decode(errors="replace")[-2000:]
            raise BenchError(f"{self.argv}: status {self.process.returncode}, expected {expect}\n{text}")


def _start(argv: Sequence[str | Path], environment: Mapping[str, str] | None, folder: Path | None) -> _Started:
    words = [str(word) for word in argv]
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        cwd=folder,
    )
    said: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(process, said), daemon=True)
    reader.start()
    return _Started(process, " ".join(words), reader, said)


def _read_all(process: subprocess.Popen[bytes], into: list[bytes]) -> None:
    if process.stderr:
        with process.stderr as channel:
            into.append(channel.read())
