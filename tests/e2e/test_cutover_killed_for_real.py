"""One blue-green install of two real clusters, killed with SIGKILL at its six worst moments and typed again each time.

The moments are exact: the process dies between two effects, before the second one (``tests.lab.mortal``). Clients hold
connections, make 200 new ones a second and write all the while; none may see an error, and every write that was
acknowledged must be on both clusters at the end. ``scripts/prove crash-blue-green`` kills at every touch.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab.gateway import GatewayLab
from tests.lab.mortal import Mortal
from tests.lab.nodes import wait_until
from tests.lab.pair_site import DEAD_MAN_SECONDS
from tests.lab.secops import Answer
from tests.lab.switched import SwitchedClients, problems_of
from tests.lab.weed import weed_binary
from tests.lab.weed_pair_site import WeedPairLab

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

OLD_WEED, NEW_WEED = "4.47", "4.48"

GREEN_IS_DOWN = r"bring_up green-1 \| green: .* start "
REPLICATION_IS_DOWN = r"sync_state \| blue: /opt/filer-sync/service start "
RIGHT_BEFORE_CUTOVER = r"intent switch_virtual_ip \| gateway: nft -j -f - "
RIGHT_AFTER_CUTOVER = r"(ask_compliance|switch_virtual_ip) \| append #1"
"""The switch has it, the journal has not."""
WATCHED = r"monitor_stability \| gateway: nft -j -f - "
HALF_COMMITTED = r"commit_switch \| gateway: upload "
"""Green stands in the kernel, and a reboot would still bring blue."""


@pytest.fixture
def pair(gateway_lab: GatewayLab, tmp_path: Path) -> Iterator[WeedPairLab]:
    with WeedPairLab(gateway_lab, tmp_path, program=weed_binary(OLD_WEED)) as lab:
        yield lab


def test_cutover_killed_at_its_six_worst_moments_ends_well_and_no_client_notices(pair: WeedPairLab) -> None:
    kit, digest = pair.kit_of("1.0.0", weed=NEW_WEED)
    mortal = Mortal(pair.folder / "mortal", pair.gateway.lab.nodes)

    def install(dies_at: str) -> Answer:
        pair.installer = replace(mortal, dies_at=dies_at).words
        answer = pair.install(kit, "--foreground")
        if dies_at:
            assert answer.status == -signal.SIGKILL, (dies_at, answer.result, answer.stderr)
        return answer

    with SwitchedClients(pair) as clients:
        for moment in (GREEN_IS_DOWN, REPLICATION_IS_DOWN, RIGHT_BEFORE_CUTOVER):
            install(moment)
            assert pair.switch().observe().active == "blue"

        # Nobody renews the hold, and nobody is there to end it: the kernel does.
        install(RIGHT_AFTER_CUTOVER)
        wait_until(
            "the kernel to end the hold",
            lambda: pair.switch().observe().active == "blue",
            seconds=10 * DEAD_MAN_SECONDS,
        )
        said = [event for event in install(WATCHED).events if event["event"] == "hold-lapsed"]
        assert [event["active"] for event in said] == ["blue"]
        assert "new connections are on blue" in said[0]["text"]

        install(HALF_COMMITTED)
        done = install("")
        assert done.status == 0, (done.result, done.stderr)
        assert done.result["resumed"] is True

    assert clients.errors() == []
    assert problems_of(pair, clients.written, digest=digest) == []
