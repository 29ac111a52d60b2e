"""What the journal says of a site, told to a person: what runs, what is half done, what to type."""

from __future__ import annotations

from pathlib import Path

import pytest

from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.rollout.execute import DONE, ENDED, FAILED, INTENT, STARTED, UNDONE
from teraferry.installer.status import Status, status_of

Line = tuple[str, str, dict[str, object]]  # event, step, facts


@pytest.fixture
def journal(tmp_path: Path) -> FileJournal:
    return FileJournal(tmp_path / "journal.jsonl")


def write(journal: FileJournal, run: str, *lines: Line) -> Status:
    for event, step, facts in lines:
        journal.append(time_utc="2026-01-01T00:00:00Z", run=run, event=event, step=step, facts=facts)
    return status_of(journal.replay())


def started(version: str) -> Line:
    return STARTED, "", {"version": version}


def ended(outcome: str) -> Line:
    return ENDED, "", {"outcome": outcome}


def patched(node: str) -> list[Line]:
    """The lines of one node, from its first intent to the end of its rebalance."""
    steps = [f"{action} {node}" for action in ("drain_node", "patch_binary", "rejoin_cluster", "wait_for_rebalance")]
    return [(event, step, {}) for step in steps for event in (INTENT, DONE)]


def test_site_without_a_journal_has_nothing_installed(journal: FileJournal) -> None:
    status = status_of(journal.replay())

    assert (status.release, status.state, status.half_done) == (None, "nothing installed", None)
    assert "install KIT" in status.next


def test_pinned_site_has_still_nothing_installed(journal: FileJournal) -> None:
    assert write(journal, "", ("root-pinned", "", {})).state == "nothing installed"


def test_complete_run_is_the_installed_release(journal: FileJournal) -> None:
    status = write(journal, "a", started("4.2.0"), *patched("vol-1"), ended("done"))

    assert (status.release, status.state, status.half_done) == ("4.2.0", "installed", None)


def test_open_run_names_finished_nodes_and_the_one_in_hand(journal: FileJournal) -> None:
    write(journal, "a", started("4.2.0"), ended("done"))

    status = write(journal, "b", started("4.3.0"), *patched("vol-1"), *patched("vol-2")[:4])

    assert (status.release, status.state, status.half_done) == ("4.2.0", "half done", "4.3.0")
    assert (status.finished_nodes, status.node_in_hand) == (("vol-1",), "vol-2")
    assert "4.3.0" in status.next


def test_node_that_was_put_back_is_neither_finished_nor_in_hand(journal: FileJournal) -> None:
    lines: list[Line] = [*patched("vol-1")[:4], (FAILED, "rejoin_cluster vol-1", {"message": "it did not start"})]
    lines += [(UNDONE, step, {}) for step in ("drain_node vol-1", "patch_binary vol-1", "rejoin_cluster vol-1")]

    status = write(journal, "a", started("4.2.0"), *lines)

    assert (status.finished_nodes, status.node_in_hand) == ((), None)
    assert status.last_failure == "it did not start"


def test_nodes_that_were_rolled_back_are_not_finished(journal: FileJournal) -> None:
    back: list[Line] = [(event, f"rollback {step}", facts) for event, step, facts in patched("vol-2")]

    status = write(journal, "a", started("4.2.0"), *patched("vol-1"), *patched("vol-2"), *back)

    assert status.finished_nodes == ("vol-1",)


def test_run_that_is_being_rolled_back_says_so(journal: FileJournal) -> None:
    status = write(journal, "a", started("4.2.0"), *patched("vol-1"), ("rollback-started", "", {"reason": "x"}))

    assert status.state == "rolling back"
    assert "4.2.0" in status.next


def test_rolled_back_run_keeps_the_release_before_it(journal: FileJournal) -> None:
    write(journal, "a", started("4.2.0"), ended("done"))

    status = write(journal, "b", started("4.3.0"), ended("rolled-back"))

    assert (status.release, status.state) == ("4.2.0", "rolled back")


def test_superseded_run_is_not_half_done_any_more(journal: FileJournal) -> None:
    write(journal, "a", started("4.2.0"))

    status = write(journal, "b", ("run-superseded", "", {"superseded": "a"}), started("4.3.0"), ended("done"))

    assert (status.release, status.state) == ("4.3.0", "installed")
