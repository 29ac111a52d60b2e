"""What a probe answered, judged by a table of site.toml: ``{ field = "active_holds", equals = 0 }``. Pure.

No expression language: one field, one value. An answer that does not hold the field at all, or holds it twice,
answers nothing, and that is never a pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

MAX_ANSWER_BYTES: Final = 1024 * 1024
"""A probe's answer is a handful of fields; more is a web page or a mistake."""

Value = str | int | float | bool


class CannotAnswerError(Exception):
    """The answer does not say what was asked; its text says what was found instead."""


class Probe(Protocol):
    """Asks one thing at the site. It is answered in JSON; whoever asked judges the answer by a condition."""

    @property
    def name(self) -> str:
        """For messages."""

    def ask(self, *, timeout_seconds: float) -> bytes:
        """Return the answer, unjudged, within that time; one byte above ``MAX_ANSWER_BYTES`` by HTTP at most.

        Raises:
            CannotAnswerError: There is none, or not in time; never taken for a pass.
            RefusedError: ``egress-refused``, 40: the site does not name who would be asked.
        """


@dataclass(frozen=True, slots=True)
class Condition:
    """``field`` must equal ``equals``, type and all: ``true`` is not 1."""

    field: str  # dots lead into objects: "status.code"
    equals: Value


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found in one answer. There is no ``__bool__``: ask for ``passes``."""

    passes: bool
    found: Value | None  # JSON null is found, and passes nothing
    answer: Mapping[str, Any]


def judge_answer(content: bytes, condition: Condition) -> Verdict:
    """Judge a whole answer.

    Raises:
        CannotAnswerError: It is too long, no JSON object, or lacks the field.
    """
    answer = parse_answer(content)
    found: Any = answer
    for name in condition.field.split("."):
        if not isinstance(found, dict) or name not in found:
            raise CannotAnswerError(f"no field {condition.field}")
        found = found[name]
    if not isinstance(found, str | int | float | bool | None):
        raise CannotAnswerError(f"field {condition.field} is a list or an object")
    same_kind = isinstance(found, bool) == isinstance(condition.equals, bool)
    return Verdict(same_kind and found is not None and found == condition.equals, found, answer)


def parse_answer(content: bytes) -> dict[str, Any]:
    """Return a whole answer, a JSON object in which no field stands twice.

    Raises:
        CannotAnswerError: It is none, or too long.
    """
    if len(content) > MAX_ANSWER_BYTES:
        raise CannotAnswerError(f"more than {MAX_ANSWER_BYTES} bytes")
    try:
        answer = json.loads(content, object_pairs_hook=_once_each, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise CannotAnswerError(f"no JSON ({str(error)[:100]})") from error
    if not isinstance(answer, dict):
        raise CannotAnswerError("no JSON object")
    return answer


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a field twice")
    return dict(pairs)


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")
