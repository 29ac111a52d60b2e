"""Probes everything ``site.toml`` names; each failure comes with its fix. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from teraferry.bundles.errors import Fact, RefusedError, TeraFerryError
from teraferry.bundles.progress import Progress


@dataclass(frozen=True, slots=True)
class Check:
    """One probe's outcome."""

    name: str
    ok: bool
    found: str
    fix: str  # what to type or do; "" when it is well
    warning: bool = False  # well today, but ``fix`` must be done before it no longer is


@dataclass(frozen=True, slots=True)
class Advice:
    """Well today; ``fix`` says what to do before it no longer is."""

    found: str
    fix: str


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing to look at. ``look`` returns what it found, or advice, or raises why that will not do."""

    name: str
    look: Callable[[], str | Advice]


def run_probes(probes: Sequence[Probe], progress: Progress) -> list[Check]:
    """Run every probe, also after one that failed: a person wants the whole list at once."""
    checks = []
    for probe in probes:
        try:
            check = _well(probe.name, probe.look())
        except TeraFerryError as error:
            check = Check(probe.name, ok=False, found=error.message, fix=error.hint)
        except OSError as error:
            # The machine itself stands in the way; the other probes can still tell something.
            fix = "Look at this machine's own log, then type: teraferry-installer doctor"
            check = Check(probe.name, ok=False, found=f"{probe.name}: {error}", fix=fix)
        mark = "FAIL" if not check.ok else "warn" if check.warning else "ok  "
        progress.say("check", f"{mark} {check.name}: {check.found}" + (f" → {check.fix}" if check.fix else ""))
        checks.append(check)
    return checks


def _well(name: str, seen: str | Advice) -> Check:
    if isinstance(seen, Advice):
        return Check(name, ok=True, found=seen.found, fix=seen.fix, warning=True)
    return Check(name, ok=True, found=seen, fix="")


def rows_of(checks: Sequence[Check]) -> list[dict[str, str | bool]]:
    """Return the checks as scripts get them, whether all is well or not."""
    return [
        {"name": one.name, "ok": one.ok, "warning": one.warning, "found": one.found, "fix": one.fix} for one in checks
    ]


def require_all_well(checks: Sequence[Check]) -> None:
    """Refuse when a check failed.

    Raises:
        RefusedError: ``doctor-found-faults``, 40; ``checks`` holds all of them, ``failed`` those with their fix.
    """
    failed = [check for check in checks if not check.ok]
    if not failed:
        return
    names = ", ".join(check.name for check in failed)
    facts: dict[str, Fact] = {
        "checks": rows_of(checks),
        "failed": [f"{check.name}: {check.found} → {check.fix}" for check in failed],
    }
    raise RefusedError(
        "doctor-found-faults",
        f"doctor: {len(failed)} of {len(checks)} checks failed ({names}), expected none",
        hint=failed[0].fix,
        facts=facts,
    )
