"""Read a kit's ``metadata/`` from a medium that may be hostile: capped, and only regular files.

Nothing is parsed here. A link on the medium could point at any file of the site and a device
could never end, so neither is followed nor opened for reading.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from teraferry.bundles import layout
from teraferry.bundles.errors import TrustError, medium_unreadable
from teraferry.bundles.limits import (
    MAX_METADATA_BYTES,
    MAX_ROOT_METADATA_BYTES,
    MAX_ROOT_ROTATIONS,
    MAX_SNAPSHOT_BYTES,
    MAX_TIMESTAMP_BYTES,
)
from teraferry.keys.trusted import MetadataFiles


def read_metadata(kit: Path, *, after_root: int) -> MetadataFiles:
    """Return the metadata files of ``kit``; what is missing is None.

    Args:
        kit: The kit folder.
        after_root: Version of the pinned root; only later ones are looked for.

    Raises:
        TrustError: ``metadata-not-a-file``, 24; ``metadata-too-large``, 24.
        BundleError: ``medium-unreadable``, 11.
    """
    folder = kit / layout.METADATA_DIR
    if folder.is_symlink():
        raise _not_a_file(folder)
    roots: dict[int, bytes] = {}
    # Past a gap, and one past the most that are followed: what is there and cannot be followed must refuse.
    for version in range(after_root + 1, after_root + 2 + MAX_ROOT_ROTATIONS):
        content = read_capped(folder / layout.root_name(version), limit_bytes=MAX_ROOT_METADATA_BYTES)
        if content is not None:
            roots[version] = content
    return MetadataFiles(
        roots=roots,
        timestamp=read_capped(folder / layout.TIMESTAMP, limit_bytes=MAX_TIMESTAMP_BYTES),
        snapshot=read_capped(folder / layout.SNAPSHOT, limit_bytes=MAX_SNAPSHOT_BYTES),
        targets=read_capped(folder / layout.TARGETS, limit_bytes=MAX_METADATA_BYTES),
    )


def read_capped(path: Path, *, limit_bytes: int) -> bytes | None:
    """Return the bytes of a small regular file, or None when nothing of that name is there.

    Args:
        path: File on the medium; the last component is never followed as a link.
        limit_bytes: Longest file that is read (inclusive).

    Raises:
        TrustError: ``metadata-not-a-file``, 24; ``metadata-too-large``, 24.
        BundleError: ``medium-unreadable``, 11.
    """
    try:
        # O_NONBLOCK: opening a pipe must not wait for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise _not_a_file(path) from error
        raise medium_unreadable(path, error) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _not_a_file(path)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(limit_bytes + 1)
    except OSError as error:
        raise medium_unreadable(path, error) from error
    finally:
        os.close(descriptor)
    if len(content) > limit_bytes:
        raise TrustError(
            "metadata-too-large",
            f"metadata {path.name}: more than {limit_bytes} bytes, expected at most {limit_bytes}",
            hint="This is no file that TeraFerry wrote: ask the release's owner for another kit.",
            exit_status=24,
            facts={"file": path.name, "limit_bytes": limit_bytes},
        )
    return content


def _not_a_file(path: Path) -> TrustError:
    return TrustError(
        "metadata-not-a-file",
        f"metadata {path.name}: a link, folder or device, expected a regular file",
        hint="Somebody changed this kit: do not use it, and ask the release's owner for another one.",
        exit_status=24,
        facts={"file": path.name},
    )
