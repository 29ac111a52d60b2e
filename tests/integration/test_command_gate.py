"""A site's own program that holds writes: what it says is believed once it shows it, and silence never passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.replicator.command_gate import CommandGate
from teraferry.installer.adapters.transport.local import LocalTransport

OPEN = '{"goes_to": "blue", "held_seconds": null, "under_way": 0}'
HELD = '{"goes_to": "blue", "held_seconds": 9.5, "under_way": 0}'
BUSY = '{"goes_to": "blue", "held_seconds": 9.5, "under_way": 1}'

WHOLE = """
[ -e goes_to ] || echo blue >goes_to
case $1 in
  hold) echo "$2.0" >held ;;
  release) rm -f held ;;
  point-to) echo "$2" >goes_to ;;
esac
held=$(cat held 2>/dev/null || echo null)
echo "{\\"goes_to\\": \\"$(cat goes_to)\\", \\"held_seconds\\": $held, \\"under_way\\": 0}"
"""


def gate(folder: Path, script: str) -> CommandGate:
    """Return the gate by a program that notes what it is asked, then does as ``script`` says."""
    path = folder / "gate"
    path.write_text(f'#!/bin/sh\necho "$*" >>{folder}/asked\ncd {folder}\n{script}\n')
    path.chmod(0o755)
    return CommandGate(LocalTransport("here"), [str(path)])


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().splitlines()


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(RefusedError) as caught:
        action()
    assert caught.value.exit_status == 40
    return caught.value.reference


def test_writes_are_held_pointed_elsewhere_and_let_go(tmp_path: Path) -> None:
    held = gate(tmp_path, WHOLE)
    for _ in range(2):
        held.hold(seconds=9.7)
        held.require_held(seconds=5)
        held.point_to("green")
        assert held.points_to() == "green"
    for _ in range(2):
        held.release()
    assert refused(lambda: held.require_held(seconds=1)) == "write-hold-lapsed"
    assert "hold 9" in asked(tmp_path)


@pytest.mark.parametrize(
    "script",
    [
        "true",
        f"echo '{HELD}'; exit 1",
        f"echo held; echo '{HELD}'",
        """echo '{"goes_to": "blue", "held_seconds": 9.5}'""",
        """echo '{"goes_to": "red", "held_seconds": 9.5, "under_way": 0}'""",
        """echo '{"goes_to": "blue", "held_seconds": -1, "under_way": 0}'""",
        """echo '{"goes_to": "blue", "held_seconds": 9.5, "under_way": 0, "note": "fine"}'""",
        f"echo '{HELD}'; head -c 70000 /dev/zero | tr '\\0' ' '",
    ],
)
def test_anything_else_than_status_0_and_the_json_is_no_hold(tmp_path: Path, script: str) -> None:
    held = gate(tmp_path, script)
    assert refused(held.points_to) == "replication-cannot-tell"
    assert refused(lambda: held.require_held(seconds=1)) == "replication-cannot-tell"
    assert refused(lambda: held.hold(seconds=9)) == "write-hold-failed"
    assert refused(held.release) == "write-hold-failed"
    assert "release" in asked(tmp_path)


@pytest.mark.parametrize("shown", [OPEN, BUSY])
def test_hold_that_is_not_seen_or_not_quiet_is_released(tmp_path: Path, shown: str) -> None:
    held = gate(tmp_path, f"echo '{shown}'")
    assert refused(lambda: held.hold(seconds=9)) == "write-hold-failed"
    assert "release" in asked(tmp_path)
    assert refused(lambda: held.require_held(seconds=1)) == "write-hold-lapsed"


def test_hold_that_fails_is_none_whatever_is_shown(tmp_path: Path) -> None:
    held = gate(tmp_path, f"echo '{HELD}'; [ $1 = observe ]")
    assert refused(lambda: held.hold(seconds=9)) == "write-hold-failed"


def test_hold_that_lasts_too_short_is_seen(tmp_path: Path) -> None:
    assert refused(lambda: gate(tmp_path, f"echo '{HELD}'").require_held(seconds=9.6)) == "write-hold-lapsed"


def test_release_that_left_writes_waiting_failed(tmp_path: Path) -> None:
    assert refused(gate(tmp_path, f"echo '{HELD}'").release) == "write-hold-failed"


@pytest.mark.parametrize("script", [f"echo '{HELD}'", WHOLE + "[ $1 = observe ]"])
def test_writes_that_do_not_go_there_are_seen(tmp_path: Path, script: str) -> None:
    assert refused(lambda: gate(tmp_path, script).point_to("green")) == "promotion-failed"


def test_hold_for_less_than_a_second_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hold"):
        gate(tmp_path, WHOLE).hold(seconds=0.5)
