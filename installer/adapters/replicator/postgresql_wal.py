"""What PostgreSQL's write-ahead log says of two servers, from the outputs of its own tools. Pure.

An LSN is a place in the log. What is committed before a place that the other server has replayed is on the other
server; the commits after it are what the other lacks, one by one.

When a standby is promoted, the log forks: it goes on with a timeline of its own from the place where it stopped
following. Commits of the old timeline after that place are on the old primary's disk alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MAX_NAMED: Final = 10_000
"""Commits that are named one by one; a longer list helps nobody, and its length is told."""

NOTHING_MORE: Final = (
    "could not find a valid record after",
    "invalid record length at",
    "record with incorrect prev-link",
    "invalid magic number",
    "unexpected pageaddr",
)
"""How pg_waldump says that the log ends: with the very tests by which a crashed server's own recovery finds its end."""

_LSN = re.compile(r"(?P<high>[0-9A-F]{1,8})/(?P<low>[0-9A-F]{1,8})")
_COMMIT = re.compile(r"^rmgr: Transaction .*\btx: +(?P<xid>\d+), .*\bdesc: COMMIT(?:_PREPARED)? (?P<when>[^;]+)")


class UnexpectedOutputError(Exception):
    """A tool of PostgreSQL said something else than it does; the message says what."""


@dataclass(frozen=True, slots=True)
class Control:
    """What ``pg_controldata`` says of a server, up or not."""

    state: str  # "in production", "shut down", "shut down in recovery", "in archive recovery" ...
    checkpoint: int  # LSN of the last checkpoint; of the very last record when it was shut down
    timeline: int

    @property
    def is_shut_down(self) -> bool:
        """Tell whether it was a primary and ended well: its last record says so."""
        return self.state == "shut down"


def parse_lsn(text: str) -> int:
    """Return an LSN as a number of bytes.

    Raises:
        UnexpectedOutputError: It is none.
    """
    found = _LSN.fullmatch(text)
    if found is None:
        raise UnexpectedOutputError(f"LSN: {text[:100]!r}, expected 0/3000148 or the like")
    return (int(found["high"], 16) << 32) + int(found["low"], 16)


def lsn_text(lsn: int) -> str:
    """Return an LSN as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_control(output: str) -> Control:
    """Return what ``pg_controldata`` says, in the C locale.

    Raises:
        UnexpectedOutputError: A line is missing.
    """
    fields = dict(line.split(":", 1) for line in output.splitlines() if ":" in line)
    try:
        return Control(
            state=fields["Database cluster state"].strip(),
            checkpoint=parse_lsn(fields["Latest checkpoint location"].strip()),
            timeline=int(fields["Latest checkpoint's TimeLineID"]),
        )
    except (KeyError, ValueError) as error:
        raise UnexpectedOutputError(f"pg_controldata: no {error}, expected it") from error


def parse_fork(history: str, timeline: int) -> int:
    """Return where ``timeline`` was left, from the history file of a later one.

    Raises:
        UnexpectedOutputError: It does not come of it.
    """
    for line in history.splitlines():
        words = line.split("\t")
        if len(words) >= 2 and words[0].strip() == str(timeline):
            return parse_lsn(words[1].strip())
    raise UnexpectedOutputError(f"history: {history[:300]!r}, expected a line for timeline {timeline}")


def parse_commits(output: str, errors: str, *, status: int) -> Sequence[str]:
    """Name the commits that ``pg_waldump --rmgr=Transaction`` lists.

    Raises:
        UnexpectedOutputError: It ended for another reason than the end of the log: what follows is not known.
    """
    last = (errors.strip().splitlines() or [""])[-1]
    if status and not any(words in last for words in NOTHING_MORE):
        raise UnexpectedOutputError(f"pg_waldump: status {status}, {last[:200]}; expected the end of the log")
    found = [match for line in output.splitlines() if (match := _COMMIT.match(line))]
    names = [f"transaction {match['xid']} of {match['when'].strip()}" for match in found[:MAX_NAMED]]
    return [*names, f"and {len(found) - MAX_NAMED} more"] if len(found) > MAX_NAMED else names
