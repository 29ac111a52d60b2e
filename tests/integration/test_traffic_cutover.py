"""1,000 open connections and 200 new ones a second, through a cutover and back: nobody is cut, nobody is moved."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.gateway import GatewayLab
from tests.lab.haproxy import HaproxyLab
from tests.lab.switch_clients import Seen, SwitchClients, turn
from tests.lab.switch_traffic import MORE

pytestmark = pytest.mark.real

OPEN, NEW_PER_SECOND = 1000, 200
EACH_PHASE = 200
"""New connections before, between and after the flips."""

LONG = 600.0


def answered(seen: Seen, *, after: float, before: float) -> set[str]:
    """Return who answered connections that lay wholly between two moments; there must be some."""
    names = seen.answered(after=after, before=before)
    assert len(names) >= EACH_PHASE / 2
    return set(names)


@pytest.mark.parametrize("engine", ["nftables", "haproxy"])
def test_cutover_and_rollback_cut_and_move_no_connection(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str
) -> None:
    lab: GatewayLab = request.getfixturevalue("gateway_lab")
    there: GatewayLab | HaproxyLab = request.getfixturevalue("gateway" if engine == "nftables" else "haproxy")
    switch = there.switch()
    clients = SwitchClients(lab, tmp_path / "clients.json", new_per_second=NEW_PER_SECOND)
    clients.start(OPEN, on="blue")
    clients.wait_for_new(EACH_PHASE)

    cutover = turn("green", lambda: switch.hold("green", seconds=LONG))
    clients.wait_for_new(EACH_PHASE)
    clients.open_more(MORE, on="green")
    switch.renew(seconds=LONG)

    rollback = turn("blue", switch.release)
    clients.wait_for_new(EACH_PHASE)
    seen = clients.end()

    assert (seen.errors, seen.failed) == ([], [])
    assert seen.open == {"blue": OPEN, "green": MORE}
    assert seen.asked >= OPEN + MORE
    assert answered(seen, after=0, before=cutover.began) == {"blue"}
    assert answered(seen, after=cutover.returned, before=rollback.began) == {"green"}
    assert answered(seen, after=rollback.returned, before=time.monotonic()) == {"blue"}


@pytest.mark.parametrize("engine", ["nftables", "haproxy"])
def test_client_of_a_cut_connection_gets_an_error_and_no_other_client_does(
    request: pytest.FixtureRequest, engine: str
) -> None:
    lab: GatewayLab = request.getfixturevalue("gateway_lab")
    there: GatewayLab | HaproxyLab = request.getfixturevalue("gateway" if engine == "nftables" else "haproxy")
    switch = there.switch()
    with lab.asking() as on_blue:
        assert on_blue() == "blue"
        switch.hold("green", seconds=LONG)
        with lab.asking() as on_green:
            assert on_green() == "green"
            switch.commit("green")
            assert (on_blue(), on_green()) == ("blue", "green")

            switch.cut("blue")

            assert is_cut(on_blue)
            assert on_green() == "green"
            # Of green's the kernel may count what the cut client sent for a while, until it believes the reset.
            assert switch.established("blue") == 0
            assert lab.answers() == "green"


def is_cut(ask: Callable[[], str]) -> bool:
    """Tell whether the connection is over, by a reset or by its end, and not merely silent."""
    try:
        return ask() == ""
    except (ConnectionResetError, BrokenPipeError):
        return True
