"""Bring one file over that replication dropped: by replication itself, under a name of its own, then moved into place.

``filer.sync`` carries changes, and there is none any more for this file: the source lost it from its log, or it was
counted as processed without its bytes. Touching the file would make a change, but where the other cluster holds an
older version that its own client wrote, ``filer.sync`` would then give it the new date and leave the old bytes. So the
file is copied on the source, which is a change like that of any new file; the copy arrives whole, and one move puts it
into the place of what was judged a moment before. The move is signed as the source's, so it does not come back.

A client that writes the same path on the other cluster between that look and the move, about a millisecond, is
overwritten, as by any two writers of one path.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from teraferry.installer.adapters.cluster.seaweedfs_rpc import CallFailedError
from teraferry.installer.adapters.replicator.seaweedfs_filer import Filer


def send(path: str, filers: tuple[Filer, Filer], *, folder: str, pause: Callable[[], None]) -> None:
    """Put what the first filer holds under ``path`` on the second one. A kill leaves a copy that the next call uses.

    Args:
        path: A file or a directory that the second one lacks, or holds in an older version.
        filers: The source and the other.
        folder: A replicated folder for the copy.
        pause: Called while the copy is on its way; gives up by raising.

    Raises:
        CallFailedError: A filer did not do it; ``path`` is as before, or done.
    """
    source, other = filers
    version = source.lookup(path)
    if version is None or version.same_bytes(other.lookup(path)):
        return
    if version.is_directory:
        other.make_directory(path)
        return
    before = other.lookup(path)
    # Named by the version: a copy that a kill left behind is of just this one, or has another name.
    copy = f"{folder}/{sha256(f'{version.modified_ns} {path}'.encode()).hexdigest()}"
    if not version.same_bytes(source.lookup(copy)):
        source.copy(path, copy)
    while not version.same_bytes(other.lookup(copy)):
        pause()
    if other.lookup(path) != before:
        raise CallFailedError(f"{other.address} {path}: somebody wrote it just now")
    other.move(copy, path, as_from=source.signature())
    source.delete(copy)
