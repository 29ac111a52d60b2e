"""A HAProxy switch among what may go wrong: it lies, answers are lost, somebody touched it, it is reloaded or gone.

Whatever it is, new connections are where the caller is told they are, and a reload brings no side nobody decided for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from teraferry.bundles.digest import Buffer, Digest
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.process import Completed
from teraferry.installer.adapters.traffic.haproxy import HaproxySwitch
from teraferry.installer.adapters.traffic.haproxy_layout import map_text
from teraferry.installer.adapters.transport.command import CommandTransport
from teraferry.installer.blue_green_ports import TrafficObservation
from teraferry.installer.ports import NodeTransport
from tests.lab.gateway import GREEN as GREEN_ADDRESS
from tests.lab.gateway import PORTS
from tests.lab.haproxy import CONFIGURATION, HAPROXY_FILES, HaproxyLab

pytestmark = pytest.mark.real

Send = Callable[[bytes], Completed]
Instead = Callable[[bytes, Send], Completed]

LONG = 600.0
BLUE = TrafficObservation("blue", "blue", None)
GREEN = TrafficObservation("green", "green", None)
HELD = TrafficObservation("green", "blue", None)


class Flaky:
    """The way to HAProxy's node, on which something happens to changes.

    ``instead`` is called in place of each, with what it would send and what sends; ``room`` is whether files can be
    written.
    """

    def __init__(self, way: NodeTransport, instead: Instead) -> None:
        self._way = way
        self._instead = instead
        self.room = True

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
        def send(line: bytes) -> Completed:
            return self._way.run(argv, stdin=line, timeout_seconds=timeout_seconds)

        return self._instead(stdin, send) if stdin.startswith(b"set ") else send(stdin)

    def upload(self, pieces: Iterable[Buffer], path: str, *, mode: int, digest: Digest) -> None:
        if not self.room:
            raise RefusedError("node-no-space", f"file {path}: no room, expected room", hint="Make room.")
        self._way.upload(pieces, path, mode=mode, digest=digest)


def carries_out(line: bytes, send: Send) -> Completed:
    return send(line)


def lies(line: bytes, send: Send) -> Completed:
    """Say that all is done, do nothing, and show what is there."""
    return send(b";".join(command for command in line.split(b";") if not command.startswith(b"set ")))


def is_cut(_line: bytes, _send: Send) -> Completed:
    raise RefusedError("node-unreachable", "node gateway: gone, expected to run a command", hint="Look at it.")


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(RefusedError) as caught:
        action()
    assert caught.value.exit_status == 40
    return caught.value.reference


def flaky(haproxy: HaproxyLab, instead: Instead) -> HaproxySwitch:
    return haproxy.switch(Flaky(haproxy.lab.transport(), instead))


def persisted(haproxy: HaproxyLab) -> str:
    return haproxy.gateway.sh(f"cat {HAPROXY_FILES.map}")


def nobody_answers(haproxy: HaproxyLab) -> bool:
    try:
        return haproxy.lab.answers() == ""
    except OSError:
        return True


def test_every_service_of_the_address_moves(haproxy: HaproxyLab) -> None:
    haproxy.switch().hold("green", seconds=LONG)
    assert [haproxy.lab.answers(port) for port in PORTS] == ["green", "green"]


def test_no_change_is_believed_that_cannot_be_read_back(haproxy: HaproxyLab) -> None:
    switch = flaky(haproxy, lies)
    assert refused(lambda: switch.hold("green", seconds=LONG)) == "switch-failed"
    assert haproxy.lab.answers() == "blue"
    assert refused(lambda: switch.commit("green")) == "switch-failed"
    haproxy.switch().hold("green", seconds=LONG)
    assert refused(switch.release) == "switch-failed"


def test_pin_that_is_none_is_seen(haproxy: HaproxyLab) -> None:
    haproxy.switch().hold("green", seconds=LONG)
    turned = iter([True])

    def lies_from_the_second_on(line: bytes, send: Send) -> Completed:
        return send(line) if next(turned, False) else lies(line, send)

    assert refused(flaky(haproxy, lies_from_the_second_on).release) == "switch-failed"
    assert haproxy.lab.answers() == "blue"


def test_hold_whose_answer_is_lost_is_let_go(haproxy: HaproxyLab) -> None:
    changes = iter(["into service", "turned"])

    def loses_the_turn(line: bytes, send: Send) -> Completed:
        done = send(line)
        if next(changes, "") == "turned":
            assert haproxy.lab.answers() == "green"
            is_cut(line, send)
        return done

    assert refused(lambda: flaky(haproxy, loses_the_turn).hold("green", seconds=LONG)) == "switch-failed"
    assert haproxy.switch().observe() == BLUE
    assert haproxy.lab.answers() == "blue"


def test_hold_refuses_a_side_that_haproxy_itself_finds_down(haproxy: HaproxyLab) -> None:
    haproxy.ask("set server teraferry_green_443/one health down")
    assert refused(lambda: haproxy.switch().hold("green", seconds=LONG)) == "switch-failed"
    assert haproxy.switch().observe() == BLUE
    assert haproxy.lab.answers() == "blue"


def test_commit_refuses_a_side_that_haproxy_itself_finds_down(haproxy: HaproxyLab) -> None:
    haproxy.ask("set server teraferry_green_443/one health down")
    assert refused(lambda: haproxy.switch().commit("green")) == "switch-failed"
    assert persisted(haproxy) == map_text("blue")


def test_nothing_is_held_when_a_reboot_could_not_be_provided_for(haproxy: HaproxyLab) -> None:
    haproxy.gateway.run("rm", HAPROXY_FILES.map)
    way = Flaky(haproxy.lab.transport(), carries_out)
    way.room = False
    assert refused(lambda: haproxy.switch(way).hold("green", seconds=LONG)) == "node-no-space"
    assert haproxy.lab.answers() == "blue"


def test_file_names_the_standing_side_while_the_other_is_held(haproxy: HaproxyLab) -> None:
    haproxy.gateway.run("rm", HAPROXY_FILES.map)
    haproxy.switch().hold("green", seconds=LONG)
    haproxy.switch().renew(seconds=LONG)
    assert persisted(haproxy) == map_text("blue")


def test_rollback_pins_green_until_the_next_hold(haproxy: HaproxyLab) -> None:
    switch = haproxy.switch()
    switch.hold("green", seconds=LONG)
    switch.release()
    haproxy.ask(f"set map {HAPROXY_FILES.map} active green")
    # The map alone does not bring green back, and nobody is told that it did.
    assert nobody_answers(haproxy)
    assert refused(switch.observe) == "switch-cannot-tell"
    switch.release()
    assert haproxy.lab.answers() == "blue"
    switch.hold("green", seconds=LONG)
    assert haproxy.lab.answers() == "green"


def test_commit_of_blue_while_green_is_held_pins_green(haproxy: HaproxyLab) -> None:
    haproxy.switch().hold("green", seconds=LONG)
    haproxy.switch().commit("blue")
    haproxy.ask(f"set map {HAPROXY_FILES.map} active green")
    assert nobody_answers(haproxy)


def test_reload_while_green_is_held_brings_blue_and_cuts_nothing(haproxy: HaproxyLab) -> None:
    switch = haproxy.switch()
    switch.hold("green", seconds=LONG)
    with haproxy.lab.asking() as ask:
        assert ask() == "green"
        haproxy.reload()
        assert switch.observe() == BLUE
        assert haproxy.lab.answers() == "blue"
        assert refused(lambda: switch.renew(seconds=LONG)) == "hold-lapsed"
        assert ask() == "green"
        # The process before the reload serves it, and tells nobody how many it has.
        assert switch.established("green") is None


def test_reload_after_commit_brings_green(haproxy: HaproxyLab) -> None:
    haproxy.switch().commit("green")
    haproxy.reload()
    assert haproxy.switch().observe() == GREEN
    assert haproxy.lab.answers() == "green"


def test_commit_cut_short_after_its_file_is_finished_by_the_next(haproxy: HaproxyLab) -> None:
    haproxy.switch().hold("green", seconds=LONG)
    assert refused(lambda: commit_cut_after_its_file(haproxy)) == "node-unreachable"
    assert haproxy.switch().observe() == HELD
    haproxy.switch().commit("green")
    haproxy.reboot()
    assert haproxy.switch().observe() == GREEN


@pytest.mark.parametrize("how", [HaproxySwitch.release, lambda switch: switch.hold("green", seconds=LONG)])
def test_commit_cut_short_after_its_file_is_taken_back(
    haproxy: HaproxyLab, how: Callable[[HaproxySwitch], None]
) -> None:
    assert refused(lambda: commit_cut_after_its_file(haproxy)) == "node-unreachable"
    assert persisted(haproxy) == map_text("green")
    how(haproxy.switch())
    haproxy.reboot()
    assert haproxy.switch().observe() == BLUE


def commit_cut_after_its_file(haproxy: HaproxyLab) -> None:
    cut_after(haproxy, "into service").commit("green")


def cut_after(haproxy: HaproxyLab, *changes: str) -> HaproxySwitch:
    """Return a switch whose way is cut once so many changes went through."""
    done = iter(changes)
    return flaky(haproxy, lambda line, send: send(line) if next(done, "") else is_cut(line, send))


def test_commit_cut_short_between_the_entries_is_seen_as_not_done(haproxy: HaproxyLab) -> None:
    assert refused(lambda: cut_after(haproxy, "into service", "active").commit("green")) == "node-unreachable"
    assert haproxy.switch().observe() == HELD


@pytest.mark.parametrize(
    "touch",
    [
        f"del map {HAPROXY_FILES.map} active",
        f"add map {HAPROXY_FILES.map} active green",
        f"set map {HAPROXY_FILES.map} active red",
        f"set server teraferry_blue_443/one addr {GREEN_ADDRESS} port 8000",
        "set server teraferry_blue_443/one state maint",
    ],
)
def test_haproxy_that_was_touched_is_not_read_as_an_answer(haproxy: HaproxyLab, touch: str) -> None:
    haproxy.ask(touch)
    assert refused(haproxy.switch().observe) == "switch-cannot-tell"
    assert refused(lambda: haproxy.switch().hold("green", seconds=LONG)) == "switch-cannot-tell"
    assert refused(lambda: haproxy.switch().commit("green")) == "switch-cannot-tell"
    assert persisted(haproxy) == map_text("blue")


@pytest.mark.parametrize("touch", ["add map {map} more green", "set map {map} standing red"])
def test_release_brings_traffic_back_in_a_map_that_was_touched(haproxy: HaproxyLab, touch: str) -> None:
    haproxy.switch().hold("green", seconds=LONG)
    haproxy.ask(touch.format(map=HAPROXY_FILES.map))
    assert refused(haproxy.switch().release) == "switch-cannot-tell"
    assert haproxy.lab.answers() == "blue"


def test_backends_of_other_names_are_not_ours(haproxy: HaproxyLab) -> None:
    haproxy.gateway.sh(f"sed -i s/teraferry_green_443/green_443/ {CONFIGURATION}")
    haproxy.reload()
    assert refused(haproxy.switch().observe) == "switch-cannot-tell"


def test_haproxy_that_is_gone_cannot_tell(haproxy: HaproxyLab) -> None:
    haproxy.kill()
    switch = haproxy.switch()
    for action in (switch.observe, switch.release, lambda: switch.hold("green", seconds=LONG)):
        assert refused(action) == "switch-cannot-tell"
    assert refused(lambda: switch.established("blue")) == "switch-cannot-tell"


def test_set_up_writes_the_file_that_haproxy_needs_to_start(haproxy: HaproxyLab) -> None:
    haproxy.kill()
    haproxy.gateway.run("rm", HAPROXY_FILES.map)
    assert refused(lambda: haproxy.switch().set_up("green")) == "switch-cannot-tell"
    haproxy.start()
    haproxy.switch().set_up("blue")
    assert haproxy.switch().observe() == GREEN


def test_set_up_leaves_what_was_committed_while_haproxy_is_down(haproxy: HaproxyLab) -> None:
    haproxy.switch().commit("green")
    haproxy.kill()
    assert refused(lambda: haproxy.switch().set_up("blue")) == "switch-cannot-tell"
    haproxy.start()
    assert haproxy.switch().observe() == GREEN


def test_set_up_again_leaves_what_is_held_and_what_was_committed(haproxy: HaproxyLab) -> None:
    haproxy.switch().hold("green", seconds=LONG)
    haproxy.switch().set_up("blue")
    assert haproxy.lab.answers() == "green"
    haproxy.switch().commit("green")
    haproxy.switch().set_up("blue")
    assert haproxy.switch().observe() == GREEN


@pytest.mark.parametrize("tool", ["perl", "python3"])
def test_either_tool_of_the_node_speaks_to_the_socket(haproxy: HaproxyLab, tmp_path: Path, tool: str) -> None:
    for name in ("sh", "cat", tool):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    way = CommandTransport("gateway", [*haproxy.gateway.prefix, "/usr/bin/env", f"PATH={tmp_path}"])
    assert haproxy.switch(way).observe() == BLUE


def test_node_without_a_tool_for_sockets_cannot_tell(haproxy: HaproxyLab, tmp_path: Path) -> None:
    (tmp_path / "sh").symlink_to("/bin/sh")
    way = CommandTransport("gateway", [*haproxy.gateway.prefix, "/usr/bin/env", f"PATH={tmp_path}"])
    assert refused(haproxy.switch(way).observe) == "switch-cannot-tell"
