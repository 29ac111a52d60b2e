"""What every ``TrafficSwitch`` must do: fakes, nftables, HAProxy and a site's own program on a gateway, in one run.

Where a new connection goes is asked by making one. A reboot forgets what is in memory and runs what is enabled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.blue_green_ports import TrafficObservation, TrafficSwitch
from tests.fakes.traffic import FakeTrafficSwitch
from tests.lab.gateway import GatewayLab
from tests.lab.haproxy import HaproxyLab
from tests.lab.nodes import wait_until
from tests.lab.site_switch import SiteSwitchLab

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
    wait: Callable[[], None]  # returns once a short hold is over, if that ends by itself
    connect: Callable[[], AbstractContextManager[None]]  # while it is open, so is a new connection


ENDS_BY_ITSELF = ["fake", "nftables"]
STAYS = ["fake without dead-man", "haproxy", "command"]


@pytest.fixture(params=[*ENDS_BY_ITSELF, *STAYS])
def rig(request: pytest.FixtureRequest) -> Rig:
    return make_rig(request, request.param)


@pytest.fixture(params=ENDS_BY_ITSELF)
def ending_rig(request: pytest.FixtureRequest) -> Rig:
    return make_rig(request, request.param)


@pytest.fixture(params=STAYS)
def staying_rig(request: pytest.FixtureRequest) -> Rig:
    return make_rig(request, request.param)


def make_rig(request: pytest.FixtureRequest, name: str) -> Rig:
    if name.startswith("fake"):
        fake = FakeTrafficSwitch(has_dead_man=name == "fake")

        def move_on() -> None:
            fake.now_seconds += 2

        return Rig(fake, lambda: fake.observe().active, fake.reboot, move_on, lambda: connect_to(fake))
    lab: GatewayLab = request.getfixturevalue("gateway_lab")
    if name == "nftables":
        gateway: GatewayLab = request.getfixturevalue("gateway")
        kernel = gateway.switch()
        lapsed = lambda: kernel.observe().held_seconds is None  # noqa: E731
        wait = lambda: wait_until("the hold to end", lapsed)  # noqa: E731
        return Rig(kernel, lab.answers, gateway.reboot, wait, lab.connection)
    there: HaproxyLab | SiteSwitchLab
    there = request.getfixturevalue("haproxy" if name == "haproxy" else "site_switch")
    # Longer than the short hold, for who might end it after all.
    return Rig(there.switch(), lab.answers, there.reboot, lambda: time.sleep(1.5), lab.connection)


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
    assert rig.answers() == "green"


def test_hold_that_nobody_renews_ends_by_itself(ending_rig: Rig) -> None:
    rig = ending_rig
    assert rig.switch.has_dead_man
    rig.switch.hold("green", seconds=2)
    seconds = rig.switch.observe().held_seconds
    assert seconds is not None and 0 <= seconds <= 2
    rig.wait()
    assert rig.switch.observe() == BLUE
    assert rig.answers() == "blue"


def test_hold_that_nobody_renews_stays_when_there_is_no_dead_man(staying_rig: Rig) -> None:
    rig = staying_rig
    assert not rig.switch.has_dead_man
    rig.switch.hold("green", seconds=1)
    rig.wait()
    assert rig.switch.observe() == TrafficObservation("green", "blue", None)
    rig.switch.renew(seconds=1)
    assert rig.answers() == "green"


def test_hold_again_holds_anew(ending_rig: Rig) -> None:
    ending_rig.switch.hold("green", seconds=30)
    ending_rig.switch.hold("green", seconds=LONG)
    assert (ending_rig.switch.observe().held_seconds or 0) > 30


def test_hold_may_be_repeated(rig: Rig) -> None:
    for _ in range(2):
        rig.switch.hold("green", seconds=LONG)
        assert (rig.switch.observe().active, rig.switch.observe().standing) == ("green", "blue")


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


def test_renew_lets_it_hold_for_longer(ending_rig: Rig) -> None:
    ending_rig.switch.hold("green", seconds=30)
    ending_rig.switch.renew(seconds=LONG)
    assert (ending_rig.switch.observe().held_seconds or 0) > 30
    assert ending_rig.answers() == "green"


def test_renew_of_nothing_held_refuses(rig: Rig) -> None:
    with pytest.raises(RefusedError) as caught:
        rig.switch.renew(seconds=LONG)
    assert (caught.value.reference, caught.value.exit_status) == ("hold-lapsed", 40)
    assert rig.switch.observe() == BLUE


def test_renew_after_it_ended_refuses_and_leaves_traffic_where_it_is(ending_rig: Rig) -> None:
    rig = ending_rig
    rig.switch.hold("green", seconds=2)
    rig.wait()
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
    with pytest.raises(RefusedError) as caught:
        rig.switch.renew(seconds=LONG)
    assert caught.value.reference == "hold-lapsed"


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


CUTTING = ["fake", "nftables", "haproxy"]


@pytest.mark.parametrize("engine", CUTTING)
def test_cut_ends_what_the_old_side_serves_and_may_be_repeated(request: pytest.FixtureRequest, engine: str) -> None:
    rig = make_rig(request, engine)
    rig.switch.require_can_cut()
    with rig.connect():
        rig.switch.commit("green")
        assert rig.switch.established("blue") == 1
        for _ in range(2):
            rig.switch.cut("blue")
            assert rig.switch.established("blue") == 0
    assert rig.switch.observe() == GREEN


@pytest.mark.parametrize("engine", CUTTING)
def test_cut_of_a_side_that_has_or_may_get_new_connections_refuses(request: pytest.FixtureRequest, engine: str) -> None:
    rig = make_rig(request, engine)
    with rig.connect():
        rig.switch.hold("green", seconds=LONG)
        for side in ("blue", "green"):
            with pytest.raises(RefusedError) as caught:
                rig.switch.cut(side)
            assert (caught.value.reference, caught.value.exit_status) == ("switch-failed", 40)
        assert rig.switch.established("blue") == 1


def test_switch_that_cannot_cut_says_so(request: pytest.FixtureRequest) -> None:
    unable = FakeTrafficSwitch("green")
    unable.can_cut = False
    command = make_rig(request, "command").switch
    command.commit("green")
    for switch in (unable, command):
        for ask in (switch.require_can_cut, lambda switch=switch: switch.cut("blue")):
            with pytest.raises(RefusedError) as caught:
                ask()
            assert (caught.value.reference, caught.value.exit_status) == ("switch-cannot-cut", 40)
