"""Wires the smoke tests of a plan: each question with the adapter that asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from teraferry.bundles.system.clock import monotonic_seconds, sleep_seconds

if TYPE_CHECKING:
    from teraferry.bundles.progress import Progress
    from teraferry.installer.ports import NodeTransport
    from teraferry.installer.rollout.conditions import Probe
    from teraferry.installer.rollout.smoke import SmokeGate, SmokeTest


def make_smoke(
    tests: Iterable[SmokeTest], transport_of: Callable[[str], NodeTransport], progress: Progress
) -> SmokeGate:
    """Return the gate that asks ``tests``; nothing is asked yet.

    Args:
        tests: From ``rollout.smoke.plan_smoke``, of a rolling update or of green.
        transport_of: Reaches the node of that name, for commands.
        progress: Told what each test found.
    """
    from teraferry.installer.rollout.smoke import SmokeGate

    probes: dict[str, list[tuple[SmokeTest, Probe]]] = {}
    for test in tests:
        probes.setdefault(test.node, []).append((test, _make_probe(test, transport_of)))
    return SmokeGate(probes, monotonic_seconds, sleep_seconds, progress)


def _make_probe(test: SmokeTest, transport_of: Callable[[str], NodeTransport]) -> Probe:
    from teraferry.installer.adapters.probes.command import CommandProbe
    from teraferry.installer.adapters.probes.http import HttpProbe

    if test.url:
        return HttpProbe(test.text, test.url, ca=None if test.ca is None else Path(test.ca))
    return CommandProbe(test.text, test.command, transport_of(test.node))
