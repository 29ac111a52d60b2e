"""How many checks of a window may fail or be slow, and what an application may say of itself."""

from __future__ import annotations

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.blue_green_ports import HealthAnswer
from teraferry.installer.rollout.conditions import MAX_ANSWER_BYTES
from teraferry.installer.rollout.stability import Limits, Tally, count_answer
from teraferry.installer.site.monitor_rules import answer_seconds

FIVE_MINUTES = Limits(300, 0.001, 500)
WELL = HealthAnswer(200, 12.0, b'{"status": "ok"}')
BROKEN = HealthAnswer(503, 12.0, b"")
SLOW = HealthAnswer(200, 501.0, b"")


def count(*answers: HealthAnswer, limits: Limits = FIVE_MINUTES) -> Tally:
    tally = Tally()
    for answer in answers:
        tally = count_answer(tally, answer, limits)
    return tally


def refused(*answers: HealthAnswer, limits: Limits = FIVE_MINUTES) -> str:
    with pytest.raises(RefusedError) as caught:
        count(*answers, limits=limits)
    assert caught.value.exit_status == 40
    return caught.value.reference


def test_window_that_is_well_is_counted() -> None:
    assert count(WELL, WELL) == Tally(2, 0, 0, 12.0)


def test_first_error_decides_when_the_window_allows_none() -> None:
    assert refused(WELL, BROKEN) == "unstable"


def test_errors_are_a_share_of_the_whole_window() -> None:
    limits = Limits(300, 0.01, 500)
    assert count(*[BROKEN] * 3, limits=limits).errors == 3
    assert refused(*[BROKEN] * 4, limits=limits) == "unstable"


def test_one_check_of_a_hundred_may_be_slow() -> None:
    assert count(*[SLOW] * 3).slow == 3
    assert refused(*[SLOW] * 4) == "unstable"


def test_no_check_of_a_short_window_may_be_slow() -> None:
    assert refused(SLOW, limits=Limits(5, 0.5, 500)) == "unstable"


@pytest.mark.parametrize("status", [199, 300, 302, 404, 500])
def test_status_that_is_no_success_is_an_error(status: int) -> None:
    assert refused(HealthAnswer(status, 1.0, b"")) == "unstable"


@pytest.mark.parametrize("own", [b'{"error_rate": 0.002}', b'{"latency_p99_ms": 501}'])
def test_figures_that_the_application_tells_are_held_to_the_same_limits(own: bytes) -> None:
    assert refused(HealthAnswer(200, 1.0, own)) == "unstable"


@pytest.mark.parametrize("own", [b'{"error_rate": "0"}', b'{"error_rate": null}', b'{"latency_p99_ms": true}'])
def test_figures_that_are_no_numbers_are_no_answer(own: bytes) -> None:
    assert refused(HealthAnswer(200, 1.0, own)) == "monitor-inconclusive"


def test_answer_without_end_is_no_answer() -> None:
    assert refused(HealthAnswer(200, 1.0, b" " * (MAX_ANSWER_BYTES + 1))) == "monitor-inconclusive"


@pytest.mark.parametrize("content", [b"", b"fine", b"[1]", b'{"error_rate": 0.001, "latency_p99_ms": 500}'])
def test_answer_that_says_nothing_worse_is_well(content: bytes) -> None:
    assert count(HealthAnswer(200, 1.0, content)).errors == 0


@pytest.mark.parametrize(
    ("every_seconds", "latency_p99_ms", "waited"),
    [
        pytest.param(5, 700, 1.4, id="twice the latency that 99 of 100 must keep"),
        pytest.param(1, 500, 0.8, id="never as long as the pause to the next check"),
        pytest.param(5, 20, 0.5, id="long enough for a packet to be sent again"),
        pytest.param(60, 30_000, 5.0, id="never longer than this"),
    ],
)
def test_check_waits_for_its_answer_as_long_as_the_latency_says(
    every_seconds: float, latency_p99_ms: float, waited: float
) -> None:
    assert answer_seconds(every_seconds=every_seconds, latency_p99_ms=latency_p99_ms) == pytest.approx(waited)
