"""Probes everything ``site.toml`` names; each failure comes with its fix. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from teraferry.bundles.errors import TeraFerryError
from teraferry.bundles.progress import Progress


@dataclass(frozen=True, slots=True)
class Check:
    """One probe's outcome."""

    name: str
    ok: bool
    found: str
    fix: str  # what to type or do; "" when it is well


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing to look at. ``look`` returns what it found, or raises why that will not do."""

    name: str
    look: Callable[[], str]


def run_probes(probes: Sequence[Probe], progress: Progress) -> list[Check]:
    """Run every probe, also after one that failed: a person wants the whole list at once."""
    checks = []
    for probe in probes:
        try:
            check = Check(probe.name, ok=True, found=probe.look(), fix="")
        except TeraFerryError as error:
            check = Check(probe.name, ok=False, found=error.message, fix=error.hint)
        mark = "ok  " if check.ok else "FAIL"
        progress.say("check", f"{mark} {check.name}: {check.found}" + (f" → {check.fix}" if check.fix else ""))
        checks.append(check)
    return checks
