"""A file of the project, carried as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from teraferry.builder.sources.image import SourceBlob
from teraferry.builder.sources.oci_layout import not_found
from teraferry.bundles.digest import Digest, StreamDigest
from teraferry.bundles.system.read_once import open_once

_READ_BYTES: Final = 4 * 1024 * 1024
"""Large enough that SHA-256 runs without the interpreter's lock."""


def read_digest(path: Path, *, what: str) -> SourceBlob:
    """Return the file as a blob, named by the digest of what it holds now.

    Raises:
        BuildError: ``source-not-found``, 30.
    """
    _require_file(path, what)
    stream = StreamDigest()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_READ_BYTES):
            stream.update(piece)
    return SourceBlob(stream.digest(), stream.length_bytes, lambda: open_once(path))


def locked_file(path: Path, digest: Digest, *, what: str) -> SourceBlob:
    """Return the file as the blob that the lock names, unread: the writer refuses other bytes.

    Raises:
        BuildError: ``source-not-found``, 30.
    """
    _require_file(path, what)
    return SourceBlob(digest, path.stat().st_size, lambda: open_once(path))


def _require_file(path: Path, what: str) -> None:
    # A pipe or a device would be read once here and be empty, or never end, when it is packed.
    if not path.is_file():
        raise not_found(what, f"{path} is not a regular file, expected one")
