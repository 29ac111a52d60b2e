"""The one place that asks the machine what time it is. Everything else takes ``now``."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now_utc() -> datetime:
    """Return the system clock, aware and in UTC. Offline it may lie: see ``keys.trust``."""
    return datetime.now(UTC)


def monotonic_seconds() -> float:
    """Return seconds that never run backwards, for deadlines and speeds."""
    return time.monotonic()


def sleep_seconds(seconds: float) -> None:
    """Pause the caller."""
    time.sleep(seconds)
