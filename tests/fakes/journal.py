"""The journal in memory: the same lines, the same chain, the same fate of a torn line, and no disk to wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from teraferry.installer.ports import Entry
from teraferry.installer.rollout.journal import encode_entry, next_entry, parse_chain


class MemoryJournal:
    """``Journal`` over bytes that outlive it, as a file outlives a process.

    Args:
        content: The lines; a torn last one is dropped by the next append.
    """

    def __init__(self, content: bytearray) -> None:
        self._content = content
        self._known: tuple[Entry, ...] = ()
        self._known_bytes = 0  # what ``_known`` was parsed from; nobody else writes whole lines while we are open

    def append(self, *, time_utc: str, run: str, event: str, step: str = "", facts: Mapping[str, object]) -> Entry:
        entry = next_entry(self.replay(), time_utc=time_utc, run=run, event=event, step=step, facts=facts)
        del self._content[self._content.rfind(b"\n") + 1 :]
        self._content += encode_entry(entry) + b"\n"
        self._known, self._known_bytes = (*self._known, entry), len(self._content)
        return entry

    def replay(self) -> Sequence[Entry]:
        whole = self._content.rfind(b"\n") + 1
        if whole != self._known_bytes:
            self._known, self._known_bytes = parse_chain(bytes(self._content).split(b"\n")[:-1]), whole
        return self._known
