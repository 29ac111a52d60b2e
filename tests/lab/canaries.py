"""Secrets that are looked for afterwards: in what was said, in every file, in the argv of every process.

A canary counts as found in any spelling that a careless program would leave of it: as it is, in hex, in
base64 at any of the three offsets, and in reverse hex case.
"""

from __future__ import annotations

import os
import secrets
import threading
from base64 import b64encode
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

SAMPLE_SECONDS = 0.01
"""Pause between two looks at our own children: one lives far longer than this."""

LOOKS_PER_SWEEP = 20
"""Every so many looks all processes are read: a daemon is nobody's child, and lives long."""


@dataclass(frozen=True)
class Canary:
    """A secret, and where it was planted."""

    planted: str
    text: str = field(default_factory=lambda: f"canary-{secrets.token_hex(8)}")

    def spellings(self) -> list[bytes]:
        """Return every sequence of bytes that gives it away."""
        raw = self.text.encode()
        found = [raw, raw.hex().encode(), raw.hex().upper().encode()]
        for offset in range(3):
            # Without the characters that depend on the neighbours.
            encoded = b64encode(b"\0" * offset + raw)
            found.append(encoded[4 if offset else 0 : -4])
        return found

    def is_in(self, content: bytes) -> bool:
        """Tell whether ``content`` gives it away."""
        return any(spelling in content for spelling in self.spellings())


def traces(canaries: Iterable[Canary], places: Sequence[tuple[str, bytes]]) -> list[str]:
    """Return which canary was found where."""
    return [f"{canary.planted} in {name}" for canary in canaries for name, content in places if canary.is_in(content)]


def files_below(folder: Path, *, but: Sequence[Path] = ()) -> list[tuple[str, bytes]]:
    """Return every file below ``folder`` with its content and name, except those in or at ``but``."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and not any(path.is_relative_to(other) for other in but):
            found.append((str(path), path.name.encode() + b"\n" + path.read_bytes()))
    return found


class ArgvWatch:
    """Reads command lines again and again while it is open: our children's often, everybody's now and then."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="argv-watch", daemon=True)

    def __enter__(self) -> ArgvWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def places(self) -> list[tuple[str, bytes]]:
        """Return what was seen, in the form that ``traces`` takes."""
        return [("argv of a process", line) for line in self.seen]

    def _watch(self) -> None:
        looks = 0
        while not self._over.wait(SAMPLE_SECONDS):
            everybody = looks % LOOKS_PER_SWEEP == 0
            for pid in _all_pids() if everybody else _children(os.getpid()):
                with suppress(OSError):  # it has ended
                    self.seen.add(Path(f"/proc/{pid}/cmdline").read_bytes())
            looks += 1


def _all_pids() -> list[str]:
    return [process.name for process in Path("/proc").iterdir() if process.name.isdigit()]


def _children(pid: int | str) -> list[str]:
    found: list[str] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += (thread / "children").read_text().split()
    return found + [grandchild for child in found for grandchild in _children(child)]
