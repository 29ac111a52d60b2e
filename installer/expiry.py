"""What expires before somebody comes again. Pure.

A site is visited twice a year, and a date that passes in between is found by nobody until the next
visit fails on it. So ``doctor`` holds every date it can see against the day of that visit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from teraferry.installer.doctor import Advice


@dataclass(frozen=True, slots=True)
class Expiry:
    """One thing and the date from which it is worth nothing; None: it has none."""

    what: str
    expires: datetime | None
    fix: str  # what to do before that date


@dataclass(frozen=True, slots=True)
class Horizon:
    """How far ahead to look."""

    now: datetime  # the latest time that is known to be past: a clock that is behind hides what expires
    next_visit_days: int

    def look(self, found: str, expiries: Sequence[Expiry]) -> str | Advice:
        """Return ``found``, with advice if anything expires before the next visit."""
        visit = self.now + timedelta(days=self.next_visit_days)
        late = [one for one in expiries if one.expires is not None and one.expires < visit]
        if not late:
            return found
        dates = "; ".join(f"{one.what} {self._when(one.expires)}" for one in late if one.expires is not None)
        fixes = list(dict.fromkeys(one.fix for one in late))
        return Advice(f"{found}; {dates}; the next visit is in {self.next_visit_days} days", " ".join(fixes))

    def _when(self, expires: datetime) -> str:
        days = (expires - self.now).days
        if expires <= self.now:
            return f"expired on {expires:%Y-%m-%d}"
        return f"expires on {expires:%Y-%m-%d}, in {days} days"
