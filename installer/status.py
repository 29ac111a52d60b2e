"""What runs here, what is half done, and what to type next: read from the journal alone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from teraferry.installer.execute import DONE, ENDED, FAILED, INTENT, STARTED, UNDONE
from teraferry.installer.install import installed_version_of, open_run_of
from teraferry.installer.plan import PATCH, REBALANCE
from teraferry.installer.ports import Entry


@dataclass(frozen=True, slots=True)
class Status:
    """A site's state in the words of a person."""

    release: str | None  # the version the last complete install brought in
    state: str  # "nothing installed", "installed", "half done", "rolled back"
    next: str  # what to type
    half_done: str | None  # the version of the run that is open
    finished_nodes: tuple[str, ...]  # of the open run
    node_in_hand: str | None
    last_failure: str | None


def status_of(entries: Sequence[Entry]) -> Status:
    """Return where the site is, from its journal."""
    installed = installed_version_of(entries)
    unfinished = open_run_of(entries)
    if unfinished is None:
        outcomes = [entry.facts.get("outcome") for entry in entries if entry.event == ENDED]
        state = "rolled back" if outcomes[-1:] == ["rolled-back"] else "installed" if installed else "nothing installed"
        return Status(installed, state, "teraferry-installer install KIT", None, (), None, None)
    own = [entry for entry in entries if entry.run == unfinished.run]
    begun, finished = _nodes(own, INTENT, PATCH), _nodes(own, DONE, REBALANCE)
    in_hand = next((node for node in begun if node not in finished), None)
    failures = [str(entry.facts.get("message")) for entry in own if entry.event == FAILED]
    version = next(str(entry.facts.get("version")) for entry in own if entry.event == STARTED)
    return Status(
        installed,
        "half done",
        f"teraferry-installer install KIT with the kit of {version}: it goes on from here",
        version,
        tuple(finished),
        in_hand,
        failures[-1] if failures else None,
    )


def _nodes(own: Sequence[Entry], event: str, action: str) -> list[str]:
    found: list[str] = []
    for entry in own:
        kind, _, node = entry.step.removeprefix("rollback ").partition(" ")
        if kind != action:
            continue
        if entry.event == event and node not in found:
            found.append(node)
        elif entry.event == UNDONE and node in found:
            found.remove(node)
    return found
