"""Later visits: the installer already at the site checks the new one and hands the command over to it.

The new installer is a signed target of the kit: once the signatures were judged, its digest is known.
It is copied off the medium first and the copy is checked while it is written, so that a medium that
answers differently the second time gains nothing; then it is executed with the same arguments, in the
same folder and environment. It judges the signatures again, and reads the bundle, which was not read yet.

Of the copies the site keeps two: the one that runs, and the newest. The first visit's file is
the person's own and is never touched.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from teraferry.bundles import layout
from teraferry.bundles.digest import Digest, StreamDigest
from teraferry.bundles.errors import BundleError, RefusedError, medium_unreadable
from teraferry.bundles.limits import MAX_INSTALLER_BYTES
from teraferry.bundles.system.durable import durable_replace
from teraferry.bundles.system.process import clean_environment
from teraferry.installer.program.unpacked import HANDED_OVER_BY, running_tree
from teraferry.keys.trusted import SignedFile, TrustedRelease

RUNNING_FILE: Final = "TERAFERRY_INSTALLER_FILE"
"""Set by the installer file's stub: the path of the installer file that runs now."""

HANDED_OVER: Final = "TERAFERRY_HANDED_OVER"
"""Set for the new installer: the digest it was checked against, so that it does not hand over again."""

COPIES: Final = "installers"
"""Folder in the state folder that holds the copies."""

_COPY_NAME: Final = re.compile(rf"{layout.INSTALLER}-[0-9a-f]{{16}}|\.{layout.INSTALLER}-[0-9a-f]{{16}}\.\d+\.part")
"""A copy, or what a power cut left of one."""

_PIECE_BYTES: Final = 1024 * 1024


def digest_of_file(path: Path) -> Digest:
    """Return the digest of a local file's bytes.

    Raises:
        OSError: It cannot be read.
    """
    stream = StreamDigest()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            stream.update(piece)
    return stream.digest()


def needs_handover(release: TrustedRelease, environment: Mapping[str, str]) -> bool:
    """Tell whether the kit brings another installer than the one that runs.

    Source code that runs unfrozen has no installer file and stays in charge. Asked again by the
    installer that was handed over to, the answer is no: two that differ would pass it on for ever.
    """
    running = environment.get(RUNNING_FILE)
    target = release.targets.get(layout.INSTALLER)
    if running is None or target is None or environment.get(HANDED_OVER) == target.digest:
        return False
    try:
        return digest_of_file(Path(running)) != target.digest
    except OSError:
        # It was started from a medium that is gone. Which one it was cannot be told; the signed one is right.
        return True


def take_over_copy(release: TrustedRelease, kit: Path, state: Path) -> Path:
    """Copy the kit's installer to the site, checking the copy as it is written, and return its path.

    A copy that is there already is used if it is still whole.

    Raises:
        BundleError: ``installer-differs``, 10: the bytes are not the signed ones; nothing is kept.
            ``medium-unreadable``, 11.
        RefusedError: ``installer-no-space``, 44.
    """
    target = release.targets[layout.INSTALLER]
    if target.length_bytes > MAX_INSTALLER_BYTES:
        raise _differs(kit, f"{target.length_bytes} bytes", f"at most {MAX_INSTALLER_BYTES}")
    folder = state / COPIES
    copy = folder / f"{layout.INSTALLER}-{target.digest.removeprefix('sha256:')[:16]}"
    if copy.is_file() and digest_of_file(copy) == target.digest:
        return copy
    descriptor = _open(kit / layout.INSTALLER, kit)
    with os.fdopen(descriptor, "rb") as source:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with durable_replace(copy, mode=0o700) as sink:
                for piece in _signed_pieces(source.fileno(), target, kit):
                    sink.write(piece)
        except OSError as error:
            raise RefusedError(
                "installer-no-space",
                f"installer {copy}: {error.strerror}, expected room for {target.length_bytes} bytes",
                hint="Free that much there, then type the same command again.",
                exit_status=44,
                facts={"path": str(copy), "needed_bytes": target.length_bytes},
            ) from error
    return copy


def forget_old_copies(copy: Path, environment: Mapping[str, str]) -> None:
    """Remove the copies of earlier visits beside ``copy``, but the one that runs; the caller holds the site lock."""
    kept = {copy, Path(environment.get(RUNNING_FILE, copy))}
    for path in sorted(copy.parent.iterdir()):
        if path not in kept and _COPY_NAME.fullmatch(path.name):
            # All that a copy costs is room; the install does not depend on it.
            with suppress(OSError):
                path.unlink()


def hand_over(copy: Path, digest: Digest, arguments: Sequence[str]) -> None:
    """Replace this process by the installer ``copy``; returns never.

    The site lock goes with this process's open files; the new one takes it anew.

    Raises:
        OSError: The shell could not be started.
    """
    told = {HANDED_OVER: digest, HANDED_OVER_BY: str(running_tree() or "")}
    os.execve("/bin/sh", ["sh", str(copy), *arguments], clean_environment(told))  # noqa: S606 - that is the point


def _signed_pieces(descriptor: int, target: SignedFile, kit: Path) -> Iterator[bytes]:
    """Yield the file's bytes; raises after the last one if they are not the signed ones."""
    stream = StreamDigest()
    while stream.length_bytes <= target.length_bytes:
        try:
            piece = os.read(descriptor, _PIECE_BYTES)
        except OSError as error:
            raise medium_unreadable(kit / layout.INSTALLER, error) from error
        if not piece:
            break
        stream.update(piece)
        yield piece
    if (stream.length_bytes, stream.digest()) != (target.length_bytes, target.digest):
        raise _differs(kit, stream.digest(), target.digest)


def _open(path: Path, kit: Path) -> int:
    try:
        # O_NONBLOCK: opening a pipe must not wait for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _differs(kit, "a link", "a regular file") from error
        raise medium_unreadable(path, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _differs(kit, "a folder, pipe or device", "a regular file")
    return descriptor


def _differs(kit: Path, found: str, expected: str) -> BundleError:
    return BundleError(
        "installer-differs",
        f"installer in {kit}: {found}, expected {expected} as signed",
        hint="Ask for a new copy of the kit. The installer at this site was not replaced.",
        facts={"found": found, "expected": expected},
    )
