"""What the journal says of whole runs: which one is half done, and what the last good one brought in. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from teraferry.installer.ports import Entry
from teraferry.installer.rollout.execute import ENDED, STARTED


@dataclass(frozen=True, slots=True)
class OpenRun:
    """The newest run of a journal that was started and not ended."""

    run: str
    facts: Mapping[str, Any]


def open_run_of(entries: Sequence[Entry]) -> OpenRun | None:
    """Return the run that is half done, if there is one."""
    found: OpenRun | None = None
    for entry in entries:
        if entry.event == STARTED:
            found = OpenRun(entry.run, entry.facts)
        elif entry.event == ENDED and found is not None and entry.run == found.run:
            found = None
    return found


def installed_version_of(entries: Sequence[Entry]) -> str | None:
    """Return the version the last complete install brought in; None when there was none."""
    versions = {entry.run: str(entry.facts.get("version")) for entry in entries if entry.event == STARTED}
    ended = [entry for entry in entries if entry.event == ENDED and entry.facts.get("outcome") == "done"]
    return versions.get(ended[-1].run) if ended else None
