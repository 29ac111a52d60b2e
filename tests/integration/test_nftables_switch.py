"""An nftables switch among what may go wrong: nft lies or fails, answers are lost, the table was touched, power goes.

Whatever it is, new connections are where the caller is told they are, and a reboot brings no side nobody decided for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import pytest

from teraferry.bundles.digest import Buffer, Digest
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.process import Completed
from teraferry.installer.adapters.traffic.nftables import NftablesSwitch
from teraferry.installer.adapters.traffic.nftables_layout import UNIT
from teraferry.installer.adapters.traffic.nftables_listing import Listing, parse_listing
from teraferry.installer.blue_green_ports import TrafficObservation
from teraferry.installer.ports import NodeTransport
from tests.lab.gateway import FILES, PORTS, VIRTUAL, GatewayLab, virtual_address
from tests.lab.nodes import wait_until

pytestmark = pytest.mark.real

LONG = 600.0
BLUE = TrafficObservation("blue", "blue", None)
GREEN = TrafficObservation("green", "green", None)

FOREIGN = """
table inet foreign {
  set seen { type ipv4_addr; flags timeout; elements = { 192.0.2.1, 192.0.2.2 } }
  chain input { type filter hook input priority filter; policy accept; ip saddr @seen tcp dport 22 accept; }
}
table ip nat {
  chain prerouting { type nat hook prerouting priority -90; policy accept; tcp dport 9 dnat to 192.0.2.7; }
}
"""


class Flaky:
    """The way to the gateway, on which something happens to transactions.

    ``instead`` is called in place of each with what would carry it out; ``room`` is whether files can be written.
    """

    def __init__(self, way: NodeTransport, instead: Callable[[Callable[[], Completed]], Completed]) -> None:
        self._way = way
        self._instead = instead
        self.room = True

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
        def carry_out() -> Completed:
            return self._way.run(argv, stdin=stdin, timeout_seconds=timeout_seconds)

        return self._instead(carry_out) if tuple(argv[:3]) == ("nft", "-j", "-f") else carry_out()

    def upload(self, pieces: Iterable[Buffer], path: str, *, mode: int, digest: Digest) -> None:
        if not self.room:
            raise RefusedError("node-no-space", f"file {path}: no room, expected room", hint="Make room.")
        self._way.upload(pieces, path, mode=mode, digest=digest)


def lies(_: Callable[[], Completed]) -> Completed:
    return Completed((), 0, b"", b"")


def fails(_: Callable[[], Completed]) -> Completed:
    return Completed((), 1, b"", b"internal:0:0-0: Error: Could not process rule: Operation not permitted")


def is_cut(_: Callable[[], Completed]) -> Completed:
    raise RefusedError("node-unreachable", "node gateway: gone, expected to run a command", hint="Look at it.")


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(RefusedError) as caught:
        action()
    assert caught.value.exit_status == 40
    return caught.value.reference


def flaky(gateway: GatewayLab, instead: Callable[[Callable[[], Completed]], Completed]) -> NftablesSwitch:
    return gateway.switch(Flaky(gateway.transport(), instead))


def persisted(gateway: GatewayLab) -> str:
    return gateway.gateway.sh(f"cat {FILES.rules}")


def test_every_service_of_the_address_moves(gateway: GatewayLab) -> None:
    gateway.switch().hold("green", seconds=LONG)
    assert [gateway.answers(port) for port in PORTS] == ["green", "green"]


@pytest.mark.parametrize("nft", [lies, fails])
def test_no_change_is_believed_that_cannot_be_read_back(
    gateway: GatewayLab, nft: Callable[[Callable[[], Completed]], Completed]
) -> None:
    switch = flaky(gateway, nft)
    assert refused(lambda: switch.hold("green", seconds=LONG)) == "switch-failed"
    assert gateway.answers() == "blue"
    assert refused(lambda: switch.commit("green")) == "switch-failed"
    gateway.switch().hold("green", seconds=LONG)
    assert refused(switch.release) == "switch-failed"
    assert refused(lambda: switch.renew(seconds=LONG / 2)) == "switch-failed"


def test_renewal_that_renewed_nothing_is_seen_by_the_time_left(gateway: GatewayLab) -> None:
    switch = gateway.switch()
    switch.hold("green", seconds=60)
    wait_until("time to pass", lambda: (switch.observe().held_seconds or 0) <= 57)
    assert refused(lambda: flaky(gateway, lies).renew(seconds=60)) == "switch-failed"
    # For as long as before: a newer kernel takes another timeout from a bare add, and still renews nothing by this one.
    switch.renew(seconds=60)


def test_hold_whose_answer_is_lost_is_let_go(gateway: GatewayLab) -> None:
    lost = iter([True])

    def loses_the_first(carry_out: Callable[[], Completed]) -> Completed:
        done = carry_out()
        if next(lost, False):
            assert gateway.answers() == "green"
            is_cut(carry_out)
        return done

    assert refused(lambda: flaky(gateway, loses_the_first).hold("green", seconds=LONG)) == "switch-failed"
    assert gateway.switch().observe() == BLUE
    assert gateway.answers() == "blue"


def test_hold_that_ends_just_before_it_is_replaced_holds_anew(gateway: GatewayLab) -> None:
    gateway.switch().hold("green", seconds=LONG)
    ended = iter([True])

    def too_late(carry_out: Callable[[], Completed]) -> Completed:
        if next(ended, False):
            gateway.gateway.run("nft", "delete", "element", "ip", "teraferry", "held", "{", VIRTUAL, "}")
        return carry_out()

    flaky(gateway, too_late).hold("green", seconds=LONG)
    assert gateway.answers() == "green"


def test_nothing_is_held_when_a_reboot_could_not_be_provided_for(gateway: GatewayLab) -> None:
    gateway.gateway.run("rm", FILES.rules)
    way = Flaky(gateway.transport(), lambda carry_out: carry_out())
    way.room = False
    assert refused(lambda: gateway.switch(way).hold("green", seconds=LONG)) == "node-no-space"
    assert gateway.answers() == "blue"


@pytest.mark.parametrize(
    "lost", [FILES.rules, f"{FILES.units}/{UNIT}", f"{FILES.units}/sysinit.target.wants/{UNIT}", "/srv/etc"]
)
def test_hold_puts_back_what_a_reboot_needs(gateway: GatewayLab, lost: str) -> None:
    gateway.gateway.run("rm", "-r", lost)
    gateway.switch().hold("green", seconds=LONG)
    gateway.reboot()
    assert gateway.switch().observe() == BLUE
    assert gateway.answers() == "blue"


def test_kernel_that_never_saw_the_table_brings_blue_while_green_is_held(gateway: GatewayLab) -> None:
    gateway.switch().hold("green", seconds=LONG)
    (load,) = gateway.enabled_commands()
    # A network namespace of its own begins with an empty ruleset, as a kernel that just booted does.
    script = '"$@" && nft -j list table ip teraferry'
    booted = gateway.gateway.run("unshare", "--net", "sh", "-c", script, "sh", *load)
    assert parse_listing(booted.stdout, virtual_address()) == Listing("blue", None)
    assert gateway.answers() == "green"


def test_no_byte_on_disk_tells_what_is_held(gateway: GatewayLab) -> None:
    before = persisted(gateway)
    gateway.switch().hold("green", seconds=LONG)
    gateway.switch().renew(seconds=LONG)
    assert persisted(gateway) == before


def test_commit_cut_short_after_its_file_is_finished_by_the_next(gateway: GatewayLab) -> None:
    gateway.switch().hold("green", seconds=LONG)
    assert refused(lambda: flaky(gateway, is_cut).commit("green")) == "node-unreachable"
    seen = gateway.switch().observe()
    assert (seen.active, seen.standing) == ("green", "blue")
    gateway.switch().commit("green")
    gateway.reboot()
    assert gateway.switch().observe() == GREEN


@pytest.mark.parametrize("how", [NftablesSwitch.release, lambda switch: switch.hold("green", seconds=LONG)])
def test_commit_cut_short_after_its_file_is_taken_back(
    gateway: GatewayLab, how: Callable[[NftablesSwitch], None]
) -> None:
    assert refused(lambda: flaky(gateway, is_cut).commit("green")) == "node-unreachable"
    how(gateway.switch())
    gateway.reboot()
    assert gateway.switch().observe() == BLUE


def test_commit_cut_short_brings_green_at_a_reboot(gateway: GatewayLab) -> None:
    gateway.switch().hold("green", seconds=LONG)
    assert refused(lambda: flaky(gateway, is_cut).commit("green")) == "node-unreachable"
    gateway.reboot()
    assert gateway.switch().observe() == GREEN


@pytest.mark.parametrize(
    "touch",
    [
        "nft flush chain ip teraferry prerouting",
        f"nft insert rule ip teraferry prerouting ip daddr {VIRTUAL} goto green",
        "nft flush map ip teraferry standing",
        "nft 'add chain ip teraferry more { type nat hook prerouting priority -150; policy accept; }'",
        "nft 'flush map ip teraferry to_green; add element ip teraferry to_green { 80 : 10.78.0.11 . 8000 }'",
        f"nft 'add element ip teraferry held {{ {VIRTUAL} : goto green }}'",
        "nft 'add element ip teraferry held { 192.0.2.1 timeout 60s : goto green }'",
        "nft delete table ip teraferry",
    ],
)
def test_table_that_was_touched_is_not_read_as_an_answer(gateway: GatewayLab, touch: str) -> None:
    gateway.gateway.sh(touch)
    assert refused(gateway.switch().observe) == "switch-cannot-tell"
    assert refused(lambda: gateway.switch().hold("green", seconds=LONG)) == "switch-cannot-tell"
    assert refused(lambda: gateway.switch().commit("green")) == "switch-cannot-tell"
    assert "goto blue" in persisted(gateway)


def test_release_brings_traffic_back_in_a_table_that_was_touched(gateway: GatewayLab) -> None:
    gateway.switch().hold("green", seconds=LONG)
    gateway.gateway.sh("nft add chain ip teraferry more")
    assert refused(gateway.switch().release) == "switch-cannot-tell"
    assert gateway.answers() == "blue"


def test_gateway_without_nft_cannot_tell(gateway: GatewayLab) -> None:
    class WithoutNft(Flaky):
        def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
            return super().run([f"no-{argv[0]}", *argv[1:]], stdin=stdin, timeout_seconds=timeout_seconds)

    switch = gateway.switch(WithoutNft(gateway.transport(), fails))
    assert refused(switch.observe) == "switch-cannot-tell"
    assert refused(lambda: switch.set_up("blue")) == "switch-cannot-tell"


def test_gateway_without_conntrack_cannot_cut_and_says_so_beforehand(gateway: GatewayLab) -> None:
    class WithoutConntrack(Flaky):
        def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
            missing = ["no-conntrack"] if argv[0] == "conntrack" else [argv[0]]
            return super().run([*missing, *argv[1:]], stdin=stdin, timeout_seconds=timeout_seconds)

    switch = gateway.switch(WithoutConntrack(gateway.transport(), lambda carry_out: carry_out()))
    with gateway.connection():
        switch.commit("green")
        assert refused(switch.require_can_cut) == "switch-cannot-cut"
        assert refused(lambda: switch.cut("blue")) == "switch-cannot-cut"
        assert switch.established("blue") == 1


def test_set_up_again_leaves_what_is_held_and_what_was_committed(gateway: GatewayLab) -> None:
    gateway.switch().hold("green", seconds=LONG)
    gateway.switch().set_up("blue")
    assert gateway.answers() == "green"
    gateway.switch().commit("green")
    gateway.switch().set_up("blue")
    assert gateway.switch().observe() == GREEN
    gateway.gateway.run("nft", "flush", "ruleset")
    gateway.switch().set_up("blue")
    assert gateway.switch().observe() == GREEN


def test_file_loaded_over_the_live_table_leaves_what_is_held(gateway: GatewayLab) -> None:
    gateway.switch().hold("green", seconds=LONG)
    gateway.gateway.run("nft", "-f", FILES.rules)
    assert gateway.switch().observe().active == "green"
    assert gateway.answers() == "green"


def test_tables_of_others_stay_byte_for_byte(gateway: GatewayLab) -> None:
    def others() -> str:
        return "".join(gateway.gateway.sh(f"nft -a list table {name}") for name in ("inet foreign", "ip nat"))

    gateway.wipe()
    gateway.gateway.run("nft", "-f", "-", stdin=FOREIGN.encode())
    before = others()
    switch = gateway.switch()
    switch.set_up("blue")
    switch.hold("green", seconds=LONG)
    switch.renew(seconds=LONG)
    switch.release()
    switch.commit("green")
    gateway.gateway.run("nft", "-f", FILES.rules)
    assert others() == before
    assert gateway.answers() == "green"


def test_kernel_itself_returns_traffic_while_nobody_asks(gateway: GatewayLab) -> None:
    gateway.switch().hold("green", seconds=1)
    time.sleep(1.5)
    # A new connection is the first thing that happens to the gateway: no process of ours was there to see it end.
    assert gateway.answers() == "blue"
