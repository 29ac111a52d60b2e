"""What a run knows of itself: read once with its chain verified, then kept; read again when a write failed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from teraferry.bundles.errors import OperatorNeededError, RefusedError
from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.ports import Entry, Journal
from teraferry.installer.rollout.execute import DONE, INTENT, UNDONE, RunRecord
from tests.fakes.journal import MemoryJournal

STEP = "drain_node vol-1"


class FailsAfterWriting(MemoryJournal):
    """A disk that says no although the line reached it."""

    def append(self, *, time_utc: str, run: str, event: str, step: str = "", facts: Mapping[str, object]) -> Entry:
        super().append(time_utc=time_utc, run=run, event=event, step=step, facts=facts)
        raise RefusedError("journal-not-writable", "journal: no", hint="Free space.", exit_status=44)


def record_of(journal: Journal, run: str = "r-1") -> RunRecord:
    return RunRecord(journal, run=run, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))


def test_record_knows_what_it_noted_and_what_others_noted_before_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    record_of(FileJournal(path)).note(INTENT, STEP, holders=3)
    record_of(FileJournal(path), "r-2").note(INTENT, "drain_node vol-2")
    resumed = record_of(FileJournal(path))

    assert resumed.begun() == {STEP: {"holders": 3}}
    resumed.note(DONE, STEP)
    assert resumed.is_done(STEP)
    resumed.note(UNDONE, STEP)
    assert (resumed.is_begun(STEP), resumed.is_done(STEP)) == (False, False)
    assert list(resumed.entries()) == list(record_of(FileJournal(path)).entries())


def test_record_reads_the_journal_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    record = record_of(FileJournal(path))
    record.note(INTENT, STEP)
    assert record.is_begun(STEP)
    path.rename(tmp_path / "aside")

    assert record.is_begun(STEP)


def test_record_verifies_the_chain_before_its_first_answer(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    record_of(FileJournal(path)).note(INTENT, STEP)
    record_of(FileJournal(path)).note(DONE, STEP)
    path.write_bytes(path.read_bytes().replace(b"vol-1", b"vol-9", 1))

    with pytest.raises(OperatorNeededError) as caught:
        record_of(FileJournal(path)).is_done(STEP)

    assert caught.value.reference == "journal-corrupt"


def test_record_reads_again_what_a_failed_write_left() -> None:
    content = bytearray()
    record = record_of(FailsAfterWriting(content))
    assert not record.is_begun(STEP)

    with pytest.raises(RefusedError):
        record.note(INTENT, STEP)

    assert record.is_begun(STEP)
