"""Power is lost while a line is written: what was acknowledged stays, the torn line goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.rollout.journal import encode_entry


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
