"""A bundle on our own disk, before anyone signed it: where its index begins and what its digests are.

A kit holds no note of where the index begins; only a signature says so at the site. Here it is found again
from the bytes: the index is the last entry, its member begins with bytes that the format fixes entirely, and
they are sought from the end. What is found counts only if it is consistent with every other byte: entries that
lie one after the other up to it, and the digest of every chunk before it. So a blob that imitates the index,
or a bundle that was cut or changed since it was built, is refused here and never reaches a signer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from teraferry.bundles import layout
from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.digest import Digest, StreamDigest, digest_of
from teraferry.bundles.errors import BundleError
from teraferry.bundles.gzip_member import GZIP_HEADER, block_header
from teraferry.bundles.index import SignedBundle
from teraferry.bundles.limits import CHUNK_BYTES, MAX_INDEX_PLAIN_BYTES, MAX_MANIFEST_BYTES
from teraferry.bundles.manifest import Manifest, parse_manifest
from teraferry.bundles.progress import Progress, Silent
from teraferry.bundles.tar_header import BLOCK_BYTES

_INDEX_START: Final = GZIP_HEADER + block_header(BLOCK_BYTES, final=True) + layout.INDEX.encode() + b"\0"
"""The first bytes of the index member: stored, one block, a tar header that begins with the entry's name."""

_FIRST_WINDOW_BYTES: Final = 1024 * 1024
"""Holds the index of a bundle of some 3,000 entries or 40 GiB."""

_UNKNOWN: Final = "sha256:" + "0" * 64
_BUILD_AGAIN: Final = "Build the kit again: teraferry build"


@dataclass(frozen=True, slots=True)
class BuiltBundle:
    """What a signature will say of a bundle, and what it holds."""

    length_bytes: int
    digest: Digest  # of the whole file
    index_offset_bytes: int
    index_digest: Digest  # of the raw compressed bytes from the index member to the end
    manifest: Manifest


def describe_bundle(path: Path, *, progress: Progress | None = None) -> BuiltBundle:
    """Return what there is to sign of the bundle at ``path``; every byte of it is read and compared.

    1. The index is found from the end.
    2. The index is of the format, and its entries lie one after the other from the first byte up to it.
    3. The whole file is digested; then every chunk and tar header is compared, and the whole again.
    4. The manifest is read from verified chunks.

    Raises:
        BundleError: 10 or 11; ``index-missing`` or see ``BundleReader``.
    """
    told = progress or Silent()
    claim = _claim(path, _UNKNOWN)  # 1
    told.start("digest", total_bytes=claim.length_bytes, detail=path.name)
    claim = _claim(path, _digest_file(path, told))
    with BundleReader(path, claim) as reader:  # 2
        told.start("check", total_bytes=claim.length_bytes, detail=path.name)
        reader.verify_whole(told)  # 3
        manifest = parse_manifest(reader.read_entry(layout.MANIFEST, limit_bytes=MAX_MANIFEST_BYTES))  # 4
    return BuiltBundle(
        length_bytes=claim.length_bytes,
        digest=claim.digest,
        index_offset_bytes=claim.index_offset_bytes,
        index_digest=claim.index_digest,
        manifest=manifest,
    )


def read_unsigned_manifest(path: Path) -> tuple[Manifest, int]:
    """Return the manifest and the length in bytes of a bundle nobody vouches for; few bytes are read.

    Raises:
        BundleError: 10 or 11; ``index-missing`` or see ``BundleReader``.
    """
    claim = _claim(path, _UNKNOWN)
    with BundleReader(path, claim) as reader:
        manifest = parse_manifest(reader.read_entry(layout.MANIFEST, limit_bytes=MAX_MANIFEST_BYTES))
    return manifest, claim.length_bytes


def _claim(path: Path, digest: Digest) -> SignedBundle:
    """Return what the file says of itself, in the shape a reader takes; nothing here was signed."""
    try:
        with path.open("rb") as file:
            length = file.seek(0, 2)
            tail = _read_tail(file, length)
    except OSError as error:
        raise BundleError(
            "medium-unreadable",
            f"bundle {path}: {error}, expected a readable file",
            hint="Check the medium and the file's permissions, then type the same command again.",
            exit_status=11,
            facts={"file": str(path)},
        ) from error
    found = tail.rfind(_INDEX_START)
    if found < 0:
        raise BundleError(
            "index-missing",
            f"bundle {path}: no {layout.INDEX} at its end, expected a whole bundle of format 1",
            hint=_BUILD_AGAIN,
            facts={"file": str(path)},
        )
    return SignedBundle(
        name=path.name,
        length_bytes=length,
        digest=digest,
        format=1,
        product="",
        version="",
        sequence=0,
        index_offset_bytes=length - len(tail) + found,
        index_digest=digest_of(tail[found:]),
        signed_at=datetime.fromtimestamp(0, UTC),
    )


def _read_tail(file: BinaryIO, length_bytes: int) -> bytes:
    """Return the end of the file, far enough back to hold the index; most indexes are small."""
    tail = b""
    for window_bytes in (_FIRST_WINDOW_BYTES, MAX_INDEX_PLAIN_BYTES):
        file.seek(max(0, length_bytes - window_bytes))
        tail = file.read(window_bytes)
        if _INDEX_START in tail:
            break
    return tail


def _digest_file(path: Path, progress: Progress) -> Digest:
    stream = StreamDigest()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(CHUNK_BYTES):
            stream.update(piece)
            progress.advance(len(piece))
    return stream.digest()
