"""Tier 2 by the command line, on real parts: nftables on a gateway, real processes, real clients all the while."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.nodes import wait_until
from tests.lab.pair_site import DEAD_MAN_SECONDS, PairLab
from tests.lab.switch_clients import SwitchClients

pytestmark = pytest.mark.real

OPEN, NEW_PER_SECOND = 100, 50


def test_release_is_cut_over_rolled_back_and_gone_on_with_and_no_client_notices(pair: PairLab, tmp_path: Path) -> None:
    first, digest = pair.kit("1.0.0")
    second, _ = pair.kit("1.1.0")

    seen = pair.type("plan", str(first))
    assert (seen.status, seen.result["standby"]) == (0, "green"), seen.stderr
    assert any("returns new connections to blue within 10s" in each for each in seen.result["guarantees"])
    assert seen.result["gates"]["compliance"] == "open"

    # The first release goes to green, while clients stay on blue as long as they are connected.
    done = pair.install(first)
    assert done.status == 0, (done.result, done.stderr)
    assert pair.gateway.answers() == "green"
    assert pair.services["green"].running_digest() == digest
    clients = SwitchClients(pair.gateway, tmp_path / "clients.json", new_per_second=NEW_PER_SECOND)
    clients.start(OPEN, on="green")

    # The next one goes to blue, which is well when it is tried and no more once it has the traffic.
    failed = pair.install(
        second, on_event=lambda event: pair.breaks("blue") if event.get("action") == "sync_state" else None
    )
    assert (failed.status, failed.result.get("cause")) == (50, "unstable"), (failed.result, failed.stderr)
    assert failed.result["reference"] == "rolled-back"
    assert (failed.result["pending"], failed.result["pending_known"]) == (0, True)
    assert pair.gateway.answers() == "green"
    pair.breaks("blue", broken=False)

    # The executor is killed right after the cutover: the kernel brings the traffic back, and the next install says so.
    pair.install_killed_at(second, "monitor_stability")
    assert pair.type("status").result["state"] == "cut over, not committed"
    wait_until("the kernel to end the hold", lambda: pair.gateway.answers() == "green", seconds=10 * DEAD_MAN_SECONDS)
    again = pair.install(second)
    assert again.status == 0, (again.result, again.stderr)
    assert [event for event in again.events if event["event"] == "hold-lapsed"]
    assert pair.gateway.answers() == "blue"

    # A person wants the release before back.
    back = pair.type("rollback", "--yes")
    assert (back.status, back.result["did"], back.result["version"]) == (0, "cut-back", "1.0.0"), back.stderr
    assert pair.gateway.answers() == "green"

    noticed = clients.end()
    assert (noticed.errors, noticed.failed, noticed.open) == ([], [], {"green": OPEN})
    assert {name for _, _, name in noticed.new} == {"blue", "green"}
    assert pair.type("journal", "verify").status == 0
    healthy = pair.type("doctor")
    assert healthy.status == 0, healthy.stderr
    assert pair.type("status").result["release"] == "1.0.0"


def test_site_that_asks_for_it_has_its_old_side_empty_at_the_end_and_is_told_so_beforehand(pair: PairLab) -> None:
    pair.switch().set_up("blue")
    pair.cuts("1s")
    kit, _ = pair.kit("1.2.0")
    seen = pair.type("plan", str(kit))
    assert seen.result["gates"]["cut"] == "the switch can cut what is left on the old side"
    assert any("1s after the cutover" in each for each in seen.result["guarantees"])

    with pair.gateway.asking() as ask:
        old = ask()
        done = pair.install(kit)
        with pytest.raises(ConnectionResetError):
            ask()

    assert (done.status, done.result["cut"], done.result["still_served"]) == (0, 1, 0), (done.result, done.stderr)
    assert {old, pair.gateway.answers()} == {"blue", "green"}
