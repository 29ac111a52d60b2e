"""Cutover and rollback: how soon new connections follow, under 5,000 open connections and 200 new ones a second.

On a real gateway in network namespaces, with either engine, as in ``tests/integration/test_traffic_cutover.py``, which
proves that nobody is cut. Timed is how long both sides got new connections, from the first on the new side to the last
on the old one; and beside it the whole call until that last one, which looks at the switch and makes what a reboot
needs durable before it turns.
"""

from __future__ import annotations

import time
from pathlib import Path

from teraferry.installer.blue_green_ports import TrafficSwitch
from tests.bench.measure import BenchError
from tests.bench.table import Row
from tests.lab.gateway import GatewayLab
from tests.lab.haproxy import HaproxyLab
from tests.lab.switch_clients import Seen, SwitchClients, Turn, turn

OPEN, QUICK_OPEN, NEW_PER_SECOND = 5000, 500, 200
ROUNDS = 5
ASK_EVERY_SECONDS = 5.0
EACH_PHASE = 200
LONG_SECONDS = 600.0
BUDGET_SECONDS = 0.05
WAYS = (("cutover", "green"), ("rollback", "blue"))


def switch_rows(folder: Path, *, quick: bool) -> list[Row]:
    """Return one row for the cutover and one for the way back, of each engine."""
    count = QUICK_OPEN if quick else OPEN
    rows = []
    with GatewayLab(folder) as lab:
        rows += _rows_of("nftables", lab, lab.switch(), folder / "nftables.json", count=count)
        lab.wipe()
        haproxy = HaproxyLab(lab)
        haproxy.open()
        rows += _rows_of("haproxy", lab, haproxy.switch(), folder / "haproxy.json", count=count)
    return [row for row in rows if not row.aside] + [row for row in rows if row.aside]


def _rows_of(engine: str, lab: GatewayLab, switch: TrafficSwitch, report: Path, *, count: int) -> list[Row]:
    switch.set_up("blue")
    clients = SwitchClients(lab, report, new_per_second=NEW_PER_SECOND, ask_every_seconds=ASK_EVERY_SECONDS)
    clients.start(count, on="blue")
    turns: list[Turn] = []
    for _ in range(ROUNDS):
        for side, call in (("green", lambda: switch.hold("green", seconds=LONG_SECONDS)), ("blue", switch.release)):
            clients.wait_for_new(EACH_PHASE)
            turns.append(turn(side, call))
    clients.wait_for_new(EACH_PHASE)
    seen = clients.end()
    if seen.errors or seen.failed or seen.open != {"blue": count}:
        raise BenchError(f"{engine}: connections were cut or moved: {[*seen.errors, *seen.failed][:3]}, {seen.open}")
    ends = [*(each.began for each in turns[1:]), time.monotonic()]
    mixed: dict[str, list[float]] = {"green": [], "blue": []}
    calls: dict[str, list[float]] = {"green": [], "blue": []}
    for each, until in zip(turns, ends, strict=True):
        mixed[each.side].append(seen.mixed_seconds(each, until=until))
        calls[each.side].append(_until_the_last(seen, each, until=until))
    load = f"{count} open, {NEW_PER_SECOND} new a second, 0 resets"
    return [
        *(_row(f"{engine}, {name}: new connections follow; {load}", mixed[side], aside=False) for name, side in WAYS),
        *(_row(f"{engine}, {name}, the whole call", calls[side], aside=True) for name, side in WAYS),
    ]


def _until_the_last(seen: Seen, call: Turn, *, until: float) -> float:
    """Return how long after a call began the last new connection began that went the old way."""
    old = [began for began, _, name in seen.new if call.began <= began < until and name != call.side]
    return max(old, default=call.began) - call.began


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
