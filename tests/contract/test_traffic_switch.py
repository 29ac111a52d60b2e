"""What every ``TrafficSwitch`` must do: the fake, and nftables on a gateway between namespaces, in one run.

Where a new connection goes is asked by making one. A reboot forgets every rule and runs what is enabled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.blue_green_ports import TrafficObservation, TrafficSwitch
from tests.fakes.traffic import FakeTrafficSwitch
from tests.lab.gateway import GatewayLab
from tests.lab.nodes import wait_until

LONG = 600.0
"""Longer than any test takes, whatever else the machine does."""

BLUE = TrafficObservation("blue", "blue", None)
GREEN = TrafficObservation("green", "green", None)


@dataclass
class Rig:
    """One switch that stands at blue, and what a test does to it or sees of it from outside."""

    switch: TrafficSwitch
    answers: Callable[[], str]
    reboot: Callable[[], None]
    lapse: Callable[[], None]  # returns once a short hold is over
    connect: Callable[[], AbstractContextManager[None]]  # while it is open, so is a new connection


@pytest.fixture(params=["fake", "nftables"])
def rig(request: pytest.FixtureRequest) -> Rig:
    if request.param == "fake":
        fake = FakeTrafficSwitch()

        def move_on() -> None:
            fake.now_seconds += 2

        return Rig(fake, lambda: fake.observe().active, fake.reboot, move_on, lambda: connect_to(fake))
    gateway: GatewayLab = request.getfixturevalue("gateway")
    switch = gateway.switch()
    lapsed = lambda: switch.observe().held_seconds is None  # noqa: E731
    lapse = lambda: wait_until("the hold to end", lapsed)  # noqa: E731
    return Rig(switch, gateway.answers, gateway.reboot, lapse, gateway.connection)


@contextmanager
def connect_to(fake: FakeTrafficSwitch) -> Iterator[None]:
    side, counts = fake.observe().active, {"blue": 0, "green": 0}
    fake.open = {**counts, side: 1}
    yield
    fake.open = counts


def test_switch_sends_new_connections_to_the_standing_side(rig: Rig) -> None:
    assert rig.switch.observe() == BLUE
    assert rig.answers() == "blue"


def test_hold_sends_new_connections_to_the_other_side(rig: Rig) -> None:
    rig.switch.hold("green", seconds=LONG)
    seen = rig.switch.observe()
    assert (seen.active, seen.standing) == ("green", "blue")
    assert seen.held_seconds is not None and 0 < seen.held_seconds <= LONG
    assert rig.answers() == "green"


def test_hold_that_nobody_renews_ends_by_itself(rig: Rig) -> None:
    assert rig.switch.has_dead_man
    rig.switch.hold("green", seconds=2)
    rig.lapse()
    assert rig.switch.observe() == BLUE
    assert rig.answers() == "blue"


def test_hold_again_holds_anew(rig: Rig) -> None:
    rig.switch.hold("green", seconds=30)
    rig.switch.hold("green", seconds=LONG)
    assert (rig.switch.observe().held_seconds or 0) > 30


def test_hold_of_the_standing_side_refuses(rig: Rig) -> None:
    with pytest.raises(RefusedError) as caught:
        rig.switch.hold("blue", seconds=LONG)
    assert (caught.value.reference, caught.value.exit_status) == ("switch-failed", 40)
    assert rig.switch.observe() == BLUE


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_hold_for_no_time_is_a_mistake_of_the_caller(rig: Rig, seconds: float) -> None:
    with pytest.raises(ValueError, match="hold"):
        rig.switch.hold("green", seconds=seconds)
    assert rig.switch.observe() == BLUE


def test_hold_of_a_side_that_is_none_is_a_mistake_of_the_caller(rig: Rig) -> None:
    with pytest.raises(ValueError, match="red"):
        rig.switch.hold("red", seconds=LONG)
    assert rig.switch.observe() == BLUE


def test_renew_lets_it_hold_for_longer(rig: Rig) -> None:
    rig.switch.hold("green", seconds=30)
    rig.switch.renew(seconds=LONG)
    assert (rig.switch.observe().held_seconds or 0) > 30
    assert rig.answers() == "green"


def test_renew_of_nothing_held_refuses(rig: Rig) -> None:
    with pytest.raises(RefusedError) as caught:
        rig.switch.renew(seconds=LONG)
    assert (caught.value.reference, caught.value.exit_status) == ("hold-lapsed", 40)
    assert rig.switch.observe() == BLUE


def test_renew_after_it_ended_refuses_and_leaves_traffic_where_it_is(rig: Rig) -> None:
    rig.switch.hold("green", seconds=2)
    rig.lapse()
    with pytest.raises(RefusedError) as caught:
        rig.switch.renew(seconds=LONG)
    assert caught.value.reference == "hold-lapsed"
    assert rig.answers() == "blue"


def test_release_sends_new_connections_back_and_may_be_repeated(rig: Rig) -> None:
    rig.switch.hold("green", seconds=LONG)
    for _ in range(2):
        rig.switch.release()
        assert rig.switch.observe() == BLUE
        assert rig.answers() == "blue"


def test_commit_makes_it_the_standing_side_and_may_be_repeated(rig: Rig) -> None:
    rig.switch.hold("green", seconds=LONG)
    for _ in range(2):
        rig.switch.commit("green")
        assert rig.switch.observe() == GREEN
        assert rig.answers() == "green"
    with pytest.raises(RefusedError) as caught:
        rig.switch.renew(seconds=LONG)
    assert caught.value.reference == "hold-lapsed"


def test_commit_of_what_nobody_held_flips_as_well(rig: Rig) -> None:
    rig.switch.commit("green")
    assert rig.switch.observe() == GREEN


def test_commit_of_blue_while_green_is_held_brings_blue(rig: Rig) -> None:
    rig.switch.hold("green", seconds=LONG)
    rig.switch.commit("blue")
    assert rig.switch.observe() == BLUE


def test_reboot_while_green_is_held_brings_blue(rig: Rig) -> None:
    rig.switch.hold("green", seconds=LONG)
    rig.reboot()
    assert rig.switch.observe() == BLUE
    assert rig.answers() == "blue"


def test_reboot_after_commit_brings_green_and_blue_may_be_held(rig: Rig) -> None:
    rig.switch.commit("green")
    rig.reboot()
    assert rig.switch.observe() == GREEN
    rig.switch.hold("blue", seconds=LONG)
    assert rig.answers() == "blue"
    rig.reboot()
    assert rig.answers() == "green"


def test_established_counts_where_each_connection_stays(rig: Rig) -> None:
    with rig.connect():
        rig.switch.hold("green", seconds=LONG)
        assert (rig.switch.established("blue"), rig.switch.established("green")) == (1, 0)
        rig.switch.commit("green")
        assert (rig.switch.established("blue"), rig.switch.established("green")) == (1, 0)
