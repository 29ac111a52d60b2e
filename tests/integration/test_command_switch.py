"""A site's own switch program that answers wrongly, or not at all: that is never taken for an answer."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.traffic.command import CommandSwitch
from teraferry.installer.adapters.traffic.sides import Endpoint, Service, VirtualAddress
from teraferry.installer.adapters.transport.local import LocalTransport

VIRTUAL = VirtualAddress(
    IPv4Address("10.0.0.100"),
    (Service(443, Endpoint(IPv4Address("10.0.1.10"), 443), Endpoint(IPv4Address("10.0.2.10"), 443)),),
)
GOOD = '{"active": "blue", "standing": "blue"}'


def program(folder: Path, script: str) -> CommandSwitch:
    """Return the switch by a program that notes what it is asked, then does as ``script`` says."""
    path = folder / "switch"
    path.write_text(f'#!/bin/sh\necho "$*" >>{folder}/asked\ncd {folder}\n{script}\n')
    path.chmod(0o755)
    return CommandSwitch(LocalTransport("here"), VIRTUAL, [str(path)])


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().splitlines()


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(RefusedError) as caught:
        action()
    assert caught.value.exit_status == 40
    return caught.value.reference


NO_ANSWERS = [
    "true",
    f"echo '{GOOD}'; exit 1",
    f"echo '{GOOD}' >&2",
    f"echo done; echo '{GOOD}'",
    "echo blue",
    """echo '{"active": "blue"}'""",
    """echo '{"active": "Blue", "standing": "blue"}'""",
    """echo '{"active": "red", "standing": "blue"}'""",
    """echo '{"active": null, "standing": "blue"}'""",
    """echo '{"active": "blue", "standing": "blue", "note": "all well"}'""",
    """echo '{"active": "blue", "standing": "blue", "established": {"blue": -1, "green": 0}}'""",
    """echo '{"active": "blue", "standing": "blue", "established": {"blue": 1}}'""",
    f"echo '{GOOD}'; head -c 70000 /dev/zero | tr '\\0' ' '",
]


@pytest.mark.parametrize("script", NO_ANSWERS)
def test_anything_else_than_status_0_and_the_json_cannot_tell(tmp_path: Path, script: str) -> None:
    switch = program(tmp_path, script)
    assert refused(switch.observe) == "switch-cannot-tell"
    assert refused(lambda: switch.established("blue")) == "switch-cannot-tell"
    assert refused(lambda: switch.hold("green", seconds=60)) == "switch-cannot-tell"
    assert refused(lambda: switch.commit("green")) == "switch-cannot-tell"
    assert set(asked(tmp_path)) == {"observe"}


@pytest.mark.parametrize("script", NO_ANSWERS)
def test_change_without_an_answer_failed_and_is_taken_back(tmp_path: Path, script: str) -> None:
    turned = """echo '{"active": "green", "standing": "blue"}'"""
    look = f"if [ -e held ]; then {turned}; else echo '{GOOD}'; fi"
    switch = program(
        tmp_path, f"case $1 in observe) {look} ;; hold) touch held\n{script} ;; release) rm held; echo '{GOOD}' ;; esac"
    )
    assert refused(lambda: switch.hold("green", seconds=60)) == "switch-failed"
    assert "release" in asked(tmp_path)
    assert switch.observe().active == "blue"


def test_change_that_says_done_and_is_not_is_seen(tmp_path: Path) -> None:
    turned = """echo '{"active": "green", "standing": "green"}'"""
    switch = program(tmp_path, f"[ $1 = observe ] && echo '{GOOD}' || {turned}")
    assert refused(lambda: switch.hold("green", seconds=60)) == "switch-failed"
    assert refused(lambda: switch.commit("green")) == "switch-failed"


def test_commit_that_moved_traffic_alone_is_not_done(tmp_path: Path) -> None:
    held = """echo '{"active": "green", "standing": "blue"}'"""
    assert refused(lambda: program(tmp_path, held).commit("green")) == "switch-failed"


def test_release_that_left_traffic_there_failed(tmp_path: Path) -> None:
    held = """echo '{"active": "green", "standing": "blue"}'"""
    assert refused(program(tmp_path, held).release) == "switch-failed"


def test_release_that_answers_by_its_status_alone_failed(tmp_path: Path) -> None:
    assert refused(program(tmp_path, f"echo '{GOOD}'; [ $1 = observe ]").release) == "switch-failed"


def test_release_is_told_even_to_who_cannot_tell(tmp_path: Path) -> None:
    assert refused(program(tmp_path, "exit 3").release) == "switch-cannot-tell"
    assert asked(tmp_path)[0] == "release"


def test_program_that_is_not_there_cannot_tell() -> None:
    switch = CommandSwitch(LocalTransport("here"), VIRTUAL, ["/nowhere/switch"])
    assert refused(switch.observe) == "switch-cannot-tell"


def test_connections_nobody_counts_are_none_and_not_nought(tmp_path: Path) -> None:
    assert program(tmp_path, f"echo '{GOOD}'").established("blue") is None
