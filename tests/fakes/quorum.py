"""Masters in memory that elect the first of those that run, while most of them do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from teraferry.installer.ports import MasterView


class FakeQuorum:
    """``Quorum`` in memory. ``stop`` and ``start`` are what a workload does to a master."""

    def __init__(self, masters: Sequence[str]) -> None:
        self.masters = tuple(masters)
        self.running = set(masters)
        self.leader = self.masters[0]
        self.elections = 0

    def observe(self) -> Mapping[str, MasterView]:
        return {master: MasterView(self.leader, frozenset(self.masters)) for master in self.running}

    def step_down(self, master: str) -> None:
        if master == self.leader:
            self._elect(self.running - {master})

    def stop(self, master: str) -> None:
        """The master's process ends."""
        self.running.discard(master)
        if master == self.leader:
            self._elect(self.running)

    def start(self, master: str) -> None:
        """The master's process starts."""
        self.running.add(master)
        if not self.leader:
            self._elect(self.running)

    def _elect(self, candidates: set[str]) -> None:
        has_most = len(self.running) * 2 > len(self.masters)
        self.leader = min(candidates, default="") if has_most else ""
        self.elections += 1
