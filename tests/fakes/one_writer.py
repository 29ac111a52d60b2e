"""Two databases in memory with one primary between them, a gate before it, and a clock that a test moves on."""

from __future__ import annotations

from collections.abc import Sequence

from teraferry.bundles.errors import RefusedError
from teraferry.installer.blue_green_ports import ReplicationObservation

OTHER = {"blue": "green", "green": "blue"}


class FakeOneWriter:
    """``Replicator`` with one writer, and ``Promotion``, in memory.

    ``logs`` is what each server has committed or replayed, ``first`` who takes writes, whether it answers or not,
    ``down`` who does not answer, ``parted`` whether the standby receives nothing. ``now_seconds`` is the clock of the
    hold.
    """

    def __init__(self) -> None:
        self.now_seconds = 0.0
        self.logs: dict[str, list[str]] = {"blue": [], "green": []}
        self.down: set[str] = set()
        self.parted = False
        self.first = "blue"
        self._held_until: float | None = None

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
        self.logs[source].append(f"marker {marker}")
        self._stream()
        if self.parted:
            raise _refusal("replication-stalled", f"nothing moved for {stalled_after_seconds} s")

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
        self._held_until = self.now_seconds + seconds

    def promote(self, cluster: str) -> None:
        if cluster == self.first and cluster not in self.down:
            return
        if self.down or self.parted:
            raise _refusal("promotion-failed", f"{self.down or 'the stream'} is down")
        if not self.is_held:
            raise _refusal("write-hold-lapsed", "writes go on")
        self._stream()
        self.down = {self.first}
        self.first = cluster

    def release_writes(self) -> None:
        self._held_until = None

    @property
    def is_held(self) -> bool:
        """Whether a client's write would wait."""
        return self._held_until is not None and self.now_seconds < self._held_until

    def write(self, content: str) -> None:
        """What a client's write does that does not wait any more."""
        self.logs[self.first].append(content)
        self._stream()

    def _stream(self) -> None:
        if not self.down and not self.parted:
            self.logs[OTHER[self.first]] = list(self.logs[self.first])


def _refusal(reference: str, found: str) -> RefusedError:
    return RefusedError(reference, f"replication: {found}, expected it to run", hint="Look at it.")
