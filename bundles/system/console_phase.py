"""Where a phase of work stands: bytes, speed, time left, what is being waited for. Pure: ``now`` is passed in."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from teraferry.bundles.system.console_text import duration_text, size_text

SPEED_WINDOW_SECONDS = 10.0
"""Seconds that speed and time left are judged by: long enough to be calm, short enough to follow."""

WORTH_TELLING_SECONDS = 1.0
"""A phase without bytes that took less needs no line to say that it is over."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How many bytes of a phase were done at one moment."""

    at_seconds: float  # of the monotonic clock
    done_bytes: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the recent past says about speed and the rest of the phase."""

    bytes_per_second: float | None  # None: too early to tell
    remaining_seconds: float | None  # None: no total, or no speed


def estimate(samples: Sequence[Sample], total_bytes: int | None) -> Estimate:
    """Return speed over ``samples`` (oldest first) and the time the rest takes at that speed."""
    elapsed = samples[-1].at_seconds - samples[0].at_seconds if samples else 0
    if elapsed <= 0:
        return Estimate(None, None)
    speed = (samples[-1].done_bytes - samples[0].done_bytes) / elapsed
    if total_bytes is None or speed <= 0:
        return Estimate(speed, None)
    return Estimate(speed, max(0, total_bytes - samples[-1].done_bytes) / speed)


@dataclass(frozen=True, slots=True)
class Wait:
    """Something that must become true before the work goes on."""

    what: str
    why: str
    since_seconds: float

    def text(self, now_seconds: float) -> str:
        """Return the wait as people read it."""
        return f"waiting for {self.what}: {self.why}, {duration_text(now_seconds - self.since_seconds)}"


@dataclass(slots=True)
class Phase:
    """One phase of work. Its byte count only ever rises."""

    name: str
    detail: str
    total_bytes: int | None
    started_seconds: float
    done_bytes: int = 0
    wait: Wait | None = None
    _samples: deque[Sample] = field(default_factory=deque)

    def advance(self, count_bytes: int) -> None:
        """Count bytes that are done for good.

        Raises:
            ValueError: ``count_bytes`` is negative; progress never runs backwards.
        """
        if count_bytes < 0:
            raise ValueError(f"progress: {count_bytes} bytes, expected 0 or more")
        self.done_bytes += count_bytes
        self.wait = None

    def sample(self, now_seconds: float) -> Estimate:
        """Note the byte count at this moment and return the pace of the recent past."""
        if not self._samples:
            self._samples.append(Sample(self.started_seconds, 0))
        self._samples.append(Sample(now_seconds, self.done_bytes))
        # The oldest sample that is kept lies just outside the window, so a speed has two points.
        while len(self._samples) > 2 and now_seconds - self._samples[1].at_seconds > SPEED_WINDOW_SECONDS:
            self._samples.popleft()
        return estimate(self._samples, self.total_bytes)

    def share(self) -> float | None:
        """Return how much is done, 0..1; None where nobody knows the total."""
        return min(1.0, self.done_bytes / self.total_bytes) if self.total_bytes else None

    def first_text(self) -> str:
        """Return the line that begins the phase."""
        size = [] if self.total_bytes is None else [size_text(self.total_bytes)]
        extra = ", ".join([*size, *([self.detail] if self.detail else [])])
        return f"{self.name}: {extra}" if extra else self.name

    def figures(self, now_seconds: float, pace: Estimate) -> str:
        """Return bytes, share, speed and time left; the time so far where no bytes move."""
        if self.total_bytes is None and not self.done_bytes:
            return duration_text(now_seconds - self.started_seconds)
        parts = [size_text(self.done_bytes)]
        if self.total_bytes is not None:
            share = 100 * min(self.done_bytes, self.total_bytes) // self.total_bytes if self.total_bytes else 100
            parts = [f"{size_text(self.done_bytes)} of {size_text(self.total_bytes)} ({share} %)"]
        if pace.bytes_per_second is not None:
            parts.append(f"{size_text(pace.bytes_per_second)}/s")
        if pace.remaining_seconds is not None:
            parts.append(f"{duration_text(pace.remaining_seconds)} left")
        return ", ".join(parts)

    def text(self, now_seconds: float, pace: Estimate) -> str:
        """Return the line that says that the work goes on, and at what."""
        if self.wait is not None:
            return f"still {self.wait.text(now_seconds)}"
        if not self.done_bytes:
            about = f" ({self.detail})" if self.detail else ""
            return f"{self.name}: still at work{about}, {duration_text(now_seconds - self.started_seconds)}"
        return f"{self.name}: {self.figures(now_seconds, pace)}"

    def fields(self, now_seconds: float, pace: Estimate) -> dict[str, object]:
        """Return the same for scripts."""
        seconds = round(now_seconds - self.started_seconds, 1)
        if self.wait is not None:
            waited = round(now_seconds - self.wait.since_seconds, 1)
            what, why = self.wait.what, self.wait.why
            return {"event": "waiting", "phase": self.name, "what": what, "why": why, "seconds": waited}
        return {
            "event": "progress",
            "phase": self.name,
            "done_bytes": self.done_bytes,
            "total_bytes": self.total_bytes,
            "bytes_per_second": None if pace.bytes_per_second is None else round(pace.bytes_per_second),
            "eta_seconds": None if pace.remaining_seconds is None else round(pace.remaining_seconds, 1),
            "seconds": seconds,
        }

    def last_text(self, now_seconds: float) -> str | None:
        """Return the line that ends the phase; None when it was too short to be worth one."""
        seconds = now_seconds - self.started_seconds
        if self.done_bytes:
            speed = f", {size_text(self.done_bytes / seconds)}/s" if seconds > 0 else ""
            return f"{self.name}: done, {size_text(self.done_bytes)} in {duration_text(seconds)}{speed}"
        return f"{self.name}: done, {duration_text(seconds)}" if seconds >= WORTH_TELLING_SECONDS else None
