"""A probe's answer against ``{ field = ..., equals = ... }``: exact, and never a pass for what is not there."""

from __future__ import annotations

import pytest

from teraferry.installer.rollout.conditions import (
    MAX_ANSWER_BYTES,
    CannotAnswerError,
    Condition,
    Value,
    judge_answer,
)


@pytest.mark.parametrize(
    ("content", "field", "equals", "passes"),
    [
        (b'{"active_holds": 0}', "active_holds", 0, True),
        (b'{"active_holds": 1}', "active_holds", 0, False),
        (b'{"status": "ok", "more": []}', "status", "ok", True),
        (b'{"status": "OK"}', "status", "ok", False),
        (b'{"rebalanced": true}', "rebalanced", True, True),
        (b'{"erasure": {"rebalanced": true}}', "erasure.rebalanced", True, True),
        (b'{"share": 1.0}', "share", 1, True),
        # true is not 1, and "0" is not 0: a program that changed its mind about types must not let anything through.
        (b'{"running": false}', "running", 0, False),
        (b'{"rebalanced": 1}', "rebalanced", True, False),
        (b'{"active_holds": "0"}', "active_holds", 0, False),
        (b'{"active_holds": null}', "active_holds", 0, False),
    ],
)
def test_condition_compares_value_and_kind(content: bytes, field: str, equals: Value, passes: bool) -> None:
    assert judge_answer(content, Condition(field, equals)).passes is passes


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"ok",
        b"[]",
        b"0",
        b"{}",
        b'{"active_holds": []}',
        b'{"active_holds": {"count": 0}}',
        b'{"Active_Holds": 0}',
        b'{"active_holds": 1, "active_holds": 0}',
        b'{"active_holds": NaN}',
        b'{"active_holds": 0',
        b'{"active_holds": 0} trailing',
        b'\xff{"active_holds": 0}',
        b"[" * 100_000,
        b'{"active_holds": 0}' + b" " * MAX_ANSWER_BYTES,
    ],
)
def test_answer_that_does_not_hold_the_field_once_is_none(content: bytes) -> None:
    with pytest.raises(CannotAnswerError):
        judge_answer(content, Condition("active_holds", 0))
