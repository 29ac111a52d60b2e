"""1,000 open connections and 200 new ones a second, through a cutover and back: nobody is cut, nobody is moved."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.gateway import GatewayLab
from tests.lab.haproxy import HaproxyLab
from tests.lab.nodes import wait_until
from tests.lab.switch_traffic import MORE

pytestmark = pytest.mark.real

OPEN, NEW_PER_SECOND = 1000, 200
EACH_PHASE = 200
"""New connections before, between and after the flips."""

LONG = 600.0


@dataclass(frozen=True)
class Call:
    """When a call to the switch began, and when it had returned."""

    began: float
    returned: float


def timed(action: Callable[[], None]) -> Call:
    began = time.monotonic()
    action()
    return Call(began, time.monotonic())


def answered(new: list[tuple[float, float, str]], *, after: float, before: float) -> set[str]:
    """Return who answered connections that lay wholly between two moments; there must be some."""
    names = [name for started, ended, name in new if after <= started and ended <= before]
    assert len(names) >= EACH_PHASE / 2
    return set(names)


@pytest.mark.parametrize("engine", ["nftables", "haproxy"])
def test_cutover_and_rollback_cut_and_move_no_connection(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str
) -> None:
    report = tmp_path / "clients.json"

    def told() -> dict[str, Any]:
        content: dict[str, Any] = json.loads(report.read_text())
        return content

    def wait_for_new() -> None:
        wanted = told()["made"] + EACH_PHASE
        wait_until("new connections", lambda: told()["made"] >= wanted)

    lab: GatewayLab = request.getfixturevalue("gateway_lab")
    there: GatewayLab | HaproxyLab = request.getfixturevalue("gateway" if engine == "nftables" else "haproxy")
    switch = there.switch()
    clients = lab.start_clients(report, count=OPEN, new_per_second=NEW_PER_SECOND)
    wait_until("the open connections", lambda: told()["open"] == {"blue": OPEN})
    wait_for_new()

    cutover = timed(lambda: switch.hold("green", seconds=LONG))
    wait_for_new()
    clients.send_signal(signal.SIGUSR1)
    wait_until("open connections on green", lambda: told()["open"] == {"blue": OPEN, "green": MORE})
    switch.renew(seconds=LONG)

    rollback = timed(switch.release)
    wait_for_new()
    clients.send_signal(signal.SIGTERM)
    wait_until("the clients to end", lambda: told()["ended"] is True)
    ended = time.monotonic()

    seen = told()
    assert seen["errors"] == []
    assert seen["open"] == {"blue": OPEN, "green": MORE}
    assert seen["asked"] >= OPEN + MORE
    assert answered(seen["new"], after=0, before=cutover.began) == {"blue"}
    assert answered(seen["new"], after=cutover.returned, before=rollback.began) == {"green"}
    assert answered(seen["new"], after=rollback.returned, before=ended) == {"blue"}
