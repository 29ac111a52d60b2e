"""A bundle on our own disk, before anyone signed it: where its index begins and what its digests are.

A kit holds no note of where the index begins; only a signature says so at the site. Here it is found again
from the bytes: the index is the last entry, its member begins with bytes that the format fixes entirely, and
they are sought from the end. What is found counts only if it is consistent with every other byte: entries that
lie one after the other up to it, the digest of every chunk before it, and every entry read to its own digest
within the limits. So a blob that imitates the index, a bundle that was cut or changed since it was built, and
one that a site would refuse for what is in it, are refused here and never get a signature.

Each signer's run does all of it, in one pass. A second signer could be spared what the first one's found only by
believing the first one, and k people sign so that nobody has to.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from teraferry.bundles import layout
from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.errors import BundleError, medium_unreadable
from teraferry.bundles.gzip_member import GZIP_HEADER, block_header
from teraferry.bundles.index import SignedBundle
from teraferry.bundles.limits import MAX_INDEX_PLAIN_BYTES, MAX_MANIFEST_BYTES
from teraferry.bundles.manifest import Manifest, parse_manifest
from teraferry.bundles.manifest_check import require_held
from teraferry.bundles.progress import Progress, Silent
from teraferry.bundles.tar_header import BLOCK_BYTES

_INDEX_START: Final = GZIP_HEADER + block_header(BLOCK_BYTES, final=True) + layout.INDEX.encode() + b"\0"
"""The first bytes of the index member: stored, one block, a tar header that begins with the entry's name."""

_FIRST_WINDOW_BYTES: Final = 1024 * 1024
"""Holds the index of a bundle of some 3,000 entries or 40 GiB."""

_UNKNOWN: Final = "sha256:" + "0" * 64
"""Stands where the digest of the whole file will be, once it was read."""

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
    """Return what there is to sign of the bundle at ``path``; every byte of it is read once and compared.

    1. The index is found from the end.
    2. The index is of the format, and its entries lie one after the other from the first byte up to it.
    3. Every chunk, tar header and content is compared; the whole file is digested from the same bytes.
    4. The manifest is read from verified chunks, and the bundle holds what it names.

    Raises:
        BundleError: 10 or 11; ``index-missing``, or see ``BundleReader`` and ``require_held``.
    """
    told = progress or Silent()
    claim = _claim(path)  # 1
    with BundleReader(path, claim) as reader:  # 2
        told.start("check", total_bytes=claim.length_bytes, detail=path.name)
        digest = reader.verify_contents(told)  # 3
        manifest = parse_manifest(reader.read_entry(layout.MANIFEST, limit_bytes=MAX_MANIFEST_BYTES))  # 4
        require_held(manifest, reader, file=str(path))
    return BuiltBundle(
        length_bytes=claim.length_bytes,
        digest=digest,
        index_offset_bytes=claim.index_offset_bytes,
        index_digest=claim.index_digest,
        manifest=manifest,
    )


def read_unsigned_manifest(path: Path) -> tuple[Manifest, int]:
    """Return the manifest and the length in bytes of a bundle nobody vouches for; few bytes are read.

    Raises:
        BundleError: 10 or 11; ``index-missing`` or see ``BundleReader``.
    """
    claim = _claim(path)
    with BundleReader(path, claim) as reader:
        manifest = parse_manifest(reader.read_entry(layout.MANIFEST, limit_bytes=MAX_MANIFEST_BYTES))
    return manifest, claim.length_bytes


def _claim(path: Path) -> SignedBundle:
    """Return what the file says of itself, in the shape a reader takes; nothing here was signed."""
    try:
        with path.open("rb") as file:
            length = file.seek(0, 2)
            tail = _read_tail(file, length)
    except OSError as error:
        raise medium_unreadable(path, error) from error
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
        digest=_UNKNOWN,
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
