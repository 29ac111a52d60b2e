"""The kit folder while a build writes it: one build at a time, nothing half-done left behind.

Every file is written beside its place under a name with ``.part`` and renamed once it is on the disk; the bundle
comes last, so a folder with a bundle in it is a whole kit. A build that fails removes what it wrote; one that
was killed cannot, so the next build of that kit does.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from teraferry.bundles import layout
from teraferry.bundles.errors import BuildError, UsageError
from teraferry.bundles.system.durable import durable_replace, sync_directory

_PIECE_BYTES: Final = 4 * 1024 * 1024


@contextmanager
def claimed_kit(kit: Path, bundle: str) -> Iterator[None]:
    """Hold ``kit`` for one build of ``bundle``, made if it is not there, swept if a build was killed in it.

    Raises:
        UsageError: 2; ``kit-not-empty``, ``kit-signed`` or ``kit-not-a-folder``.
        BuildError: ``kit-busy``, 30.
    """
    made = not kit.is_dir()  # Ctrl-C may come at any moment from here on.
    descriptor = -1
    try:
        made = _make(kit)
        descriptor = os.open(kit, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        _lock(descriptor, kit)
        _require_ours(kit, bundle)
        for left in [item for item in kit.iterdir() if _is_part(item.name, bundle)]:
            left.unlink()
        yield
    except BaseException:
        if made:
            with suppress(OSError):  # Something is in it, or it was never made.
                (kit / layout.INSTALLER).unlink(missing_ok=True)
                kit.rmdir()
        raise
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def require_space(kit: Path, needed_bytes: int) -> None:
    """Refuse before the first byte what the disk could not hold.

    Raises:
        BuildError: ``no-space``, 30, with the bytes needed and free.
    """
    free_bytes = _free_bytes(kit)
    if free_bytes < needed_bytes:
        raise _no_space(kit, needed_bytes, free_bytes)


@contextmanager
def told_write_errors(kit: Path, needed_bytes: int) -> Iterator[None]:
    """Turn what the disk refuses while a build runs into an error a person can act on.

    Raises:
        BuildError: 30; ``no-space`` or ``kit-unwritable``.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(kit, needed_bytes, _free_bytes(kit)) from error
        is_fat = error.errno == errno.EFBIG
        raise BuildError(
            "kit-unwritable",
            f"kit {kit}: {error.strerror or error}, expected a disk that takes {needed_bytes} bytes",
            hint="Build onto a disk with ext4 or exFAT."
            if is_fat
            else "Check the disk and its permissions, or use -o.",
            facts={"kit": str(kit), "found": str(error.strerror or error)},
        ) from error


def copy_installer(installer: Path, kit: Path) -> None:
    """Put the installer file into ``kit``, durably.

    Raises:
        UsageError: ``installer-unreadable``, 2.
    """
    with durable_replace(kit / layout.INSTALLER, mode=0o755) as target:
        for piece in _pieces(installer):
            target.write(piece)


def _pieces(installer: Path) -> Iterator[bytes]:
    try:
        with installer.open("rb") as source:
            while piece := source.read(_PIECE_BYTES):
                yield piece
    except OSError as error:
        raise UsageError(
            "installer-unreadable",
            f"installer {installer}: {error.strerror or error}, expected a readable file",
            hint="Make it again with: teraferry freeze",
            facts={"installer": str(installer)},
        ) from error


def _make(kit: Path) -> bool:
    if kit.is_dir():
        return False
    try:
        kit.mkdir(parents=True)
        sync_directory(kit.parent)
    except FileExistsError as error:
        if kit.is_dir():
            return False  # Another build made it just now; the lock decides.
        raise _not_a_folder(kit, error) from error
    except OSError as error:
        raise _not_a_folder(kit, error) from error
    return True


def _not_a_folder(kit: Path, error: OSError) -> UsageError:
    return UsageError(
        "kit-not-a-folder",
        f"kit {kit}: {error.strerror or error}, expected a folder or a place for one",
        hint="Choose another folder with -o.",
        facts={"kit": str(kit)},
    )


def _lock(descriptor: int, kit: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BuildError(
            "kit-busy",
            f"kit {kit}: another build writes it, expected to be alone",
            hint="Wait until the other build ends, or choose another folder with -o.",
            facts={"kit": str(kit)},
        ) from error


def _require_ours(kit: Path, bundle: str) -> None:
    """Refuse a folder that holds anything but an earlier, unsigned build of the same bundle."""
    names = sorted(item.name for item in kit.iterdir() if not _is_part(item.name, bundle))
    if layout.METADATA_DIR in names or layout.CHECKSUMS in names:
        raise UsageError(
            "kit-signed",
            f"kit {kit}: signed already, expected a new folder or an unsigned kit",
            hint="Choose another folder with -o; a signed kit is never changed.",
            facts={"kit": str(kit)},
        )
    others = [name for name in names if name not in (bundle, layout.INSTALLER)]
    if others:
        raise UsageError(
            "kit-not-empty",
            f"kit {kit}: holds {', '.join(others[:5])}, expected nothing but {bundle} and {layout.INSTALLER}",
            hint="Choose another folder with -o.",
            facts={"kit": str(kit), "found": others},
        )


def _is_part(name: str, bundle: str) -> bool:
    """Tell whether ``name`` is what a killed build left of a file of this kit (``durable_replace``)."""
    return any(re.fullmatch(rf"\.{re.escape(whole)}\.\d+\.part", name) for whole in (bundle, layout.INSTALLER))


def _free_bytes(kit: Path) -> int:
    there = next(folder for folder in (kit, *kit.absolute().parents) if folder.exists())
    status = os.statvfs(there)
    return status.f_bavail * status.f_frsize


def _no_space(kit: Path, needed_bytes: int, free_bytes: int) -> BuildError:
    return BuildError(
        "no-space",
        f"kit {kit}: {free_bytes} bytes free, expected {needed_bytes}",
        hint=f"Free {max(1, needed_bytes - free_bytes)} bytes there, or choose another disk with -o.",
        facts={"kit": str(kit), "needed_bytes": needed_bytes, "free_bytes": free_bytes},
    )
