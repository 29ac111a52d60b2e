"""The chain of evidence, as pure functions: encode a line, parse it, check that nothing is missing.

Each line is one JSON object and names the digest of the line before it, so that a line that was
taken out, changed or put in shows. A chain alone does not stop root from writing it anew; the
receipts that a site hands back do. ``adapters/journal/file.py`` makes lines durable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.errors import OperatorNeededError
from teraferry.bundles.limits import MAX_JOURNAL_LINE_BYTES
from teraferry.bundles.model import Model
from teraferry.installer.ports import Entry

FIRST_PREVIOUS: Digest = digest_of(b"")
"""What the first entry names as the digest of the line before it."""


class _Line(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    sequence: Annotated[int, msgspec.Meta(ge=1)]
    time_utc: str
    run: str
    event: str
    step: str
    facts: dict[str, object]
    previous: Digest


def encode_entry(entry: Entry) -> bytes:
    """Return the line of ``entry``, without its newline.

    Raises:
        ValueError: The line is longer than ``MAX_JOURNAL_LINE_BYTES``.
    """
    line = msgspec.json.encode(
        {
            "sequence": entry.sequence,
            "time_utc": entry.time_utc,
            "run": entry.run,
            "event": entry.event,
            "step": entry.step,
            "facts": dict(entry.facts),
            "previous": entry.previous,
        },
        order="sorted",
    )
    if len(line) > MAX_JOURNAL_LINE_BYTES:
        raise ValueError(f"journal entry: {len(line)} bytes, expected at most {MAX_JOURNAL_LINE_BYTES}")
    return line


def parse_entry(number: int, line: bytes) -> Entry:
    """Return the entry on line ``number`` (1, 2, 3 ...).

    Raises:
        OperatorNeededError: ``journal-corrupt``, 62.
    """
    if len(line) > MAX_JOURNAL_LINE_BYTES:
        raise corrupt(number, "too long")
    try:
        parsed = msgspec.json.decode(line, type=_Line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise corrupt(number, str(error)) from error
    return Entry(
        sequence=parsed.sequence,
        time_utc=parsed.time_utc,
        run=parsed.run,
        event=parsed.event,
        step=parsed.step,
        facts=parsed.facts,
        previous=parsed.previous,
    )


def parse_chain(lines: Iterable[bytes]) -> tuple[Entry, ...]:
    """Return the entries of ``lines``, oldest first, each tied to the line before it.

    Raises:
        OperatorNeededError: ``journal-corrupt``, 62; the message names the line.
    """
    entries: list[Entry] = []
    previous = FIRST_PREVIOUS
    for number, line in enumerate(lines, start=1):
        entry = parse_entry(number, line)
        if entry.sequence != number:
            raise corrupt(number, f"sequence {entry.sequence}, expected {number}")
        if entry.previous != previous:
            raise corrupt(number, f"names the line before it {entry.previous}, expected {previous}")
        entries.append(entry)
        previous = digest_of(line)
    return tuple(entries)


def next_entry(
    entries: Sequence[Entry], *, time_utc: str, run: str, event: str, step: str, facts: Mapping[str, object]
) -> Entry:
    """Return the entry that follows ``entries`` in the chain."""
    previous = head_of(entries)
    return Entry(
        sequence=len(entries) + 1,
        time_utc=time_utc,
        run=run,
        event=event,
        step=step,
        facts=dict(facts),
        previous=previous,
    )


def head_of(entries: Sequence[Entry]) -> Digest:
    """Return the digest of the newest line: what a receipt quotes, and the next entry names."""
    return digest_of(encode_entry(entries[-1])) if entries else FIRST_PREVIOUS


def fact_of(entry: Entry, name: str) -> Any:
    """Return a fact that entries of this kind always have.

    Nothing names the digest of the newest line yet, so that a bit that flipped in it shows here or not at all.

    Raises:
        OperatorNeededError: ``journal-corrupt``, 62: it has none.
    """
    if name not in entry.facts:
        raise corrupt(entry.sequence, f"{entry.event} without {name}")
    return entry.facts[name]


def corrupt(number: int, found: str) -> OperatorNeededError:
    """Return the refusal of a journal whose line ``number`` is not as it was written."""
    return OperatorNeededError(
        "journal-corrupt",
        f"journal line {number}: {found}, expected an unbroken chain of entries",
        hint="Keep the file as evidence and call your support; nothing is rolled out on a broken journal.",
        exit_status=62,
        facts={"line": number},
    )
