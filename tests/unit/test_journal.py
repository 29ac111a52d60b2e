"""The chain: what was acknowledged is there, and nothing can be taken out or put in unseen."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from teraferry.bundles.errors import OperatorNeededError, RefusedError
from teraferry.bundles.limits import MAX_JOURNAL_LINE_BYTES
from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.rollout.journal import encode_entry, head_of, parse_chain, parse_entry
from tests.lab.registry import tiny_disk


def write_three(path: Path) -> list[bytes]:
    journal = FileJournal(path)
    for event in ("run-started", "intent", "done"):
        journal.append(time_utc="2026-01-01T00:00:00Z", run="r", event=event, facts={"n": 1})
    return path.read_bytes().splitlines()


def test_journal_replays_what_was_appended(tmp_path: Path) -> None:
    write_three(tmp_path / "journal.jsonl")

    entries = FileJournal(tmp_path / "journal.jsonl").replay()

    assert [(e.sequence, e.event) for e in entries] == [(1, "run-started"), (2, "intent"), (3, "done")]


def test_head_changes_with_every_entry(tmp_path: Path) -> None:
    lines = write_three(tmp_path / "journal.jsonl")

    heads = {head_of(parse_chain(lines[:count])) for count in range(4)}

    assert len(heads) == 4


@pytest.mark.parametrize("taken_out", [0, 1])
def test_journal_refuses_a_line_taken_out(tmp_path: Path, taken_out: int) -> None:
    path = tmp_path / "journal.jsonl"
    lines = write_three(path)
    path.write_bytes(b"\n".join(line for n, line in enumerate(lines) if n != taken_out) + b"\n")

    with pytest.raises(OperatorNeededError) as refused:
        FileJournal(path).replay()

    assert (refused.value.reference, refused.value.exit_status) == ("journal-corrupt", 62)


def test_journal_refuses_every_single_changed_byte_of_an_earlier_line(tmp_path: Path) -> None:
    lines = write_three(tmp_path / "journal.jsonl")

    for position in range(len(lines[0])):
        flipped = bytearray(lines[0])
        flipped[position] ^= 1
        with pytest.raises(OperatorNeededError):
            parse_chain([bytes(flipped), *lines[1:]])


def test_entry_of_the_longest_line_is_read_and_one_byte_more_is_refused(tmp_path: Path) -> None:
    line = write_three(tmp_path / "journal.jsonl")[0]
    room = MAX_JOURNAL_LINE_BYTES - len(line)
    longest = line.replace(b'"run":"r"', b'"run":"r' + b"x" * room + b'"')

    assert len(encode_entry(parse_entry(1, longest))) == MAX_JOURNAL_LINE_BYTES
    with pytest.raises(OperatorNeededError):
        parse_entry(1, longest.replace(b'"run":"r', b'"run":"rx'))


def test_journal_says_so_on_a_full_disk_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with tiny_disk(disk, size_bytes=16 * 1024):
        write_three(disk / "journal.jsonl")
        filler = disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as file:
            file.write(b"x" * 64 * 1024)
        journal = FileJournal(disk / "journal.jsonl")

        with pytest.raises(RefusedError) as refused:
            for _ in range(100):
                journal.append(time_utc="t", run="r", event="e", facts={"filler": "x" * 200})
        filler.unlink()
        kept = len(FileJournal(disk / "journal.jsonl").replay())
        journal.append(time_utc="t", run="r", event="e", facts={})

        assert (refused.value.reference, refused.value.exit_status) == ("journal-not-writable", 44)
        assert len(FileJournal(disk / "journal.jsonl").replay()) == kept + 1
