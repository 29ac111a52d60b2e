"""``bundle.index.json``: where each entry lies, and the digest of every chunk of the file.

Source: ``docs/format-1.md``, section "The index".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from teraferry.bundles.digest import Digest
from teraferry.bundles.errors import BundleError
from teraferry.bundles.limits import MAX_ENTRIES
from teraferry.bundles.model import Model

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""Bytes; as far as every JSON reader counts exactly. ``index_check`` knows the closer limits."""


class IndexEntry(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where one tar entry lies in the compressed file."""

    name: str
    digest: Digest  # of the plain content
    offset_bytes: Count  # of the entry's first gzip member
    compressed_bytes: Count  # of all its members: header, content, padding
    plain_bytes: Count  # of the content alone
    encoding: Literal["stored", "deflated"]


class Index(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All entries before the index, in file order, and the chunk digests of the file before it."""

    format: Literal[1]
    compressor: str  # name and version; the promise of equal bytes is made for this one
    chunk_bytes: Count
    entries: Annotated[tuple[IndexEntry, ...], msgspec.Meta(max_length=MAX_ENTRIES)]
    chunks: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class SignedBundle:
    """What the release signatures say of a bundle: the only ground a reader stands on.

    ``keys.trust`` is the one that makes it, from threshold-signed targets metadata.
    """

    name: str  # file name in the kit
    length_bytes: int
    digest: Digest  # of the whole file
    format: int
    product: str
    version: str
    sequence: int  # the release's ordinal in its trust folder
    index_offset_bytes: int
    index_digest: Digest  # of the raw compressed bytes from the index member to the end
    signed_at: datetime  # aware, UTC


def encode_index(index: Index) -> bytes:
    """Return the one encoding of ``index``: sorted keys, no spaces, a final newline."""
    return msgspec.json.encode(index, order="sorted") + b"\n"


def require_signed_name(name: str, signed: SignedBundle) -> None:
    """Refuse a file of another name than the signed one: the answer must be about the file that was asked about.

    Raises:
        BundleError: ``bundle-not-signed``, 10.
    """
    if name != signed.name:
        raise BundleError(
            "bundle-not-signed",
            f"bundle {name}: not named by the kit's signatures, expected {signed.name}",
            hint=f"Name the kit folder, or {signed.name} in it.",
            facts={"found": name, "expected": signed.name},
        )
