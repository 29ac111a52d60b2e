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

    def append(self, *, time_utc: str, run: str, event: str, step: str = "", facts: Mapping[str, object]) -> Entry:
        entry = next_entry(self.replay(), time_utc=time_utc, run=run, event=event, step=step, facts=facts)
        del self._content[self._content.rfind(b"\n") + 1 :]
        self._content += encode_entry(entry) + b"\n"
        return entry

    def replay(self) -> Sequence[Entry]:
        return parse_chain(bytes(self._content).split(b"\n")[:-1])
