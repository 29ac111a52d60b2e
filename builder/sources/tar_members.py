"""A tar archive as a table of contents: which regular file lies at which bytes. Nothing is extracted.

A blob is then a bounded view into the archive, so a 20 GB ``docker save`` needs no second copy on the
disk, and no name in it ever becomes a path.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from teraferry.builder.sources.image import malformed
from teraferry.builder.sources.oci_layout import not_found
from teraferry.bundles.errors import BuildError
from teraferry.bundles.limits import MAX_ENTRIES

_COMPRESSED: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file in an archive."""

    archive: Path
    offset_bytes: int
    length_bytes: int

    def open(self) -> BinaryIO:
        """Return a readable view of just these bytes."""
        return cast(BinaryIO, _Slice(self.archive, self.offset_bytes, self.length_bytes))

    def read(self, limit_bytes: int) -> bytes:
        """Return at most ``limit_bytes`` of the start."""
        with self.open() as file:
            return file.read(min(limit_bytes, self.length_bytes))


class _Slice(io.RawIOBase):
    """Bytes ``offset`` to ``offset + length`` of a file, from front to back."""

    def __init__(self, path: Path, offset_bytes: int, length_bytes: int) -> None:
        super().__init__()
        self._file = path.open("rb", buffering=0)
        self._file.seek(offset_bytes)
        self._left = length_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))[: self._left]
        count = self._file.readinto(view)
        self._left -= count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def read_members(archive: Path, *, what: str) -> Mapping[str, Member]:
    """Return every regular file in ``archive`` by its name, and links to one under their own names.

    An old ``docker save`` links a layer that two images share. Such a link is followed once and by
    name inside the archive; it never reaches the file system.

    Raises:
        BuildError: 30; ``source-not-found``, ``source-compressed`` or ``source-malformed``.
    """
    _require_plain_tar(archive, what)
    members: dict[str, Member] = {}
    links: dict[str, str] = {}
    try:
        with tarfile.open(archive, "r:") as tar:
            for count, item in enumerate(tar, start=1):
                if count > MAX_ENTRIES:
                    raise malformed(what, f"more than {MAX_ENTRIES} members, expected at most that many")
                name = posixpath.normpath(item.name)
                if item.isreg() and not item.issparse():
                    members[name] = Member(archive, item.offset_data, item.size)
                elif item.issym():
                    links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), item.linkname))
                elif item.islnk():
                    links[name] = posixpath.normpath(item.linkname)
    except tarfile.TarError as error:
        raise malformed(what, f"{archive}: {error}, expected what docker save writes") from error
    return members | {name: members[target] for name, target in links.items() if target in members}


def _require_plain_tar(archive: Path, what: str) -> None:
    if not archive.is_file():
        raise not_found(what, f"{archive} is not a regular file, expected what docker save writes")
    with archive.open("rb") as file:
        start = file.read(6)
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            raise BuildError(
                "source-compressed",
                f"{what}: {archive} is compressed with {name}, expected the plain file docker save writes",
                hint=f"Unpack it first, for example: {name} -d {archive}",
                facts={"source": what, "found": name},
            )
