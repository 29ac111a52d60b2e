"""Later visits: the installer already at the site checks the new one and hands the command over to it.

The new installer is a signed target of the kit. It is copied off the medium first and the copy
is checked while it is written, so that a medium that answers differently the second time gains
nothing; then it is executed with the same arguments.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from teraferry.bundles import layout
from teraferry.bundles.digest import Digest, StreamDigest
from teraferry.bundles.errors import BundleError
from teraferry.bundles.limits import MAX_INSTALLER_BYTES
from teraferry.bundles.system.durable import durable_replace
from teraferry.bundles.system.process import clean_environment
from teraferry.keys.trusted import TrustedRelease

RUNNING_FILE = "TERAFERRY_INSTALLER_FILE"
"""Set by the installer file's stub: the path of the installer file that runs now."""

HANDED_OVER = "TERAFERRY_HANDED_OVER"
"""Set for the new installer: the digest it was checked against, so that it does not hand over again."""

_PIECE_BYTES = 1024 * 1024

_INHERITED = ("DEPLOYMENT_TIER", "NO_COLOR", "TERM", "TERAFERRY_HOME")


def digest_of_file(path: Path) -> Digest:
    """Return the digest of a local file's bytes."""
    stream = StreamDigest()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            stream.update(piece)
    return stream.digest()


def needs_handover(release: TrustedRelease, environment: Mapping[str, str]) -> bool:
    """Tell whether the kit brings another installer than the one that runs.

    Source code that runs unfrozen has no installer file and stays in charge.
    """
    running = environment.get(RUNNING_FILE)
    target = release.targets.get(layout.INSTALLER)
    if running is None or target is None or environment.get(HANDED_OVER) == target.digest:
        return False
    return digest_of_file(Path(running)) != target.digest


def take_over_copy(release: TrustedRelease, kit: Path, state: Path) -> Path:
    """Copy the kit's installer to the site, checking the copy as it is written, and return its path.

    Raises:
        BundleError: ``installer-differs``, 10: the bytes are not the signed ones; nothing is kept.
            ``medium-unreadable``, 11.
    """
    target = release.targets[layout.INSTALLER]
    if target.length_bytes > MAX_INSTALLER_BYTES:
        raise _differs(kit, f"{target.length_bytes} bytes", f"at most {MAX_INSTALLER_BYTES}")
    folder = state / "installers"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = folder / f"{layout.INSTALLER}-{target.digest.removeprefix('sha256:')[:16]}"
    stream = StreamDigest()
    descriptor = _open(kit / layout.INSTALLER)
    with os.fdopen(descriptor, "rb") as source, durable_replace(copy, mode=0o700) as sink:
        while stream.length_bytes <= target.length_bytes and (piece := source.read(_PIECE_BYTES)):
            stream.update(piece)
            sink.write(piece)
        if (stream.length_bytes, stream.digest()) != (target.length_bytes, target.digest):
            raise _differs(kit, stream.digest(), target.digest)
    return copy


def hand_over(copy: Path, digest: Digest, arguments: Sequence[str]) -> None:
    """Replace this process by the installer ``copy``; returns never.

    Raises:
        OSError: The shell could not be started.
    """
    environment = clean_environment({**_inherited(), HANDED_OVER: digest})
    os.execve("/bin/sh", ["sh", str(copy), *arguments], environment)  # noqa: S606 - that is the point


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in _INHERITED}


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise BundleError(
            "medium-unreadable",
            f"installer {path}: {error.strerror}, expected a readable file",
            hint="Try the medium in another port, or ask for a new copy of the kit.",
            exit_status=11,
            facts={"file": str(path)},
        ) from error


def _differs(kit: Path, found: str, expected: str) -> BundleError:
    return BundleError(
        "installer-differs",
        f"installer in {kit}: {found}, expected {expected} as signed",
        hint="Ask for a new copy of the kit. The installer at this site was not replaced.",
        facts={"found": found, "expected": expected},
    )
