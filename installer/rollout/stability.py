"""The window after the cutover, as numbers: how many checks may fail or be slow, and how many were. Pure.

The site says a share of errors and a latency that 99 of 100 checks must keep. Both are of the whole window, whose
number of checks is known, so it is decided as soon as the rest of the window could not make up for it. No answer at
all is no error to be counted: it decides at once, and so does an answer that says of itself that it is not well.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import Any, Final

from teraferry.bundles.errors import RefusedError
from teraferry.installer.blue_green_ports import HealthAnswer
from teraferry.installer.rollout.conditions import MAX_ANSWER_BYTES

SLOW_SHARE: Final = 0.01
"""What is left of 100 by a 99th percentile."""

FIRST_GOOD, LAST_GOOD = 200, 299
"""Statuses of HTTP that mean success."""

OWN_FIGURES: Final = ("error_rate", "latency_p99_ms")
"""Fields by which an application tells its own figures; where they are, they are judged as well."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the site asks of one window."""

    checks: int  # how many there are, at least 1
    error_rate_max: float
    latency_p99_ms: float

    @property
    def errors_allowed(self) -> int:
        """How many checks of the window may fail."""
        return math.floor(self.error_rate_max * self.checks)

    @property
    def slow_allowed(self) -> int:
        """How many checks of the window may take longer than the latency."""
        return math.floor(SLOW_SHARE * self.checks)


@dataclass(frozen=True, slots=True)
class Tally:
    """What was seen so far."""

    checks: int = 0
    errors: int = 0
    slow: int = 0
    slowest_ms: float = 0.0

    def summary(self) -> str:
        """Return one line for people."""
        return f"{self.checks} checks, {self.errors} errors, {self.slow} slow, slowest {self.slowest_ms:.0f} ms"


def count_answer(tally: Tally, answer: HealthAnswer, limits: Limits) -> Tally:
    """Return ``tally`` with one more answer in it.

    Raises:
        RefusedError: ``unstable``, 40: the window cannot hold its limits any more, or the answer itself says so;
            ``monitor-inconclusive``, 40: the answer's own figures cannot be read.
    """
    is_error = not FIRST_GOOD <= answer.status <= LAST_GOOD
    counted = replace(
        tally,
        checks=tally.checks + 1,
        errors=tally.errors + is_error,
        slow=tally.slow + (answer.milliseconds > limits.latency_p99_ms),
        slowest_ms=max(tally.slowest_ms, answer.milliseconds),
    )
    if counted.errors > limits.errors_allowed:
        raise unstable(f"status {answer.status}; {counted.summary()}", f"at most {limits.errors_allowed} errors")
    if counted.slow > limits.slow_allowed:
        wanted = f"at most {limits.slow_allowed} slower than {limits.latency_p99_ms:g} ms"
        raise unstable(counted.summary(), wanted)
    if not is_error:
        _require_own_figures(answer.content, limits)
    return counted


def unstable(found: str, wanted: str) -> RefusedError:
    """Return the refusal of a cluster that does not do well."""
    return RefusedError(
        "unstable",
        f"stability: {found}, expected {wanted}",
        hint="Find out why with the application's own log, then type the same command again.",
        facts={"found": found, "expected": wanted},
    )


def inconclusive(found: str) -> RefusedError:
    """Return the refusal of a check that says nothing."""
    return RefusedError(
        "monitor-inconclusive",
        f"stability: {found}, expected an answer; it is not taken for health",
        hint="See that `health` of [monitor] in site.toml answers within every_seconds, then type the same command "
        "again.",
        facts={"found": found},
    )


def _require_own_figures(content: bytes, limits: Limits) -> None:
    told = _figures(content)
    for field, limit in zip(OWN_FIGURES, (limits.error_rate_max, limits.latency_p99_ms), strict=True):
        if field not in told:
            continue
        found = told[field]
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            raise inconclusive(f"{field} is {str(found)[:100]!r}")
        if found > limit:
            raise unstable(f"it says that its {field} is {found:g}", f"at most {limit:g}")


def _figures(content: bytes) -> dict[str, Any]:
    """Return the answer's fields; an answer that is no JSON object has none, and need not."""
    if len(content) > MAX_ANSWER_BYTES:
        raise inconclusive(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
