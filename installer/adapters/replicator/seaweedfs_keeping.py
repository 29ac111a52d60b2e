"""Both versions of a path in conflict, kept in the replicated folder ``.teraferry/kept``.

``/data/a/b.txt`` is kept as ``/data/.teraferry/kept/a/b.txt/blue-<nanoseconds>`` and ``.../green-<nanoseconds>``, named
by the cluster whose client wrote it and when. A person copies the right one over the path, and deletes the folder;
nothing of ours ever does.

A version that one of the clusters still serves is copied there. One that was replaced already is read from its
cluster's volumes, which keep deleted bytes until they are vacuumed. Where that has happened, the kept file says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from teraferry.installer.adapters.cluster.seaweedfs_rpc import CallFailedError
from teraferry.installer.adapters.replicator.seaweedfs_comparing import Comparing
from teraferry.installer.adapters.replicator.seaweedfs_filer import Filer
from teraferry.installer.adapters.replicator.seaweedfs_judging import Change, Version

GONE: Final = b"This version was overwritten, and its bytes are gone from the volumes.\n"
MD5: Final = re.compile(r"[0-9a-f]{32}\Z")


def keep_served(comparing: Comparing, filer: Filer, path: str, writer: str) -> None:
    """Let ``filer`` copy what it serves under ``path``, once for each version.

    Raises:
        CallFailedError: It could not be kept.
    """
    version = filer.lookup(path)
    if version is None or version.is_directory:
        return
    target = _target(comparing, path, f"{writer}-{version.modified_ns}")
    if filer.lookup(target) is None:
        filer.copy(path, target)


def keep_write(comparing: Comparing, filers: Sequence[Filer], path: str, writer: str, change: Change) -> None:
    """Keep what one client wrote, wherever it still is; a deletion leaves nothing to keep.

    Args:
        comparing: Knows where our own files are.
        filers: The writer's cluster and the other.
        path: What was written.
        writer: "blue" or "green".
        change: The line of the writer's log.

    Raises:
        CallFailedError: A filer does not do it.
    """
    version = change.version
    if version is None or version.is_directory:
        return
    target = _target(comparing, path, f"{writer}-{version.modified_ns}")
    if any(filer.lookup(target) or filer.lookup(f"{target}-gone") for filer in filers):
        return
    for filer in filers:
        if version.same_bytes(filer.lookup(path)):
            filer.copy(path, target)
            # A client may have written in between: then it is another version that was copied.
            if version.same_bytes(filer.lookup(target)):
                return
            filer.delete(target)
    try:
        _rescue(filers[0], change, version, target)
    except CallFailedError:
        filers[0].delete(target)
        filers[0].write(f"{target}-gone", GONE)


def kept_among(comparing: Comparing, filers: Sequence[Filer], paths: frozenset[str]) -> frozenset[str]:
    """Return those of ``paths`` of which every filer holds kept copies of all that any of them serves.

    Raises:
        CallFailedError: It could not be told.
    """
    if not all(any(filer.names(f"{comparing.own_folder}/kept")) for filer in filers):
        return frozenset()
    return frozenset(path for path in paths if _is_kept(comparing, filers, path))


def _is_kept(comparing: Comparing, filers: Sequence[Filer], path: str) -> bool:
    folder = folder_of(comparing, path)
    kept = [[filer.lookup(f"{folder}/{name}") for name, _ in filer.names(folder)] for filer in filers]
    if not all(kept):
        return False
    served = [version for filer in filers if (version := filer.lookup(path)) is not None]
    return all(any(version.same_bytes(copy) for copy in copies) for version in served for copies in kept)


def kept_conflicts(comparing: Comparing, *filers: Filer) -> Sequence[str]:
    """Return every path with a kept version on any of the filers, and where that is."""
    found = {path for filer in filers for path in _kept_below(comparing, filer, "")}
    return [f"{path}: both versions in {folder_of(comparing, path)}" for path in sorted(found)]


def folder_of(comparing: Comparing, path: str) -> str:
    """Return where the versions of ``path`` are kept."""
    return f"{comparing.own_folder}/kept/{path.removeprefix(comparing.path).lstrip('/')}"


def _target(comparing: Comparing, path: str, name: str) -> str:
    return f"{folder_of(comparing, path)}/{name}"


def _kept_below(comparing: Comparing, filer: Filer, inner: str) -> Iterator[str]:
    for name, is_directory in filer.names(f"{comparing.own_folder}/kept{inner}"):
        if is_directory:
            yield from _kept_below(comparing, filer, f"{inner}/{name}")
        else:
            yield f"{comparing.path.rstrip('/')}{inner}"


def _rescue(filer: Filer, change: Change, version: Version, target: str) -> None:
    """Write ``target`` from the bytes that its cluster's volumes still hold."""
    if change.inline:
        filer.write(target, change.inline)
    else:
        end = 0
        for piece in change.pieces:
            if not piece.is_plain or piece.offset != end:
                raise CallFailedError(f"{target}: its pieces overlap, are encrypted or too many to be put together")
            end += piece.size_bytes
        if end != version.size_bytes:
            raise CallFailedError(f"{target}: {end} bytes in its pieces, expected {version.size_bytes}")
        filer.write(target, (filer.read_deleted(piece) for piece in change.pieces), size_bytes=end)
    written = filer.lookup(target)
    # Without an MD5 of the whole, all that can be compared is the size.
    comparable = MD5.match(version.content) is not None
    if written is None or written.size_bytes != version.size_bytes or (comparable and not version.same_bytes(written)):
        raise CallFailedError(f"{target}: other bytes than were written")
