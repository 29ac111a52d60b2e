"""What happens to green, or to the gateway, while green has the new connections: they are on blue again, all of them.

A real ``install`` through the command line each time. How soon is for ``scripts/prove connections``; here it is in
which order, and that nobody on blue ever notices.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from teraferry.installer.adapters.traffic.nftables import SwitchFiles
from tests.lab.pair_site import Event, PairLab
from tests.lab.switch_clients import SwitchClients

pytestmark = pytest.mark.real

OPEN, NEW_PER_SECOND = 50, 50
SOME = 10
WINDOW_SECONDS = 60
"""Longer than anything here takes: no window ends well by itself."""


@pytest.fixture(scope="module")
def kit(pair: PairLab) -> Path:
    pair.watches(seconds=WINDOW_SECONDS)
    pair.switch().set_up("blue")
    return pair.kit("1.0.0")[0]


def is_in_window(event: Event) -> bool:
    return event.get("event") == "step" and event.get("action") == "monitor_stability"


@pytest.mark.parametrize("accident", ["frozen", "killed"])
def test_green_that_falls_silent_in_its_window_loses_the_new_connections_to_blue(
    pair: PairLab, kit: Path, tmp_path: Path, accident: str
) -> None:
    lab, moments = pair.gateway, {}
    clients = SwitchClients(lab, tmp_path / "clients.json", new_per_second=NEW_PER_SECOND)
    clients.start(OPEN, on="blue")

    def at(event: Event) -> None:
        if is_in_window(event):
            clients.wait_for_new(SOME, on="green")
            moments["silent"] = time.monotonic()
            (lab.freeze if accident == "frozen" else lab.kill)("green")
        if event.get("event") == "rollback":
            moments["back"] = time.monotonic()

    failed = pair.install(kit, on_event=at)
    clients.wait_for_new(SOME, on="blue")
    if accident == "frozen":
        lab.thaw("green")
    else:
        lab.serve("green")
    seen = clients.end()

    assert (failed.status, failed.result["reference"]) == (50, "rolled-back"), (failed.result, failed.stderr)
    assert failed.result["cause"] == "monitor-inconclusive"
    assert "it is not taken for health" in failed.result["reason"]
    assert "blue serves the old release" in failed.stderr
    # Whoever came after the way back was told met blue; whoever was on blue all the while noticed nothing.
    late = [name for began, _, name in seen.new if began > moments["back"]]
    assert set(late) == {"blue"}
    assert (seen.errors, seen.open) == ([], {"blue": OPEN})
    assert [began for began, _ in seen.failed if not moments["silent"] <= began <= moments["back"]] == []


def test_gateway_that_reboots_in_the_window_brings_blue_and_the_install_is_rolled_back(
    pair: PairLab, kit: Path
) -> None:
    answered: list[str] = []

    def at(event: Event) -> None:
        if is_in_window(event):
            answered.append(pair.gateway.answers())
            pair.gateway.reboot(SwitchFiles())
            answered.append(pair.gateway.answers())

    failed = pair.install(kit, on_event=at)

    assert answered == ["green", "blue"]
    assert (failed.status, failed.result["reference"]) == (50, "rolled-back"), (failed.result, failed.stderr)
    assert failed.result["cause"] == "hold-lapsed"
    assert pair.gateway.answers() == "blue"
