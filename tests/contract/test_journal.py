"""What every ``Journal`` must do: the fake and the file, in one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from teraferry.bundles.errors import OperatorNeededError
from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.ports import Entry, Journal
from tests.fakes.journal import MemoryJournal


@dataclass(frozen=True)
class Rig:
    """One journal under test, and its bytes."""

    open: Callable[[], Journal]  # as a new process would
    read: Callable[[], bytes]
    write: Callable[[bytes], object]


@pytest.fixture(params=["fake", "file"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    if request.param == "file":
        path = tmp_path / "journal.jsonl"
        return Rig(lambda: FileJournal(path), path.read_bytes, path.write_bytes)
    content = bytearray()

    def write(new: bytes) -> None:
        content[:] = new

    return Rig(lambda: MemoryJournal(content), lambda: bytes(content), write)


def append(journal: Journal, event: str) -> Entry:
    return journal.append(time_utc="2026-01-01T00:00:00Z", run="r", event=event, step="drain_node a", facts={"n": 1})


def events(journal: Journal) -> list[str]:
    return [entry.event for entry in journal.replay()]


def test_new_journal_is_empty(rig: Rig) -> None:
    assert events(rig.open()) == []


def test_what_was_appended_is_there_for_the_next_process(rig: Rig) -> None:
    first = append(rig.open(), "intent")
    second = append(rig.open(), "done")

    assert list(rig.open().replay()) == [first, second]
    assert (first.sequence, second.sequence) == (1, 2)


def test_torn_last_line_is_dropped(rig: Rig) -> None:
    append(rig.open(), "intent")
    rig.write(rig.read() + b'{"event":"')

    assert events(rig.open()) == ["intent"]
    append(rig.open(), "done")

    assert events(rig.open()) == ["intent", "done"]


def test_changed_line_is_refused(rig: Rig) -> None:
    append(rig.open(), "intent")
    append(rig.open(), "done")
    rig.write(rig.read().replace(b"intent", b"INTENT"))

    with pytest.raises(OperatorNeededError) as caught:
        rig.open().replay()

    assert caught.value.reference == "journal-corrupt"
