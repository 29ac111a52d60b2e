"""JSON from a medium, read so that two readers cannot understand it differently.

A doubled member, a float, NaN, a lone surrogate or nesting without end are all ways to make two
programs see two documents in the same bytes, or to make one of them crash. None has a use here.
Pure: the bytes were read, and their number capped, by ``keys.metadata``.
"""

from __future__ import annotations

import json
from typing import Final

from teraferry.bundles.errors import TrustError
from teraferry.bundles.limits import MAX_METADATA_DEPTH

Json = dict[str, "Json"] | list["Json"] | str | int | bool | None

_MAX_INTEGER: Final = 2**53 - 1
"""Largest integer that every JSON reader keeps exactly (RFC 8259, section 6)."""


def parse_strict_object(content: bytes, *, what: str) -> dict[str, Json]:
    """Return the JSON object in ``content``.

    Args:
        content: Unverified bytes; their number is capped by the caller.
        what: Name of the document, for the message.

    Raises:
        TrustError: ``metadata-unreadable``, 24.

    Source: RFC 8259, section 4 (names should be unique), section 6 (numbers), section 8.2 (surrogates).
    """
    try:
        text = content.decode("utf-8")
        _require_shallow(text)
        parsed: Json = json.loads(
            text,
            object_pairs_hook=_unique_members,
            parse_int=_bounded_integer,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
        # A lone surrogate parses but cannot be written again, so no canonical form of it exists.
        json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise unreadable(what, str(error)) from error
    if not isinstance(parsed, dict):
        raise unreadable(what, f"a JSON {type(parsed).__name__}")
    return parsed


def unreadable(what: str, found: str) -> TrustError:
    """Return the refusal of a document that cannot be understood, not even to be judged."""
    return TrustError(
        "metadata-unreadable",
        f"metadata {what}: {found[:200]}, expected what TeraFerry writes",
        hint="The medium may be damaged: copy the kit again or ask for another one. Nothing was changed.",
        exit_status=24,
        facts={"file": what},
    )


def _unique_members(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members: dict[str, Json] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"member {name[:60]!r} twice in one object")
        members[name] = value
    return members


def _bounded_integer(digits: str) -> int:
    # The length is looked at first: converting a million digits takes quadratic time.
    if len(digits) > 17 or abs(int(digits)) > _MAX_INTEGER:
        raise ValueError("a number above 2^53")
    return int(digits)


def _refuse_number(digits: str) -> Json:
    raise ValueError(f"the number {digits[:20]}, expected an integer")


def _require_shallow(text: str) -> None:
    # Counted before parsing: 100,000 opening brackets would exhaust the parser's stack.
    depth = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            if depth > MAX_METADATA_DEPTH:
                raise ValueError(f"nested deeper than {MAX_METADATA_DEPTH}")
        elif character in "]}":
            depth -= 1
