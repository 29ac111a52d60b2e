"""Clients of a virtual address while its switch is turned: started, waited for, ended, and what they saw put in order.

The clients are ``tests.lab.switch_traffic``, a process of their own. What a test does is put beside it by the clock
that all namespaces of one machine share.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.gateway import GatewayLab
from tests.lab.nodes import LabError, wait_until
from tests.lab.switch_traffic import MORE

ASK_EVERY_SECONDS = 2.0
OPEN_SECONDS = 120.0
NEW_SECONDS = 180.0
END_SECONDS = 120.0


@dataclass(frozen=True)
class Turn:
    """A call that turned the switch, and when it began and had returned."""

    side: str  # where new connections go afterwards
    began: float
    returned: float


@dataclass(frozen=True)
class Seen:
    """What the clients saw, whole."""

    open: dict[str, int]  # side -> connections that stayed there to the end
    asked: int  # questions over these
    errors: list[str]
    new: list[tuple[float, float, str]]  # began, answered, by whom
    failed: list[tuple[float, str]]  # new connections without an answer: began, and what became of them

    def answered(self, *, after: float, before: float) -> list[str]:
        """Return who answered the new connections that lay wholly between two moments."""
        return [name for began, ended, name in self.new if after <= began and ended <= before]

    def mixed_seconds(self, turn: Turn, *, until: float) -> float:
        """Return for how long both sides got new connections; nothing turned before ``until``."""
        made = [(began, name) for began, _, name in self.new if turn.began <= began < until]
        first_new = min(began for began, name in made if name == turn.side)
        last_old = max((began for began, name in made if name != turn.side), default=first_new)
        return max(0.0, last_old - first_new)

    def left_behind_seconds(self, moment: float, *, until: float, side: str) -> float:
        """Return how long after ``moment`` the last new connection began, before ``until``, that went elsewhere."""
        elsewhere = [began for began, _, name in self.new if name != side] + [began for began, _ in self.failed]
        return max([0.0, *(began - moment for began in elsewhere if moment <= began < until)])


class SwitchClients:
    """Open connections and new ones, all towards the virtual address.

    Args:
        lab: Where they are.
        report: A file of theirs.
        new_per_second: How many new ones they make, each for one question.
        ask_every_seconds: How often each open one is asked again; thousands, asked often, are a load of their own.
    """

    def __init__(
        self, lab: GatewayLab, report: Path, *, new_per_second: int, ask_every_seconds: float = ASK_EVERY_SECONDS
    ) -> None:
        self._lab = lab
        self._report = report
        self._new_per_second = new_per_second
        self._ask_every_seconds = ask_every_seconds
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, count: int, *, on: str) -> None:
        """Return once ``count`` connections are open, all of them on one side."""
        self._process = self._lab.start_clients(
            self._report,
            count=count,
            new_per_second=self._new_per_second,
            ask_every_seconds=self._ask_every_seconds,
        )
        self._wait_for_open(on, count)

    def open_more(self, count: int, *, on: str) -> None:
        """Return once so many connections are open on a side that had none; whole hundreds, as they are opened."""
        for there in range(MORE, count + 1, MORE):
            self._signal(signal.SIGUSR1)
            self._wait_for_open(on, there)

    def wait_for_new(self, count: int, *, on: str | None = None) -> None:
        """Return once so many more new connections were answered, by one side if that is said."""
        wanted = self._made(on) + count
        wait_until("new connections", lambda: self._made(on) >= wanted, seconds=NEW_SECONDS)

    def end(self) -> Seen:
        """Ask over every open connection once more, and return all that was seen."""
        self._signal(signal.SIGTERM)
        wait_until("the clients to end", lambda: bool(self.told()["ended"]), seconds=END_SECONDS)
        told = self.told()
        return Seen(told["open"], told["asked"], told["errors"], told["new"], told["failed"])

    def told(self) -> dict[str, Any]:
        """Return what they tell meanwhile."""
        nothing: dict[str, Any] = {"open": {}, "made": {}, "errors": []}
        content: dict[str, Any] = json.loads(self._report.read_text()) if self._report.exists() else nothing
        return content

    def _made(self, on: str | None) -> int:
        made: dict[str, int] = self.told()["made"]
        return sum(made.values()) if on is None else made.get(on, 0)

    def _wait_for_open(self, on: str, count: int) -> None:
        def are_there() -> bool:
            told = self.told()
            return told["open"].get(on, 0) == count or bool(told["errors"])

        wait_until(f"open connections on {on}", are_there, seconds=OPEN_SECONDS)
        if (told := self.told())["open"].get(on, 0) != count:
            raise LabError(f"{told['open']} open, expected {count} on {on}; {told['errors'][:3]}")

    def _signal(self, number: int) -> None:
        if self._process is None:
            raise RuntimeError("clients that were not started")
        self._process.send_signal(number)


def turn(side: str, call: Callable[[], None]) -> Turn:
    """Turn the switch by ``call``."""
    began = time.monotonic()
    call()
    return Turn(side, began, time.monotonic())
