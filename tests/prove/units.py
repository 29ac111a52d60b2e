"""A gateway under a real systemd that loses its power before every single thing the traffic switch does on it.

Of a hold, a commit and a release, the calls to the gateway are counted through: the power is cut before the first,
before the second, until one comes through whole. Each time the machine boots again with an empty kernel. What it loads
by itself, before there is a network, must be one side and stand: the old one until the commit had written its file, the
new one afterwards, and never what was only held. The suite's short form is ``tests/integration/test_systemd_units.py``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from teraferry.bundles.digest import Buffer, Digest
from teraferry.bundles.system.process import Completed
from teraferry.installer.adapters.traffic.nftables import NftablesSwitch
from teraferry.installer.adapters.traffic.nftables_layout import UNIT
from teraferry.installer.adapters.transport.command import CommandTransport
from tests.lab.gateway import virtual_address
from tests.lab.systemd_machine import SystemdMachine
from tests.prove.record import Outcome, Record

SETTINGS: dict[str, int | str] = {}
OTHER = {"blue": "green", "green": "blue"}
HELD_SECONDS = 600.0

ACTS: dict[str, Callable[[NftablesSwitch, str], None]] = {
    "hold": lambda switch, side: switch.hold(OTHER[side], seconds=HELD_SECONDS),
    "commit": lambda switch, side: switch.commit(OTHER[side]),
    "release": lambda switch, side: switch.release(),
}
"""Each is begun with ``side`` standing; commit and release with the other one held."""


class PowerCutError(BaseException):
    """The gateway is gone."""


class Counted:
    """The way to the gateway, which loses its power before one call."""

    def __init__(self, machine: SystemdMachine, calls: int) -> None:
        self._machine = machine
        self._way = CommandTransport("gateway", machine.prefix)
        self._left = calls

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
        """Run it, unless the power is cut before."""
        self._count()
        return self._way.run(argv, stdin=stdin, timeout_seconds=timeout_seconds)

    def upload(self, pieces: Iterable[Buffer], path: str, *, mode: int, digest: Digest) -> None:
        """Upload it, unless the power is cut before."""
        self._count()
        self._way.upload(pieces, path, mode=mode, digest=digest)

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._machine.pull_the_plug()
            raise PowerCutError


def prove(record: Record) -> Outcome:
    """Cut the power before each call of each act, from either side."""
    for side in OTHER:
        for act in ACTS:
            piece = f"{act} from {side}"
            if piece not in record:
                record.done(piece, _cut_before_each(act, side))
                record.tell(f"{piece}: {record[piece]}")
    found = list(record.pieces().values())
    boots, wrong = sum(each["boots"] for each in found), [said for each in found for said in each["wrong"]]
    stood_new = sum(each["new"] for each in found)
    counts = {"boots": boots, "stood on the old side": boots - stood_new, "stood on the new side": stood_new}
    said = f"{len(wrong)} of {boots} boots after a power cut brought anything but the standing side"
    return Outcome(boots > 0 and not wrong, said, {**counts, "wrong": "; ".join(wrong) or "none"})


def _cut_before_each(act: str, side: str) -> dict[str, Any]:
    found: dict[str, Any] = {"boots": 0, "new": 0, "wrong": []}
    with (
        tempfile.TemporaryDirectory(prefix="teraferry-prove-") as folder,
        SystemdMachine(Path(folder) / "gateway") as machine,
    ):
        while _was_cut(machine, act, side, found["boots"] + 1):
            found["boots"] += 1
            machine.boot()
            stands, wrong = _judge(machine, act, side)
            found["new"] += stands == OTHER[side]
            found["wrong"] += [f"{act} from {side}, cut before call {found['boots']}: {said}" for said in wrong]
    return found


def _was_cut(machine: SystemdMachine, act: str, side: str, calls: int) -> bool:
    """Begin with ``side`` standing, and cut the power before that call; False when the act came through whole."""
    switch = _switch(machine)
    switch.set_up(side)
    if switch.observe().standing != side:
        switch.hold(side, seconds=HELD_SECONDS)
        switch.commit(side)
    if act != "hold":
        switch.hold(OTHER[side], seconds=HELD_SECONDS)
    try:
        ACTS[act](NftablesSwitch(Counted(machine, calls), virtual_address()), side)
    except PowerCutError:
        return True
    return False


def _judge(machine: SystemdMachine, act: str, side: str) -> tuple[str, list[str]]:
    """Return what stands after the boot, and what is wrong with it."""
    seen = _switch(machine).observe()
    wrong = []
    if seen.active != seen.standing:
        wrong.append(f"new connections go to {seen.active}, {seen.standing} stands")
    if act != "commit" and seen.standing != side:
        wrong.append(f"{seen.standing} stands, which nobody committed")
    loaded = int(machine.shows(UNIT, "ActiveEnterTimestampMonotonic"))
    if not 0 < loaded <= int(machine.shows("network-pre.target", "ActiveEnterTimestampMonotonic")):
        wrong.append("loaded after there could be a network")
    return seen.standing, wrong


def _switch(machine: SystemdMachine) -> NftablesSwitch:
    return NftablesSwitch(CommandTransport("gateway", machine.prefix), virtual_address())
