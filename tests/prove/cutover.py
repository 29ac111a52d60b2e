"""Tier 2 on two real SeaweedFS clusters under writers: cut over to a newer ``weed``, then a green that dies on the way.

Every write that was acknowledged through the virtual address is read back, from the cluster that stands at the end.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

from tests.lab.gateway import GatewayLab
from tests.lab.nodes import wait_until
from tests.lab.weed import weed_binary
from tests.lab.weed_pair_site import WeedPairLab, Written, shown
from tests.prove.record import Outcome, Record

OLD, NEW = "4.47", "4.48"
SETTINGS: dict[str, int | str] = {"old": OLD, "new": NEW}
WRITERS = 2


def prove(record: Record) -> Outcome:
    """Cut over, and lose a cluster."""
    for name, act in (("cutover", _cut_over), ("dead standby", _lose_the_standby)):
        if name not in record:
            record.tell(name)
            record.done(name, _in_a_lab(act))
    found = record.pieces()
    lost = sum(len(each["lost"]) for each in found.values())
    wrong = [each for piece in found.values() for each in piece["wrong"]]
    writes = sum(each["acknowledged"] for each in found.values())
    said = "; ".join(wrong) or f"{writes} acknowledged writes, {lost} lost"
    return Outcome(not wrong and not lost and writes > 0, said, {"acknowledged": writes, "lost": lost})


def _in_a_lab(act: Any) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="teraferry-prove-") as folder,
        GatewayLab(Path(folder) / "gateway") as gateway,
        WeedPairLab(gateway, Path(folder), program=weed_binary(OLD)) as lab,
    ):
        found: dict[str, Any] = act(lab)
        return found


def _cut_over(lab: WeedPairLab) -> dict[str, Any]:
    kit, digest = lab.kit_of("1.0.0", weed=NEW)
    written, stopped, threads = _writers(lab)
    done = lab.install(kit)
    wait_until("writes after the cutover", lambda: len(written.acknowledged) > 50)
    _end(stopped, threads)
    wrong = [] if done.status == 0 else [f"install: {done.status} {shown(done.result)}"]
    if lab.services["green"].running_digest() != digest:
        wrong.append("green runs another weed")
    wrong += [f"error: {each}" for each in written.errors[:3]]
    return {"acknowledged": len(written.acknowledged), "lost": lab.lost("green", written), "wrong": wrong}


def _lose_the_standby(lab: WeedPairLab) -> dict[str, Any]:
    kit, _ = lab.kit_of("1.0.0", weed=NEW)
    written, stopped, threads = _writers(lab)
    done = lab.install(kit, on_event=lambda event: _kill_in_the_window(lab, event))
    _end(stopped, threads)
    wrong = [] if (done.status, done.result.get("reference")) == (50, "rolled-back") else [shown(done.result)]
    if done.result.get("pending") == 0 and done.result.get("pending_known"):
        wrong.append("nothing was said to be pending, which nobody could know")
    refused = lab.install(kit)
    if refused.result.get("reference") != "pending-recovery":
        wrong.append(f"install beside pending writes: {shown(refused.result)}")
    for service in lab.services.values():
        service.start()
    lab.pair.wait_for("green")
    merged = lab.type("rollback", "--yes")
    wrong += [] if merged.status == 0 else [f"rollback: {merged.status} {shown(merged.result)}"]
    return {"acknowledged": len(written.acknowledged), "lost": lab.lost("blue", written), "wrong": wrong}


def _kill_in_the_window(lab: WeedPairLab, event: dict[str, Any]) -> None:
    if event.get("event") == "step" and event.get("action") == "monitor_stability":
        threading.Event().wait(0.5)
        lab.pair.kill("green")


def _writers(lab: WeedPairLab) -> tuple[Written, threading.Event, list[threading.Thread]]:
    """Start writers; the switch has to be there before anybody can be sent anywhere."""
    lab.switch().set_up("blue")
    written, stopped = Written(), threading.Event()
    threads = [lab.writes(written, stopped, name=f"writer-{number}") for number in range(WRITERS)]
    wait_until("the first writes", lambda: len(written.acknowledged) > 20)
    return written, stopped, threads


def _end(stopped: threading.Event, threads: list[threading.Thread]) -> None:
    stopped.set()
    for thread in threads:
        thread.join()
