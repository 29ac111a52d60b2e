"""Writes that survive a power cut: temp in the same folder, fsync, rename, fsync the folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def partial_of(path: Path, process: int | str | None = None) -> Path:
    """Return where a process, ours unless another is named, writes what becomes ``path``; "*" finds what any left."""
    return path.with_name(f".{path.name}.{os.getpid() if process is None else process}.part")


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
    with _whole(path, mode) as (partial, file):
        yield file
        _sync(file, mode)
        partial.replace(path)
    sync_directory(path.parent)


@contextmanager
def _whole(path: Path, mode: int) -> Iterator[tuple[Path, BinaryIO]]:
    """Yield a file beside ``path`` and its name, which is gone afterwards whatever happens."""
    partial = partial_of(path)
    try:
        # Opened in here: Ctrl-C between opening and guarding would leave it behind.
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w+b") as file:
            yield partial, file
    finally:
        partial.unlink(missing_ok=True)


def _sync(file: BinaryIO, mode: int) -> None:
    file.flush()
    _set_mode(file.fileno(), mode)
    os.fsync(file.fileno())


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


def create_durably(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Make ``path`` with ``content``, whole and durably, or not at all; what is there is never replaced.

    Raises:
        FileExistsError: Something is at ``path``, and stays as it is.
        OSError: Nothing was made.
    """
    with _whole(path, mode) as (partial, file):
        file.write(content)
        _sync(file, mode)
        # A rename would take the place of a file that somebody put there meanwhile; a link refuses.
        path.hardlink_to(partial)
    sync_directory(path.parent)


def make_folder_durably(path: Path, *, mode: int = 0o755) -> None:
    """Make the folder ``path`` and those above it that are missing, each name durable; those there are left alone.

    Args:
        path: Of the folder.
        mode: Of ``path`` alone; the others are made as 0755.
    """
    if path.is_dir():
        return
    make_folder_durably(path.parent)
    path.mkdir(mode=mode, exist_ok=True)
    sync_directory(path.parent)
