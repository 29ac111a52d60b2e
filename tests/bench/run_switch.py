"""Cutover and rollback: how soon new connections follow, under 5,000 open connections and 200 new ones a second.

On a real gateway in network namespaces, as in ``tests/integration/test_traffic_cutover.py``, which proves that nobody
is cut. Timed is how long both sides got new connections, from the first on the new side to the last on the old one; and
beside it the whole call, which looks at the switch and makes what a reboot needs durable before it turns.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.measure import BenchError
from tests.bench.table import Row
from tests.lab.gateway import GatewayLab
from tests.lab.nodes import wait_until

OPEN, QUICK_OPEN, NEW_PER_SECOND = 5000, 500, 200
ROUNDS = 5
EACH_PHASE = 200
LONG_SECONDS = 600.0
BUDGET_SECONDS = 0.05


def switch_rows(folder: Path, *, quick: bool) -> list[Row]:
    """Return one row for the cutover and one for the way back."""
    count = QUICK_OPEN if quick else OPEN
    report = folder / "clients.json"
    with GatewayLab(folder) as lab:
        switch = lab.switch()
        switch.set_up("blue")
        clients = lab.start_clients(report, count=count, new_per_second=NEW_PER_SECOND)
        wait_until("the open connections", lambda: _told(report)["open"] == {"blue": count}, seconds=180)
        moments: list[tuple[str, float]] = []
        for _ in range(ROUNDS):
            moments.append(("green", _begin(report, lambda: switch.hold("green", seconds=LONG_SECONDS))))
            moments.append(("blue", _begin(report, switch.release)))
        _wait_for_new(report)
        clients.send_signal(signal.SIGTERM)
        wait_until("the clients to end", lambda: bool(_told(report)["ended"]), seconds=120)
        told = _told(report)
    if told["errors"] or told["open"] != {"blue": count}:
        raise BenchError(f"connections were cut or moved: {told['errors'][:3]}, {told['open']}")
    mixed: dict[str, list[float]] = {"green": [], "blue": []}
    calls: dict[str, list[float]] = {"green": [], "blue": []}
    for (side, began), (_, until) in zip(moments, [*moments[1:], ("", time.monotonic())], strict=True):
        made = [(started, name) for started, _, name in told["new"] if began <= started < until]
        last_old = max((started for started, name in made if name != side), default=began)
        first_new = min(started for started, name in made if name == side)
        mixed[side].append(max(0.0, last_old - first_new))
        calls[side].append(last_old - began)
    sides = (("cutover", "green"), ("rollback", "blue"))
    load = f"{count} open, {NEW_PER_SECOND} new a second, 0 resets"
    return [
        *(_row(f"{name}: new connections follow; {load}", mixed[side], aside=False) for name, side in sides),
        *(_row(f"{name}, the whole call", calls[side], aside=True) for name, side in sides),
    ]


def _row(name: str, seconds: list[float], *, aside: bool) -> Row:
    least, middle, most = (1000 * each for each in (min(seconds), sorted(seconds)[len(seconds) // 2], max(seconds)))
    return Row(
        name,
        f"{most:.0f} ms at most, of {len(seconds)}",
        f"{least:.0f} / {middle:.0f} / {most:.0f} ms",
        "<= 50 ms",
        most <= 1000 * BUDGET_SECONDS,
        aside=aside,
    )


def _begin(report: Path, turn: Callable[[], None]) -> float:
    """Turn the switch after a phase of new connections, and return when it was called."""
    _wait_for_new(report)
    began = time.monotonic()
    turn()
    return began


def _wait_for_new(report: Path) -> None:
    wanted = _told(report)["made"] + EACH_PHASE
    wait_until("new connections", lambda: _told(report)["made"] >= wanted)


def _told(report: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {"made": 0, "open": {}}
    return content
