"""The site lock on this machine: one installer at a time, released by the kernel when it dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from teraferry.bundles.errors import RefusedError


@contextmanager
def site_lock(state: Path) -> Iterator[None]:
    """Hold the lock over the folder ``state``.

    The folder itself is locked, not a file in it: a refused command leaves nothing behind, and
    a killed one no stale lock. The descriptor is not inherited, so no child keeps it alive.

    Raises:
        RefusedError: ``locked``, 42, with the process that holds it.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(os.fstat(descriptor))
            raise RefusedError(
                "locked",
                f"state {state}: held by {holder}, expected no other installer",
                hint="Wait until it ends (`teraferry-installer status` shows it), then type the same command again.",
                exit_status=42,
                facts={"state": str(state), "holder": holder},
            ) from None
        yield
    finally:
        os.close(descriptor)


def _holder(folder: os.stat_result) -> str:
    # Another file system may have the same inode number: a person must not end the wrong process.
    name = f"{os.major(folder.st_dev):02x}:{os.minor(folder.st_dev):02x}:{folder.st_ino}"
    try:
        rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return "another process"
    owners = [row[4] for row in rows if len(row) > 5 and row[1] == "FLOCK" and row[5] == name]
    return f"process {owners[0]}" if owners else "another process"
