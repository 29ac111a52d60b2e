"""The compliance lock: while a legal hold or an audit export runs, an install is postponed, and nothing is changed.

A probe that cannot answer postpones as well: "nobody told us of a hold" is not "there is none".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.progress import Progress
from teraferry.installer.ports import ComplianceProbe
from teraferry.installer.rollout.conditions import CannotAnswerError, Condition, judge_answer

ASK_AGAIN_SECONDS: Final = 15.0
"""Between two questions while an install waits for the lock to go: a hold lasts hours."""

STOP_LOOK_SECONDS: Final = 1.0

SINCE: Final = "since"
"""A field of an answer that says when what runs began; told as it is, never relied on."""


@dataclass(frozen=True, slots=True)
class ComplianceGate:
    """Every probe of the site and what its answer must hold."""

    probes: Sequence[tuple[ComplianceProbe, Condition]]

    def require_open(self) -> None:
        """Ask every probe.

        Raises:
            RefusedError: ``compliance-lock`` or ``compliance-cannot-answer``, 41; the first that holds.
        """
        for probe, condition in self.probes:
            _require_open(probe, condition)


@dataclass(frozen=True, slots=True)
class Patience:
    """How an install waits for the lock to go."""

    wait: timedelta  # zero: not at all
    now: Callable[[], datetime]
    sleep_seconds: Callable[[float], None]
    progress: Progress
    require_not_stopped: Callable[[], None]


def wait_until_open(gate: ComplianceGate, patience: Patience) -> None:
    """Return once the gate is open; ask again and again until ``patience.wait`` is over.

    Raises:
        RefusedError: 41, what held it at the last look. ``StoppedByOperatorError``, 43.
    """
    give_up = patience.now() + patience.wait
    while True:
        try:
            gate.require_open()
        except RefusedError as refused:
            if patience.now() >= give_up:
                raise
            left = give_up - patience.now()
            patience.progress.waiting("the compliance lock to go", f"{refused.message}; given up in {_minutes(left)}")
        else:
            return
        _pause(patience, until=min(give_up, patience.now() + timedelta(seconds=ASK_AGAIN_SECONDS)))


def _pause(patience: Patience, *, until: datetime) -> None:
    """Sleep in short pieces: whoever asks for a stop is not to wait until the next question."""
    patience.require_not_stopped()
    while (left := (until - patience.now()).total_seconds()) > 0:
        patience.sleep_seconds(min(STOP_LOOK_SECONDS, left))
        patience.require_not_stopped()


def _require_open(probe: ComplianceProbe, condition: Condition) -> None:
    try:
        verdict = judge_answer(probe.ask(), condition)
    except CannotAnswerError as error:
        raise cannot_answer(probe.name, str(error)) from error
    if verdict.passes:
        return
    since = verdict.answer.get(SINCE)
    begun = f" since {since}" if isinstance(since, str) and since.isprintable() else ""
    raise RefusedError(
        "compliance-lock",
        f"{probe.name}: {condition.field} is {verdict.found!r}{begun}, expected {condition.equals!r}; postponed",
        hint="Wait until it is over, then type the same command again; or let it wait: install KIT --wait 4h.",
        exit_status=41,
        facts={
            "probe": probe.name,
            "field": condition.field,
            "found": verdict.found,
            "expected": condition.equals,
            "since": str(since) if begun else None,
        },
    )


def cannot_answer(name: str, found: str) -> RefusedError:
    """Return the refusal for a probe that did not answer what it was asked."""
    return RefusedError(
        "compliance-cannot-answer",
        f"{name}: cannot answer ({found}), expected it to say that nothing runs; postponed",
        hint=f"Mend what [compliance] {name} in site.toml names, then type the same command again.",
        exit_status=41,
        facts={"probe": name, "found": found},
    )


def _minutes(left: timedelta) -> str:
    return f"{max(0, round(left.total_seconds() / 60))} min"
