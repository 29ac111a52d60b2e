"""Tier 2 on two real clusters behind a real gateway: the installer dies by SIGKILL at every touch, and is typed again.

One install is left alone first: its touches are what has to be died at. Then the plan is cut into sections, with a pair
of clusters each; an install dies at every touch of its section. Clients hold connections, make 200 new ones a second
and write all the while; what was acknowledged is read back from both clusters. The suite has the same enumeration on
fakes, in ``tests/adversarial/test_blue_green_killed.py``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tests.lab.gateway import GatewayLab
from tests.lab.mortal import Mortal
from tests.lab.switched import SwitchedClients, problems_of
from tests.lab.weed import weed_binary
from tests.lab.weed_pair_site import WeedPairLab
from tests.prove.lives import judge, live_until_done
from tests.prove.record import Outcome, Record

OLD, NEW = "4.47", "4.48"
SETTINGS: dict[str, int | str] = {"old": OLD, "new": NEW}
CRASH_FREE = "without a crash"
_LEVEL, _WINDOW = "sync_state|ask_compliance", "switch_virtual_ip|monitor_stability|commit_switch"
_LATER = rf"\S+ ({_LEVEL}|{_WINDOW})|hold-lapsed|run-ended"
SECTIONS = {
    CRASH_FREE: "",
    "green up": rf"^(?!{_LATER})",
    "level": rf"^\S+ ({_LEVEL})",
    "window": rf"^(\S+ ({_WINDOW})|hold-lapsed|run-ended)",
}
"""By the newest line of the journal at a touch."""


def prove(record: Record) -> Outcome:
    """Go through the sections that are left."""
    for name, dies_at in SECTIONS.items():
        if name not in record:
            record.tell(name)
            record.done(name, in_a_lab(dies_at))
    return judge(record.pieces(), SECTIONS, crash_free=CRASH_FREE, clients="connections")


def in_a_lab(dies_at: str) -> dict[str, Any]:
    """Install on a pair of its own, and return what became of it."""
    with (
        tempfile.TemporaryDirectory(prefix="teraferry-prove-") as folder,
        GatewayLab(Path(folder) / "gateway") as gateway,
        WeedPairLab(gateway, Path(folder), program=weed_binary(OLD)) as lab,
    ):
        return _install(lab, dies_at)


def _install(lab: WeedPairLab, dies_at: str) -> dict[str, Any]:
    kit, digest = lab.kit_of("1.0.0", weed=NEW)
    mortal = Mortal(lab.folder / "mortal", lab.gateway.lab.nodes, dies_at)
    lab.installer = mortal.words
    with SwitchedClients(lab) as clients:
        wrong = live_until_done(mortal, lambda: lab.install(kit, "--foreground"))
    wrong += clients.errors() + problems_of(lab, clients.written, digest=digest)
    return {
        "wrong": wrong,
        "deaths": mortal.deaths(),
        "touches": mortal.touches() if not dies_at else [],
        "counts": clients.counts(),
    }
