"""The disk of the journal fills up, or goes read-only, in the midst of a rollout: nothing goes on without the journal.

Not a further node is touched and no traffic stays where nobody watches it; what is said is true, down to the exit
status; and once the disk takes lines again, the same command typed again brings the install to its end. The disk is a
real one, the site is in memory.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from teraferry.bundles.errors import TeraFerryError
from tests.fakes.pair_run import PairSite
from tests.fakes.rollout_run import Kit, Site
from tests.fakes.rollout_site import OLD, Life
from tests.lab.registry import tiny_disk

DISK_BYTES = 1024 * 1024

Fail = Callable[[Path], None]


class Failing(Life):
    """A process whose journal's disk fails right before the line ``fails_at``, from 1."""

    def __init__(self, fails_at: int, fail: Callable[[], None]) -> None:
        super().__init__()
        self._before = fails_at
        self._fail = fail

    def touch(self, what: str) -> None:
        super().touch(what)
        if what.startswith("journal ") and what.endswith(": before"):
            self._before -= 1
            if self._before == 0:
                self._fail()

    @property
    def is_failed(self) -> bool:
        return self._before <= 0


def go_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def fill(disk: Path) -> None:
    """Take all the room there is; the journal's last page may still take a line or two."""
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def mend(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    (disk / "filler").unlink(missing_ok=True)


@dataclass(frozen=True)
class Trial:
    """How sites of one kind are tried.

    Args:
        make: Returns a site with its journal there; the number is that of the line before which the disk fails.
        judge: Says what is wrong with what an install said of the site when it failed.
    """

    make: Callable[[Path, int], Site | PairSite]
    judge: Callable[[Site | PairSite, TeraFerryError], list[str]]

    def run(self, tmp_path: Path, fail: Fail, *, stride: int) -> tuple[int, dict[int, list[str]]]:
        """Fail before every line, or every ``stride``th, of an install; return how many and what was wrong."""
        failures: dict[int, list[str]] = {}
        for fails_at in count(1, stride):
            with tiny_disk(tmp_path / str(fails_at), size_bytes=DISK_BYTES) as disk:
                site = self.make(disk / "journal.jsonl", fails_at)
                life = Failing(fails_at, partial(fail, disk))
                problems = self._try(site, life, disk)
            if not life.is_failed:
                return fails_at - 1, failures
            if problems:
                failures[fails_at] = problems
        raise AssertionError("an install without an end")

    def _try(self, site: Site | PairSite, life: Failing, disk: Path) -> list[str]:
        try:
            site.install(life)
        except TeraFerryError as error:
            problems = self.judge(site, error)
            if "journal.jsonl" not in error.message or not error.hint:
                problems.append(f"it does not say what is wrong: {error.message}")
        else:
            return site.problems()  # the last lines found room
        mend(disk)
        try:
            site.install()
        except TeraFerryError as error:
            return [*problems, f"typed again: {error.exit_status} {error.reference}: {error.message}"]
        return problems + site.problems()


# ---- tier 1


def judge_nodes(site: Site | PairSite, error: TeraFerryError) -> list[str]:
    """Compare what an install said with what became of the nodes."""
    programs = site.world.programs.values()
    problems = [*site.world.violations, *(["a node is down"] if any(each.running is None for each in programs) else [])]
    is_touched = any(program.running != OLD or program.starts for program in programs)
    if error.exit_status != (60 if is_touched else 44):
        problems.append(f"status {error.exit_status} {error.reference}, touched: {is_touched}")
    return problems


@pytest.mark.parametrize(("fail", "stride"), [(go_read_only, 2), (fill, 9)], ids=["read-only", "full"])
def test_rolling_update_whose_journal_fails_at_any_line_says_so_and_goes_on(
    kit: Kit, tmp_path: Path, fail: Fail, stride: int
) -> None:
    def make(journal: Path, fails_at: int) -> Site:
        return Site(journal, kit, on_failure="rollback" if fails_at % 3 else "stop")

    lines, failures = Trial(make, judge_nodes).run(tmp_path, fail, stride=stride)

    assert failures == {}
    assert lines > 60


# ---- tier 2


def judge_traffic(site: Site | PairSite, error: TeraFerryError) -> list[str]:
    """Compare what an install said with where traffic is."""
    assert isinstance(site, PairSite)
    seen, lines, problems = site.world.switch.observe(), site.events(), list(site.world.violations)
    if "intent commit_switch" in lines and seen.standing == "green":
        wanted = {60, 62}
    elif "intent switch_virtual_ip" in lines:
        wanted = {62}  # what was written on green may not be home yet
    elif "intent bring_up green-1" in lines:
        wanted = {50}
    else:
        wanted = {44}
    if error.exit_status not in wanted:
        problems.append(f"status {error.exit_status} {error.reference}, expected {wanted}")
    if seen.active != seen.standing:
        problems.append(f"traffic is on {seen.active}, and nobody watches it")
    return problems


@pytest.mark.parametrize(("fail", "stride"), [(go_read_only, 1), (fill, 5)], ids=["read-only", "full"])
@pytest.mark.parametrize("writers", ["two", "one"])
def test_cutover_whose_journal_fails_at_any_line_says_so_and_goes_on(
    program: Kit, tmp_path: Path, writers: str, fail: Fail, stride: int
) -> None:
    def make(journal: Path, fails_at: int) -> PairSite:
        return PairSite(program, writers=writers, journal=journal)

    lines, failures = Trial(make, judge_traffic).run(tmp_path, fail, stride=stride)

    assert failures == {}
    assert lines >= 25
