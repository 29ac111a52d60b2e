"""Writes that survive a power cut: temp in the same folder, fsync, rename, fsync the folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def sync_directory(path: Path) -> None:
    """Make the names in ``path`` durable; a file's name lives in its directory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def durable_replace(path: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Yield a file whose bytes become ``path`` whole and durably, or not at all.

    Raises:
        OSError: Nothing was replaced; the temporary file is removed.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # Opened in here: Ctrl-C between opening and guarding would leave it behind.
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            _set_mode(file.fileno(), mode)
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def _set_mode(descriptor: int, mode: int) -> None:
    try:
        os.fchmod(descriptor, mode)
    except PermissionError:
        # FAT, which most sticks are, keeps no modes and refuses to be asked. What must be private may not lie there.
        if not mode & stat.S_IROTH:
            raise


def write_durably(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replace ``path`` with ``content``, durably."""
    with durable_replace(path, mode=mode) as file:
        file.write(content)
