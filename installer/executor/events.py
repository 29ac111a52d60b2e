"""What an executor tells whoever follows it: one JSON object a line, in the order it happened. Pure.

The executor is a process of its own, so that a closed terminal changes nothing. It writes these
lines; any number of followers read them, from the first one on, and show what the executor itself
would have shown. The journal is the record; these lines are only the view, and may be lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from teraferry.bundles.errors import Fact, TeraFerryError
from teraferry.bundles.progress import Progress


class Started(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="started"):
    """The executor lives. Written anew by the installer that it hands over to, which is the same process."""

    pid: int
    start_ticks: int  # /proc/PID/stat, field 22: with the pid, one process and no later one
    command: str  # "install"


class PhaseBegan(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="phase"):
    """``Progress.start``."""

    phase: str
    total_bytes: int | None
    detail: str


class Advanced(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="advance"):
    """``Progress.advance``, several in one."""

    count_bytes: int


class Said(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="say"):
    """``Progress.say``."""

    event: str
    text: str
    facts: dict[str, Any]


class Waited(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="waiting"):
    """``Progress.waiting``."""

    what: str
    why: str


class Asked(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="ask"):
    """The executor waits for a yes or no before it changes anything."""

    question: str


class Succeeded(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="result"):
    """It ended with 0."""

    command: str
    fields: dict[str, Any]


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="error"):
    """It refused or failed, for a reason with a name."""

    command: str
    exit_status: int
    reference: str
    message: str
    hint: str
    facts: dict[str, Any]


class Crashed(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="bug"):
    """It ended with a bug of ours."""

    command: str
    traceback: str


Event = Started | PhaseBegan | Advanced | Said | Waited | Asked | Succeeded | Failed | Crashed
LAST = (Succeeded, Failed, Crashed)
"""Nothing follows one of these."""

_ENCODER = msgspec.json.Encoder(enc_hook=str)
_DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


class ReportedError(TeraFerryError):
    """An error that the executor met, told again by whoever follows it."""

    statuses = tuple(range(2, 63))


class ReportedBugError(Exception):
    """The traceback of a bug that the executor met."""


def encode_event(event: Event) -> bytes:
    """Return the line, with its newline."""
    return _ENCODER.encode(event) + b"\n"


def parse_event(line: bytes) -> Event:
    """Return what a whole line says.

    Raises:
        ReportedBugError: It is no event: another version of this program wrote it.
    """
    try:
        return _DECODER.decode(line)
    except msgspec.DecodeError as error:
        raise ReportedBugError(f"event {line[:200]!r}: {error}") from error


def show(event: Event, progress: Progress) -> None:
    """Show an event as the executor would have."""
    match event:
        case PhaseBegan():
            progress.start(event.phase, total_bytes=event.total_bytes, detail=event.detail)
        case Advanced():
            progress.advance(event.count_bytes)
        case Said():
            facts: dict[str, Fact] = event.facts
            progress.say(event.event, event.text, **facts)
        case Waited():
            progress.waiting(event.what, event.why)
        case _:
            pass


def outcome_of(event: Succeeded | Failed | Crashed) -> Mapping[str, object]:
    """Return the result's fields, or raise what the executor ended with.

    Raises:
        ReportedError: What it refused or failed with. ReportedBugError: a bug.
    """
    match event:
        case Succeeded():
            return event.fields
        case Failed():
            raise ReportedError(
                event.reference, event.message, hint=event.hint, exit_status=event.exit_status, facts=event.facts
            )
        case Crashed():
            raise ReportedBugError(event.traceback)
