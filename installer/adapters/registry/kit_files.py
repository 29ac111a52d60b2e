"""Files of the kit's registry: read only where nobody but root had a hand in them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from teraferry.bundles.errors import RefusedError, UsageError
from teraferry.installer.kit_registry.certificates import UnfitCertificateError

MAX_FILE_BYTES: Final = 1024 * 1024
"""Certificates and keys are a few thousand bytes; a corporate CA's bundle is a few hundred thousand."""


def require_own_way(path: Path) -> None:
    """Check every part of the way to ``path``, itself too, as far as it is there.

    A link could lead the images to a disk that somebody unmounts, or a key to a folder that others read.

    Raises:
        UsageError: ``registry-place-unsafe``, 2.
    """
    for part in (*reversed(path.parents), path):
        try:
            status = part.lstat()
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unsafe(part, error.strerror or "not readable", "to look at it") from error
        if stat.S_ISLNK(status.st_mode):
            raise _unsafe(part, "a symbolic link", f"the place itself, which this prints: realpath {part}")
        if not stat.S_ISDIR(status.st_mode):
            raise _unsafe(part, "no folder", "a folder")
        if status.st_uid != 0:
            raise _unsafe(part, f"owned by user {status.st_uid}", f"root; type: chown root {part}")
        # In a sticky folder (/tmp) others may add names, but neither rename nor remove root's.
        if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
            mode = f"{stat.S_IMODE(status.st_mode):04o}"
            raise _unsafe(part, f"mode {mode}, which others may write", f"root alone; type: chmod go-w {part}")


def read_private(path: Path) -> bytes | None:
    """Return the bytes of a file that root alone can read; None when it is not there.

    Raises:
        UsageError: ``registry-key-exposed``, 2.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _exposed(path, "a link" if path.is_symlink() else error.strerror or "not readable") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _exposed(path, "not a regular file")
        if status.st_uid != 0 or status.st_mode & 0o077:
            raise _exposed(path, f"owned by user {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}")
        return file.read(MAX_FILE_BYTES)


def read_public(path: Path) -> bytes | None:
    """Return the bytes of a certificate's file; None when it is not there.

    Raises:
        UsageError: ``registry-certificate-unusable``, 2.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(path, UnfitCertificateError(error.strerror or "not readable")) from error


def unusable(path: Path, found: UnfitCertificateError) -> UsageError:
    """Return the refusal for a key or certificate that is there and will not do."""
    return UsageError(
        "registry-certificate-unusable",
        f"registry file {path}: {found}, expected what the installer made, or what fits the other files",
        hint="Bring it back from a backup. What is there is never replaced: docs/registry.md tells how to begin anew.",
        facts={"path": str(path)},
    )


def not_written(what: str, error: OSError) -> RefusedError:
    """Return the refusal for a file of the registry that this machine would not take."""
    return RefusedError(
        "registry-not-written",
        f"{what}: {error.strerror or error}, expected to write it",
        hint="Make room on that disk, or mount it writable, then type the same command again: it goes on from there.",
        exit_status=44,
        facts={"path": str(error.filename or "")},
    )


def _unsafe(part: Path, found: str, expected: str) -> UsageError:
    return UsageError(
        "registry-place-unsafe",
        f"registry place {part}: {found}, expected {expected}",
        hint=f"Set {part} right, or name another place in site.toml, then type the same command again.",
        facts={"path": str(part)},
    )


def _exposed(path: Path, found: str) -> UsageError:
    return UsageError(
        "registry-key-exposed",
        f"registry file {path}: {found}, expected a file of root's that nobody else can read",
        hint=f"Find out who could read it. Then type: chown root:root {path}; chmod 600 {path}",
        facts={"path": str(path)},
    )
