"""The journal as a file: one JSON object per line, appended and synced before anything goes on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from teraferry.bundles.errors import OperatorNeededError, RefusedError
from teraferry.bundles.system.durable import sync_directory
from teraferry.installer.ports import Entry
from teraferry.installer.rollout.journal import encode_entry, next_entry, parse_chain


class FileJournal:
    """Journal in one file. One writer at a time: hold ``adapters.lock`` while appending."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: tuple[Entry, ...] | None = None

    def append(self, *, time_utc: str, run: str, event: str, step: str = "", facts: Mapping[str, object]) -> Entry:
        """Return only once the entry is on stable storage.

        Raises:
            RefusedError: ``journal-not-writable``, 44: no space or a read-only disk; nothing goes on without it.
            OperatorNeededError: ``journal-corrupt``, 62.
        """
        entries = self.replay() if self._entries is None else self._entries
        entry = next_entry(entries, time_utc=time_utc, run=run, event=event, step=step, facts=facts)
        try:
            self._write(encode_entry(entry) + b"\n")
        except OSError as error:
            # What reached the disk is not known, so the next append reads it again.
            self._entries = None
            raise RefusedError(
                "journal-not-writable",
                f"journal {self._path}: {error.strerror}, expected room for one more entry",
                hint="Free space on that disk, then type the same command again; it goes on from there.",
                exit_status=44,
                facts={"path": str(self._path)},
            ) from error
        self._entries = (*entries, entry)
        return entry

    def replay(self) -> Sequence[Entry]:
        """Return every acknowledged entry, oldest first, the chain verified.

        Raises:
            OperatorNeededError: ``journal-corrupt`` or ``journal-unreadable``, 62.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            content = b""
        except OSError as error:
            raise OperatorNeededError(
                "journal-unreadable",
                f"journal {self._path}: {error.strerror}, expected a file that can be read",
                hint="Look at that disk and at who may read the file; nothing is rolled out without the journal.",
                exit_status=62,
                facts={"path": str(self._path)},
            ) from error
        # What follows the last newline was torn by a power cut and never acknowledged.
        lines = content.split(b"\n")[:-1]
        self._entries = parse_chain(lines)
        return self._entries

    def _write(self, line: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            # A torn last line would swallow ours; only acknowledged lines end in a newline.
            file.seek(0)
            kept_bytes = file.read().rfind(b"\n") + 1
            file.truncate(kept_bytes)
            file.seek(kept_bytes)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        # A file's name lives in its directory, which is synced apart from its bytes.
        sync_directory(self._path.parent)
