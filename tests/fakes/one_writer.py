"""Two databases in memory with one primary between them, a gate before it, and a clock that a test moves on.

Run as a program it is a site's own replication behind ``CommandPrimary``, with its state in a file::

    python -m tests.fakes.one_writer STATE promote green
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from teraferry.bundles.errors import RefusedError
from teraferry.installer.blue_green_ports import ReplicationObservation
from tests.fakes.site_program import answer_replication, load_from, run_word

OTHER = {"blue": "green", "green": "blue"}


@dataclass
class FakeOneWriter:
    """``Replicator`` with one writer, and ``Promotion``, in memory.

    ``logs`` is what each server has committed or replayed, ``first`` who takes writes, whether it answers or not,
    ``down`` who does not answer, ``parted`` whether the standby receives nothing. ``now_seconds`` is the clock of the
    hold.
    """

    now_seconds: float = 0.0
    logs: dict[str, list[str]] = field(default_factory=lambda: {"blue": [], "green": []})
    first: str = "blue"
    down: list[str] = field(default_factory=list)
    parted: bool = False
    held_until: float | None = None

    @property
    def writers(self) -> str:
        return "one"

    def start(self) -> None:
        if self.first in self.down:
            raise _refusal("replication-failed", f"{self.first} is down")
        self.down.clear()
        self._stream()

    def observe(self, source: str) -> ReplicationObservation:
        if self.down or source != self.first:
            raise _refusal("replication-cannot-tell", f"{source} does not stream")
        self._stream()
        here, there = len(self.logs[source]), len(self.logs[OTHER[source]])
        return ReplicationObservation(here, there, here - there, 0)

    def sync_state(self, source: str, *, marker: str, stalled_after_seconds: float) -> None:
        if self.down:
            raise _refusal("replication-cannot-tell", "a server is down")
        if source != self.first:
            raise _refusal("replication-failed", f"{source} is not the primary")
        self.write_marker(source, marker)
        if self.parted:
            raise _refusal("replication-stalled", f"nothing moved for {stalled_after_seconds} s")

    def write_marker(self, source: str, marker: str) -> None:
        if self.down or source != self.first:
            raise _refusal("replication-cannot-tell", f"{source} takes no marker")
        self.logs[source].append(f"marker {marker}")
        self._stream()

    def read_marker(self, source: str, marker: str) -> bool:
        return not self.parted

    def pending(self, source: str) -> Sequence[str] | None:
        other = OTHER[source]
        if other in self.down:
            return None
        return self.logs[source][len(self.logs[other]) :] if source == self.first else []

    def conflicts(self, *, marker: str) -> Sequence[str]:
        return ()

    def primary(self) -> str:
        if self.first in self.down:
            raise _refusal("replication-cannot-tell", "no primary answers")
        return self.first

    def hold_writes(self, *, seconds: float) -> None:
        self.primary()
        self.held_until = self.now_seconds + seconds

    def promote(self, cluster: str) -> None:
        if cluster == self.first and cluster not in self.down:
            return
        if self.down or self.parted:
            raise _refusal("promotion-failed", f"{self.down or 'the stream'} is down")
        if not self.is_held:
            raise _refusal("write-hold-lapsed", "writes go on")
        self._stream()
        self.down = [self.first]
        self.first = cluster

    def release_writes(self) -> None:
        self.held_until = None

    @property
    def is_held(self) -> bool:
        """Whether a client's write would wait."""
        return self.held_until is not None and self.now_seconds < self.held_until

    def write(self, content: str) -> None:
        """What a client's write does that does not wait any more."""
        self.logs[self.first].append(content)
        self._stream()

    def _stream(self) -> None:
        if not self.down and not self.parted:
            self.logs[OTHER[self.first]] = list(self.logs[self.first])


def answer(fake: FakeOneWriter, word: str, *words: str) -> dict[str, object]:
    """Return what the site's own program says; what moves the primary has words of its own."""
    if word not in ("primary", "hold", "promote", "release"):
        return answer_replication(fake, word, *words)
    if word == "hold":
        fake.hold_writes(seconds=int(words[0]))
    elif word == "promote":
        fake.promote(words[0])
    elif word == "release":
        fake.release_writes()
    held = (fake.held_until or 0) - fake.now_seconds if fake.is_held else None
    return {"primary": fake.primary(), "held_seconds": held, "under_way": 0}


def load(state: Path) -> FakeOneWriter:
    """Return the fake over a program's state."""
    return load_from(state, FakeOneWriter)


def _refusal(reference: str, found: str) -> RefusedError:
    return RefusedError(reference, f"replication: {found}, expected it to run", hint="Look at it.")


if __name__ == "__main__":
    sys.exit(run_word(FakeOneWriter, answer))
