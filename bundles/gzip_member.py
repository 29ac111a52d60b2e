"""One gzip member of a bundle, encoded in exactly one way.

A bundle is a file of many members one after the other, which every gzip reader takes as one stream.
A *stored* member holds its plain bytes in stored deflate blocks, so that its length and the place of
every byte follow from the plain length alone. A *deflated* member holds one raw deflate stream.

Source: RFC 1952 (gzip), RFC 1951 section 3.2.4 (stored blocks).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from teraferry.bundles.digest import Buffer
from teraferry.bundles.limits import MEMBER_PLAIN_BYTES, STORED_BLOCK_BYTES
from teraferry.bundles.tar_header import padded_length

GZIP_HEADER: Final = bytes.fromhex("1f8b08000000000000ff")
"""Deflate, no flags, no time, no name, unknown system: the same on every machine and day."""

TRAILER_BYTES: Final = 8
"""CRC-32 and plain length, both 32 bits, little-endian."""

BLOCK_HEADER_BYTES: Final = 5
"""Final bit and type, length, complement of the length."""

_BLOCK_HEADER: Final = struct.Struct("<BHH")
_TRAILER: Final = struct.Struct("<II")


def block_header(length_bytes: int, *, final: bool) -> bytes:
    """Return the five bytes before a stored block of ``length_bytes``."""
    return _BLOCK_HEADER.pack(1 if final else 0, length_bytes, length_bytes ^ 0xFFFF)


def trailer(*, crc32: int, plain_bytes: int) -> bytes:
    """Return the eight bytes that end a member."""
    return _TRAILER.pack(crc32, plain_bytes & 0xFFFFFFFF)


def stored_block_lengths(plain_bytes: int) -> Iterator[int]:
    """Yield the plain bytes in each stored block of a member of ``plain_bytes``."""
    full, rest = divmod(plain_bytes, STORED_BLOCK_BYTES)
    yield from (STORED_BLOCK_BYTES for _ in range(full))
    if rest or not full:
        yield rest


def content_member_lengths(plain_bytes: int) -> Iterator[int]:
    """Yield the plain bytes of each content member of an entry, padding to whole tar blocks included."""
    full, rest = divmod(padded_length(plain_bytes), MEMBER_PLAIN_BYTES)
    yield from (MEMBER_PLAIN_BYTES for _ in range(full))
    if rest:
        yield rest


def stored_member_length(plain_bytes: int) -> int:
    """Return the bytes of a stored member that holds ``plain_bytes``."""
    blocks = max(1, -(-plain_bytes // STORED_BLOCK_BYTES))
    return len(GZIP_HEADER) + plain_bytes + blocks * BLOCK_HEADER_BYTES + TRAILER_BYTES


def stored_content_length(plain_bytes: int) -> int:
    """Return the bytes of all content members of a stored entry of ``plain_bytes``."""
    full, rest = divmod(padded_length(plain_bytes), MEMBER_PLAIN_BYTES)
    return full * stored_member_length(MEMBER_PLAIN_BYTES) + (stored_member_length(rest) if rest else 0)


def stored_member_parts(plain: memoryview, *, crc32: int) -> Iterator[Buffer]:
    """Yield ``plain`` as a stored member, in the parts that lie one after the other; nothing is copied.

    Args:
        plain: At most ``MEMBER_PLAIN_BYTES``.
        crc32: Of ``plain``; the caller's, who has a fast one.
    """
    yield GZIP_HEADER
    start = 0
    for length in stored_block_lengths(len(plain)):
        end = start + length
        yield block_header(length, final=end == len(plain))
        yield plain[start:end]
        start = end
    yield trailer(crc32=crc32, plain_bytes=len(plain))


def encode_stored_member(plain: bytes, *, crc32: int) -> bytes:
    """Return ``plain`` as a stored member, in fresh memory; for headers."""
    return b"".join(stored_member_parts(memoryview(plain), crc32=crc32))
