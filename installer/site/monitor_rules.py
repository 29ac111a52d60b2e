"""What ``[monitor]`` of site.toml comes to: how long a check of the window waits for its answer. Pure."""

from __future__ import annotations

from typing import Final

from teraferry.installer.site.model import MonitorTable
from teraferry.installer.site.text import SiteText

SILENT_LATENCIES: Final = 2.0
"""An answer that takes so many times what 99 of 100 may take at most is not waited for."""

LEAST_ANSWER_SECONDS: Final = 0.5
"""A packet that was lost is sent again within 0.4 s; that is no silence, however quick the site wants its answers."""

MOST_ANSWER_SECONDS: Final = 5.0

PAUSE_SHARE: Final = 0.8
"""Of the time from one check to the next, for its answer: checks never overlap, and a renewal fits between them."""


def answer_seconds(*, every_seconds: float, latency_p99_ms: float) -> float:
    """Return how long a check waits for its answer; one that does not come by then is none, and decides at once.

    With ``every_seconds`` it is what a frozen cluster may keep new connections for: it falls silent right after a
    check at worst.
    """
    patience = max(LEAST_ANSWER_SECONDS, SILENT_LATENCIES * latency_p99_ms / 1000)
    return min(MOST_ANSWER_SECONDS, PAUSE_SHARE * every_seconds, patience)


def require_measurable(monitor: MonitorTable, text: SiteText) -> None:
    """Refuse a latency that no check waits for: the first answer that takes so long would be taken for silence.

    Raises:
        UsageError: ``site-bad-value``, 2.
    """
    waits = answer_seconds(every_seconds=monitor.every_seconds, latency_p99_ms=monitor.latency_p99_ms)
    if monitor.latency_p99_ms > 1000 * waits:
        found = f"{monitor.latency_p99_ms}, but a check waits {1000 * waits:g} ms, expected no more than that"
        raise text.bad_value(("monitor", "latency_p99_ms"), found)
