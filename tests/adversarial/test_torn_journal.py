"""A journal that is not as it was written: torn in its newest line, short of some, or with a bit flipped.

What power cut off was never acknowledged and goes; what is there, stays. A flipped bit breaks the chain, and then
nothing is touched: but nothing names the digest of the newest line yet, nor tells that lines are missing behind it. So
for those it is enough that they do no harm. An install that goes on from there looks at the world before it acts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from teraferry.bundles.errors import TeraFerryError
from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.rollout.journal import encode_entry
from tests.fakes.pair_run import PairSite
from tests.fakes.rollout_run import Kit, Site
from tests.fakes.rollout_site import Life

LINES_LOST = (1, 2, 5)
BITS = 7
"""Every how many bytes of a line a bit is flipped."""

CLEAR_STATUSES = (40, 60, 61, 62)


def append(path: Path, event: str) -> None:
    FileJournal(path).append(time_utc="2026-01-01T00:00:00Z", run="r", event=event, step="drain a", facts={})


@pytest.mark.parametrize("kept_bytes", [1, 2, 19, 60, 150, 10_000])
def test_journal_survives_an_entry_torn_by_power_loss(tmp_path: Path, kept_bytes: int) -> None:
    path = tmp_path / "journal.jsonl"
    append(path, "intent")
    acknowledged = path.read_bytes()
    torn = encode_entry(FileJournal(path).replay()[0])[:kept_bytes]
    path.write_bytes(acknowledged + torn)

    append(path, "done")

    assert [entry.event for entry in FileJournal(path).replay()] == ["intent", "done"]


def test_journal_without_a_single_whole_line_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"sequ')

    append(path, "intent")

    assert [entry.sequence for entry in FileJournal(path).replay()] == [1]


# ---- a whole install on it

Made = Callable[[Kit], Site | PairSite]

SITES = [
    pytest.param(lambda kit: Site(None, kit), 25, id="rolling"),
    pytest.param(lambda kit: PairSite(kit), 4, id="two-writers"),
    pytest.param(lambda kit: PairSite(kit, writers="one", has_key=True), 11, id="one-writer"),
]
"""How a site is made, and every how many lines an install is killed."""


def lives(make: Made, kit: Kit, stride: int) -> list[int]:
    """Return the touches that are the end of a line, and one that an install does not come to."""
    life = Life()
    make(kit).install(life)
    touches = enumerate(life.touches, start=1)
    after = [number for number, what in touches if what.startswith("journal ") and what.endswith(": after")]
    return [*after[::stride], len(life.touches) + 1]


def killed(make: Made, kit: Kit, kill_at: int) -> Site | PairSite:
    """Return a site whose install was killed, a moment ago."""
    site = make(kit)
    if isinstance(site, PairSite):
        site.between_seconds = 0.0
    site.killed(kill_at)
    return site


def harm_done(site: Site | PairSite) -> list[str]:
    """Type ``install`` and say what is worse than a clear refusal."""
    try:
        site.install()
    except TeraFerryError as error:
        return [*site.world.violations, *([] if error.exit_status in CLEAR_STATUSES else [str(error)])]
    return list(site.world.violations)


@pytest.mark.parametrize(("make", "stride"), SITES)
def test_install_on_a_journal_with_a_flipped_bit_touches_nothing(program: Kit, make: Made, stride: int) -> None:
    for kill_at in lives(make, program, stride):
        site = killed(make, program, kill_at)
        lines = site.written().splitlines(keepends=True)
        for number, line in enumerate(lines[:-1]):
            flipped = bytearray(line)
            flipped[number * 7 % (len(line) - 1)] ^= 1 << number % 8
            site.replace_journal(b"".join([*lines[:number], bytes(flipped), *lines[number + 1 :]]))
            life = Life()

            with pytest.raises(TeraFerryError) as caught:
                site.install(life)

            assert (caught.value.exit_status, caught.value.reference) == (62, "journal-corrupt")
            assert life.touches == []


@pytest.mark.parametrize(("make", "stride"), SITES)
def test_install_on_a_journal_with_a_flipped_bit_in_its_newest_line_does_no_harm(
    program: Kit, make: Made, stride: int
) -> None:
    failures = {}
    for number, kill_at in enumerate(lives(make, program, stride)):
        whole = killed(make, program, kill_at).written()
        begins = whole.rfind(b"\n", 0, -1) + 1
        for position in range(begins + number % BITS, len(whole) - 1, BITS):
            site = killed(make, program, kill_at)
            flipped = bytearray(site.written())
            flipped[position] ^= 1 << position % 8
            site.replace_journal(bytes(flipped))
            if problems := harm_done(site):
                failures[bytes(flipped[begins:])] = problems

    assert failures == {}


@pytest.mark.parametrize("lost", LINES_LOST)
@pytest.mark.parametrize(("make", "stride"), SITES)
def test_install_on_a_journal_that_lost_its_newest_lines_does_no_harm(
    program: Kit, make: Made, stride: int, lost: int
) -> None:
    failures = {}
    for kill_at in lives(make, program, max(1, stride // 2)):
        site = killed(make, program, kill_at)
        lines = site.written().splitlines(keepends=True)
        site.replace_journal(b"".join(lines[:-lost]))
        if problems := harm_done(site):
            failures[lines[-1]] = problems

    assert failures == {}
