"""Read the bytes of a site file, from a place that only root can write and that no kit came with.

The file is opened once, part by part of its path, and judged by the open descriptors: what
was checked is what is read, whoever renames things meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from teraferry.bundles.errors import Fact, UsageError
from teraferry.bundles.limits import MAX_SITE_TOML_BYTES
from teraferry.installer.site.mounts import MOUNT_TABLE, OWNERLESS, is_removable, mount_of, parse_mounts

ROOT_UID: Final = 0

SYSTEM_FOLDERS: Final = ("/", "/etc", "/usr", "/var", "/opt", "/srv", "/home", "/root", "/tmp", "/var/tmp")  # noqa: S108
"""Folders of the machine itself (FHS 3.0): a file system that holds one is not a medium."""


def read_site_file(path: Path, *, kit: Path | None) -> bytes:
    """Return the bytes of the site file at ``path``.

    Args:
        path: Of the file; no part of it may be a link.
        kit: The kit of this run, or a file in it; None when there is none.

    Raises:
        UsageError: 2; ``site-missing``, ``site-unreadable``, ``site-link``, ``site-not-a-file``,
            ``site-owner``, ``site-writable``, ``site-file-on-medium`` or ``site-too-large``.
    """
    # Links are refused below, so taking ".." away by its letters alone is what the kernel would do.
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow the links
    try:
        with ExitStack() as stack:
            way = _open_way(stack, absolute)
            # Told first: on a stick, "chown root" would be the wrong thing to type.
            _require_not_on_medium(absolute, os.fstat(way[-2][1]).st_dev, kit)
            for part, descriptor in way:
                _require_root_only(descriptor, part)
            content = _read(way[-1][1])
    except OSError as error:
        raise _unreadable(absolute, error) from error
    if len(content) > MAX_SITE_TOML_BYTES:
        raise _refused(
            "site-too-large",
            absolute,
            f"more than {MAX_SITE_TOML_BYTES} bytes, expected a few thousand",
            hint=f"Look whether {absolute} really is the site file.",
        )
    return content


def _open_way(stack: ExitStack, path: Path) -> list[tuple[Path, int]]:
    """Return each part of the way to ``path`` with an open descriptor, from / to the file itself."""
    way = [(Path("/"), _open(stack, Path("/"), None, os.O_DIRECTORY))]
    for part in path.parts[1:-1]:
        shown, here = way[-1][0] / part, way[-1][1]
        way.append((shown, _open(stack, shown, here, os.O_DIRECTORY)))
    folder = way[-1][1]
    # A named pipe would hold us for ever; a device would do what it does when opened.
    file = _open(stack, path, folder, os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise _refused("site-not-a-file", path, "not a regular file, expected one", hint="Name the site file.")
    return [*way, (path, file)]


def _open(stack: ExitStack, path: Path, folder: int | None, flags: int) -> int:
    # The last part of ``path``, in ``folder``. The kernel refuses a link in the same moment as it
    # opens; a check of ours before that would leave a gap to swap the name in.
    name = path.name or "/"
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=folder)
    except OSError as error:
        # With O_DIRECTORY Linux says ENOTDIR of a link, without it ELOOP.
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and path.is_symlink():
            raise _refused(
                "site-link",
                path,
                "a symbolic link, expected the place itself",
                hint=f"Name the real path, which this prints: realpath {path}",
            ) from None
        raise
    stack.callback(os.close, descriptor)
    return descriptor


def _require_root_only(descriptor: int, path: Path) -> None:
    status = os.fstat(descriptor)
    if status.st_uid != ROOT_UID:
        raise _refused(
            "site-owner",
            path,
            f"owned by user {status.st_uid}, expected root",
            hint=f"Read the site file to see that nobody changed it. Then type: sudo chown root {path}",
            facts={"owner": status.st_uid},
        )
    # With an access list the group bits are its mask, so a user it lets write shows here as well.
    writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    # In a sticky folder (/tmp) others may add names, but neither rename nor remove root's.
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if writable and not sticky:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise _refused(
            "site-writable",
            path,
            f"mode {mode}, which others than root may write, expected root alone",
            hint=f"Read the site file to see that nobody changed it. Then type: sudo chmod go-w {path}",
            facts={"mode": mode},
        )


def _require_not_on_medium(path: Path, device: int, kit: Path | None) -> None:
    reason = _medium_reason(path, device, kit)
    if reason:
        raise _refused(
            "site-file-on-medium",
            path,
            f"{reason}, expected a place of this machine",
            hint="A site file describes the site and is written there; one that came with a kit is never read. "
            "Write it by hand as /etc/teraferry/site.toml.",
        )


def _medium_reason(path: Path, device: int, kit: Path | None) -> str:
    system_devices = {os.stat(folder).st_dev for folder in SYSTEM_FOLDERS if os.path.isdir(folder)}  # noqa: PTH112, PTH116
    if kit is not None:
        real = kit.resolve()
        folder = real if real.is_dir() else real.parent
        if folder == path.parent or folder in path.parents:
            return f"inside the kit {folder}"
        if folder.is_dir() and folder.stat().st_dev == device and device not in system_devices:
            return f"on the same medium as the kit {folder}"
    if device in system_devices:
        return ""
    mount = mount_of(path, parse_mounts(MOUNT_TABLE.read_text("utf-8", "surrogateescape")))
    if mount is None:
        return "on a file system that the mount table does not name"
    if mount.kind in OWNERLESS:
        return f"on {mount.point}, a {mount.kind} file system, which keeps no owners"
    return f"on {mount.point}, a device that can be pulled out" if is_removable(mount.device) else ""


def _read(file: int) -> bytes:
    pieces, length = [], 0
    while length <= MAX_SITE_TOML_BYTES:
        piece = os.read(file, MAX_SITE_TOML_BYTES + 1 - length)
        if not piece:
            break
        pieces.append(piece)
        length += len(piece)
    return b"".join(pieces)


def _unreadable(path: Path, error: OSError) -> UsageError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return _refused(
            "site-missing",
            path,
            "not there, expected the site file",
            hint=f"Write {path}, or name another one with --site FILE.",
        )
    return _refused(
        "site-unreadable",
        path,
        f"{error.strerror}, expected to read it",
        hint="Run the command as root: sudo teraferry-installer ...",
    )


def _refused(reference: str, path: Path, found: str, *, hint: str, facts: dict[str, Fact] | None = None) -> UsageError:
    return UsageError(reference, f"site file {path}: {found}", hint=hint, facts={"file": str(path), **(facts or {})})
