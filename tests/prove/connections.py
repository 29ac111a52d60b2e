"""5,000 open connections and 200 new a second through cutovers and back; then a green, or an executor, that is lost.

Both engines, on a real gateway. Turned by itself, the switch may cut, move or refuse nobody. In real installs green is
frozen or killed at several moments between two checks of its window, and the executor is killed right after the
cutover: no new connection may be elsewhere than on blue 2 s after green fell silent, or ``dead_man`` after the kill,
and no connection that blue has may notice. The suite's short forms are ``tests/e2e/test_blue_green_dies.py`` and
``tests/integration/test_traffic_cutover.py``.
"""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from teraferry.installer.blue_green_ports import TrafficSwitch
from tests.lab.gateway import GatewayLab
from tests.lab.haproxy import HaproxyLab
from tests.lab.pair_site import DEAD_MAN_SECONDS, Event, PairLab
from tests.lab.switch_clients import SwitchClients, turn
from tests.prove.record import Outcome, Record

OPEN, OPEN_ON_GREEN, NEW_PER_SECOND = 5000, 500, 200
ROUNDS = 5
ASK_EVERY_SECONDS = 5.0
EACH_PHASE = 600
LONG_SECONDS = 600.0

OPEN_IN_INSTALLS = 1000
WATCHED = {"seconds": 60, "every_seconds": 1, "latency_p99_ms": 500}
SILENT_SECONDS = 2.0
"""How long after green fell silent a new connection may still begin that blue does not answer."""

ENGINES = ("nftables", "haproxy")
ACCIDENTS = ("frozen", "killed")
SETTINGS: dict[str, int | str] = {"open": OPEN, "new a second": NEW_PER_SECOND, "rounds": ROUNDS, **WATCHED}


def prove(record: Record) -> Outcome:
    """Turn, freeze and kill."""
    for engine in ENGINES:
        if (name := f"turned, {engine}") not in record:
            record.tell(name)
            record.done(name, _turn_many(engine))
        for accident in ACCIDENTS:
            if (name := f"{accident}, {engine}") not in record:
                record.tell(name)
                record.done(name, _lose_green(engine, accident))
    if "executor" not in record:
        record.tell("executor")
        record.done("executor", _lose_the_executor())
    found = record.pieces()
    wrong = [each for piece in found.values() for each in piece["wrong"]]
    counts = {
        "open": OPEN,
        "new": sum(piece["new"] for piece in found.values()),
        "turns": sum(found[f"turned, {engine}"]["turns"] for engine in ENGINES),
        "errors": sum(piece["errors"] for piece in found.values()),
        **{
            f"{accident} green, {engine}, last new connection elsewhere, ms": found[f"{accident}, {engine}"]["ms"]
            for engine in ENGINES
            for accident in ACCIDENTS
        },
        f"killed executor, dead man of {DEAD_MAN_SECONDS} s, last new connection elsewhere, ms": found["executor"][
            "ms"
        ],
    }
    said = "; ".join(wrong[:5]) or f"0 errors in {counts['turns']} turns; {counts['new']} new connections"
    return Outcome(not wrong and counts["errors"] == 0, said, counts)


def _turn_many(engine: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="teraferry-prove-") as folder, GatewayLab(Path(folder) / "lab") as lab:
        switch = _switch(engine, lab)
        switch.set_up("blue")
        report = Path(folder) / "clients.json"
        clients = SwitchClients(lab, report, new_per_second=NEW_PER_SECOND, ask_every_seconds=ASK_EVERY_SECONDS)
        clients.start(OPEN, on="blue")
        turns = []
        for number in range(ROUNDS):
            clients.wait_for_new(EACH_PHASE, on="blue")
            turns.append(turn("green", lambda: switch.hold("green", seconds=LONG_SECONDS)))
            clients.wait_for_new(EACH_PHASE, on="green")
            if number == 0:
                clients.open_more(OPEN_ON_GREEN, on="green")
            switch.renew(seconds=LONG_SECONDS)
            turns.append(turn("blue", switch.release))
        clients.wait_for_new(EACH_PHASE, on="blue")
        seen, ended = clients.end(), time.monotonic()
    wrong = [f"{engine}: {each}" for each in seen.errors + [said for _, said in seen.failed]]
    if seen.open != {"blue": OPEN, "green": OPEN_ON_GREEN}:
        wrong.append(f"{engine}: open at the end {seen.open}")
    for each, until in zip(turns, [*(later.began for later in turns[1:]), ended], strict=True):
        others = set(seen.answered(after=each.returned, before=until)) - {each.side}
        wrong += [f"{engine}: {other} after a turn to {each.side}" for other in others]
    errors = len(seen.errors) + len(seen.failed)
    return {"new": len(seen.new), "turns": len(turns), "errors": errors, "wrong": wrong}


def _lose_green(engine: str, accident: str) -> dict[str, Any]:
    """Lose green in the window of one install after another, each time at another moment between two checks."""
    moments, ends, wrong = list[float](), list[float](), list[str]()
    with _pair(engine) as pair:
        kit, _ = pair.kit("1.0.0")
        lose, mend = (pair.gateway.kill, pair.gateway.serve)
        if accident == "frozen":
            lose, mend = (pair.gateway.freeze, pair.gateway.thaw)
        clients = _clients(pair)
        for number in range(ROUNDS):
            failed = pair.install(kit, on_event=_in_window(clients, number / ROUNDS, moments, lambda: lose("green")))
            clients.wait_for_new(EACH_PHASE, on="blue")
            ends.append(time.monotonic())
            mend("green")
            if (failed.status, failed.result.get("cause")) != (50, "monitor-inconclusive"):
                wrong.append(f"{engine}, {accident}: install {failed.status} {failed.result}")
        seen = clients.end()
    bounds = zip(moments, ends, strict=True)
    slowest = max(seen.left_behind_seconds(moment, until=until, side="blue") for moment, until in bounds)
    wrong += [f"{engine}, {accident}: {each}" for each in seen.errors]
    if slowest > SILENT_SECONDS:
        wrong.append(f"{engine}, {accident}: a new connection went astray {slowest:.2f} s later")
    return {"new": len(seen.new), "errors": len(seen.errors), "ms": round(1000 * slowest), "wrong": wrong}


def _lose_the_executor() -> dict[str, Any]:
    """Kill the executor after the cutover; the kernel has to bring traffic back, and the next install to say so."""
    with _pair("nftables") as pair:
        kit, _ = pair.kit("1.0.0")
        clients, moment = _clients(pair), list[float]()

        def at(event: Event, process: subprocess.Popen[bytes]) -> None:
            _in_window(clients, 0.0, moment, lambda: process.send_signal(signal.SIGKILL))(event)

        pair.type("install", str(kit), "--yes", "--foreground", on_event=at)
        clients.wait_for_new(EACH_PHASE, on="blue")
        seen = clients.end()
        pair.watches(seconds=3)
        again = pair.install(kit)
        stands = pair.gateway.answers()
    late = seen.left_behind_seconds(moment[0], until=time.monotonic(), side="blue")
    wrong = [f"executor: {each}" for each in seen.errors + [said for _, said in seen.failed]]
    if (again.status, again.result.get("hold_lapsed"), stands) != (0, True, "green"):
        wrong.append(f"executor: the next install {again.status} {again.result}, {stands} serves")
    if late > DEAD_MAN_SECONDS:
        wrong.append(f"executor: a new connection went to green {late:.2f} s later")
    errors = len(seen.errors) + len(seen.failed)
    return {"new": len(seen.new), "errors": errors, "ms": round(1000 * late), "wrong": wrong}


def _in_window(
    clients: SwitchClients, wait_seconds: float, moment: list[float], act: Callable[[], None]
) -> Callable[[Event], None]:
    """Return what waits until green has new connections in its window, then so long, then does ``act``, once."""

    def at(event: Event) -> None:
        if event.get("event") == "step" and event.get("action") == "monitor_stability":
            clients.wait_for_new(NEW_PER_SECOND, on="green")
            time.sleep(wait_seconds)
            act()
            moment.append(time.monotonic())

    return at


def _clients(pair: PairLab) -> SwitchClients:
    clients = SwitchClients(pair.gateway, pair.folder / "clients.json", new_per_second=NEW_PER_SECOND)
    clients.start(OPEN_IN_INSTALLS, on="blue")
    return clients


def _switch(engine: str, lab: GatewayLab) -> TrafficSwitch:
    if engine == "nftables":
        return lab.switch()
    haproxy = HaproxyLab(lab)
    haproxy.open()
    return haproxy.switch()


@contextmanager
def _pair(engine: str) -> Iterator[PairLab]:
    with (
        tempfile.TemporaryDirectory(prefix="teraferry-prove-") as folder,
        GatewayLab(Path(folder) / "gateway") as gateway,
        PairLab(gateway, Path(folder), engine=engine) as pair,
    ):
        pair.watches(**WATCHED)
        pair.switch().set_up("blue")
        yield pair
