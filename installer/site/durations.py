"""Lengths of time as people write them: ``90s``, ``30m``, ``4h``. Pure."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from teraferry.bundles.errors import UsageError

_DURATION: Final = re.compile(r"(0|[1-9][0-9]{0,5})([smh])\Z")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}
MAX_HOURS: Final = 168
"""A week: whoever waits longer for a lock to go wants another day, not another hour."""


def parse_duration(text: str) -> timedelta:
    """Return the length of time that ``text`` names.

    Raises:
        UsageError: ``duration-malformed``, 2.
    """
    found = _DURATION.match(text)
    duration = timedelta(seconds=int(found[1]) * _SECONDS[found[2]]) if found else None
    if duration is None or duration > timedelta(hours=MAX_HOURS):
        raise UsageError(
            "duration-malformed",
            f"duration {text[:40]!r}: expected a number and s, m or h, at most {MAX_HOURS}h",
            hint="Write it as: 90s, 30m or 4h.",
        )
    return duration
