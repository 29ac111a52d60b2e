"""Waiting for a compliance lock to go: it begins by itself, gives up in time, and never begins early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from teraferry.bundles.errors import RefusedError, UsageError
from teraferry.bundles.progress import Silent
from teraferry.installer.rollout.compliance import ComplianceGate, Patience, wait_until_open
from teraferry.installer.rollout.conditions import Condition
from teraferry.installer.rollout.stopping import StoppedByOperatorError
from teraferry.installer.site.durations import parse_duration

OPEN, HELD = b'{"active_holds": 0}', b'{"active_holds": 1}'


@dataclass
class Clock:
    """Time passes only while somebody sleeps."""

    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=max(seconds, 0.001))


@dataclass
class Probe:
    """Answers in turn; the last answer for ever."""

    said: Sequence[bytes]
    name: str = "legal_hold"
    asked: list[bytes] = field(default_factory=list)

    def ask(self) -> bytes:
        self.asked.append(self.said[min(len(self.asked), len(self.said) - 1)])
        return self.asked[-1]


def wait(probe: Probe, clock: Clock, wait: timedelta, *, stopped_after: timedelta | None = None) -> None:
    began = clock.now

    def require_not_stopped() -> None:
        if stopped_after is not None and clock.now - began >= stopped_after:
            raise StoppedByOperatorError(changed=False)

    patience = Patience(wait, lambda: clock.now, clock.sleep, Silent(), require_not_stopped)
    wait_until_open(ComplianceGate([(probe, Condition("active_holds", 0))]), patience)


def test_install_begins_by_itself_when_the_lock_goes() -> None:
    probe, clock = Probe([HELD, b"no answer", HELD, OPEN]), Clock()

    wait(probe, clock, timedelta(hours=1))

    assert probe.asked[-1] == OPEN
    assert len(probe.asked) == 4


def test_wait_ends_at_its_deadline_with_what_held_it() -> None:
    probe, clock = Probe([HELD]), Clock()
    began = clock.now

    with pytest.raises(RefusedError) as refused:
        wait(probe, clock, timedelta(minutes=5))

    assert (refused.value.exit_status, refused.value.reference) == (41, "compliance-lock")
    assert timedelta(minutes=5) <= clock.now - began < timedelta(minutes=5, seconds=1)


def test_without_a_wait_one_look_decides() -> None:
    probe = Probe([HELD, OPEN])

    with pytest.raises(RefusedError):
        wait(probe, Clock(), timedelta())

    assert len(probe.asked) == 1


@pytest.mark.parametrize("seconds", [0, 4, 100])
def test_stop_ends_the_wait_within_a_second(seconds: int) -> None:
    clock = Clock()
    asked = clock.now + timedelta(seconds=seconds)

    with pytest.raises(StoppedByOperatorError):
        wait(Probe([HELD]), clock, timedelta(hours=1), stopped_after=timedelta(seconds=seconds))

    assert clock.now - asked <= timedelta(seconds=1)


def test_every_probe_must_pass() -> None:
    gate = ComplianceGate(
        [
            (Probe([OPEN]), Condition("active_holds", 0)),
            (Probe([HELD], name="audit_export"), Condition("active_holds", 0)),
        ]
    )

    with pytest.raises(RefusedError) as refused:
        gate.require_open()

    assert refused.value.facts["probe"] == "audit_export"


@pytest.mark.parametrize(("text", "seconds"), [("0s", 0), ("90s", 90), ("30m", 1800), ("168h", 604_800)])
def test_duration_is_a_number_and_its_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "30", "h", "-1h", "1.5h", "169h", "4 h", "01h", "1d"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_duration(text)

    assert refused.value.reference == "duration-malformed"
