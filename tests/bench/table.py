"""The rows of the bench, as a plain table and as a page of the documentation."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

MET, MISSED, SHOWN = "met", "MISSED", "-"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    work: str
    figure: str  # what was measured, with units
    ratio: str  # smallest / median / largest of the pairs, or ""
    budget: str  # "" where there is none: shown for comparison
    met: bool | None  # by the median; None without a budget
    aside: bool = False  # a whole command beside the work that the budget is of: told, not counted
    profile: tuple[str, ...] = field(default=())  # where the time goes, of a miss

    @property
    def verdict(self) -> str:
        said = SHOWN if self.met is None else MET if self.met else MISSED
        return f"({said})" if self.aside else said


NOTES = "## Notes\n"

HEADERS = ("work", "measured", "ratio: min / median / max", "budget", "")


def cells(row: Row) -> tuple[str, ...]:
    return row.work, row.figure, row.ratio, row.budget, row.verdict


def plain(rows: Sequence[Row]) -> str:
    """Return the table for a terminal, and the profile of every miss below it."""
    lines = [HEADERS, *map(cells, rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEADERS))]
    text = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
    for row in rows:
        if row.profile:
            text += f"\n\n{row.work}, where the time goes:\n" + "\n".join(f"  {line}" for line in row.profile)
    return text


def kept_notes(page: str) -> str:
    """Return what people wrote into the last section of the page, which measuring does not write."""
    return "\n" + page[page.index(NOTES) :] if NOTES in page else ""


def markdown(rows: Sequence[Row], *, now: datetime, noise: str, what: str, version: str) -> str:
    """Return the page ``docs/benchmarks.md`` without its notes."""
    counted = [row for row in rows if row.met is not None and not row.aside]
    missed = [row.work for row in counted if not row.met]
    beside = [row.work for row in rows if row.aside and not row.met]
    budgets = len(counted)
    table = [HEADERS, ("---",) * len(HEADERS), *map(cells, rows)]
    parts = [
        "# Benchmarks",
        "",
        "Written by `scripts/bench --markdown`; type `scripts/bench` to measure your own machine.",
        "",
        f"{now:%Y-%m-%d %H:%M} UTC, TeraFerry {version}. {machine()}",
        f"{what} {noise}",
        "",
        "Every ratio is of pairs that ran one right after the other in this one run, who goes first changing from"
        " pair to pair; the median decides. Writers are synced on both sides. *Command* is a whole command by the wall,"
        " the start of its interpreter included; *work* is the same from inside, without the start, and what a budget"
        " is of; a verdict in brackets is of the whole command, which for `load` first reads and verifies everything.",
        "",
        f"**{budgets - len(missed)} of {budgets} budgets met.** "
        + (f"Missed: {'; '.join(missed)}." if missed else "None missed.")
        + (f" Whole commands that would miss the budget of their work: {'; '.join(beside)}." if beside else ""),
        "",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in table),
        "",
    ]
    for row in rows:
        if row.profile:
            parts += [
                f"## {'Beside the budget' if row.aside else 'Missed'}: {row.work}",
                "",
                "Where the time goes:",
                "",
                "```",
                *row.profile,
                "```",
                "",
            ]
    return "\n".join(parts)


def machine() -> str:
    """Describe this machine without its name or a path."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    gibibytes = round(int(memory.group(1)) / 1024 / 1024) if memory else 0
    kernel = ".".join(platform.release().split(".")[:2])
    return (
        f"Machine: {os.cpu_count()} cores ({model.group(1).strip() if model else platform.machine()}, virtual), "
        f"{gibibytes} GiB memory, Linux {kernel}, Python {platform.python_version()}; "
        f"{tool('skopeo', '--version')}; docker-registry {registry_version()}; {tool('openssl', 'version', words=2)}."
    )


def tool(*argv: str, words: int = 3) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return " ".join(done.stdout.split("\n")[0].split()[:words])


def registry_version() -> str:
    found = re.search(r"\d+\.\d+(\.\d+)?", tool("docker-registry", "--version"))
    return found.group(0) if found else "of unknown version"
