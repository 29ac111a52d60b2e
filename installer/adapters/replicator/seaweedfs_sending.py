"""Bring files over that replication dropped: by replication itself, under names of their own, then moved into place.

``filer.sync`` carries changes, and there is none any more for these files: the source lost it from its log, or it was
counted as processed without its bytes. Touching a file would make a change, but where the other cluster holds an
older version that its own client wrote, ``filer.sync`` would then give it the new date and leave the old bytes. So the
file is copied on the source, which is a change like that of any new file; the copy arrives whole, and one move puts it
into the place of what was there. The move is signed as the source's, so it does not come back.

A client that writes the same path on the other cluster between the last look and the move, about a millisecond, is
overwritten, as by any two writers of one path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256

from teraferry.installer.adapters.cluster.seaweedfs_rpc import CallFailedError
from teraferry.installer.adapters.replicator.seaweedfs_filer import Filer
from teraferry.installer.adapters.replicator.seaweedfs_judging import Version


@dataclass(frozen=True, slots=True)
class Sending:
    """One file on its way."""

    path: str
    copy: str  # on the source, and soon on the other
    version: Version
    replaces: Version | None  # what was on the other


def send(paths: Iterable[str], filers: tuple[Filer, Filer], *, folder: str, pause: Callable[[str], None]) -> None:
    """Put what the first filer holds under ``paths`` on the second one. A kill leaves copies that the next call uses.

    Args:
        paths: Files and directories that the second one lacks, or holds in an older version.
        filers: The source and the other.
        folder: A replicated folder for the copies.
        pause: Called while a copy is on its way, with its path; gives up by raising.

    Raises:
        CallFailedError: A filer did not do it; what was not sent is as before.
    """
    source, other = filers
    # All copies are made before the first is waited for: they travel together.
    under_way = [each for path in paths if (each := _begin(path, source, other, folder)) is not None]
    signature = source.signature()
    for sending in under_way:
        while not sending.version.same_bytes(other.lookup(sending.copy)):
            pause(sending.path)
        if other.lookup(sending.path) != sending.replaces:
            raise CallFailedError(f"{other.address} {sending.path}: somebody wrote it just now")
        other.move(sending.copy, sending.path, as_from=signature)
        source.delete(sending.copy)


def _begin(path: str, source: Filer, other: Filer, folder: str) -> Sending | None:
    version, replaces = source.lookup(path), other.lookup(path)
    if version is None or version.same_bytes(replaces):
        return None
    if version.is_directory:
        other.make_directory(path)
        return None
    # Named by the version: a copy that a kill left behind is of just this one, or has another name.
    copy = f"{folder}/{sha256(f'{version.modified_ns} {path}'.encode()).hexdigest()}"
    if not version.same_bytes(source.lookup(copy)):
        source.copy(path, copy)
    return Sending(path, copy, version, replaces)
