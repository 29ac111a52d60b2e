"""The member with an entry's tar header: known to the byte from the index row and the bundle's one time.

So a reader compares and interprets nothing. What differs is parsed only to say what is wrong with it.

Source: ``docs/format-1.md``, section "Entries".
"""

from __future__ import annotations

import zlib

from teraferry.bundles import layout
from teraferry.bundles.digest import Buffer
from teraferry.bundles.errors import BundleError
from teraferry.bundles.gzip_member import (
    BLOCK_HEADER_BYTES,
    GZIP_HEADER,
    TRAILER_BYTES,
    content_member_lengths,
    encode_stored_member,
    stored_member_length,
)
from teraferry.bundles.member_reading import Cursor, Place, read_deflated_member
from teraferry.bundles.tar_header import (
    BLOCK_BYTES,
    END_OF_ARCHIVE,
    TYPE_WORDS,
    encode_tar_header,
    header_length,
    parse_tar_header,
)

_FRAME_BYTES = len(GZIP_HEADER) + BLOCK_HEADER_BYTES


def encoded_header(name: str, plain_bytes: int, *, mtime: int) -> bytes:
    """Return the member that holds an entry's tar header."""
    header = encode_tar_header(name, size_bytes=plain_bytes, mtime=mtime)
    return encode_stored_member(header, crc32=zlib.crc32(header))


def encoded_header_length(name: str, plain_bytes: int) -> int:
    """Return the bytes of that member; the time does not change them."""
    return stored_member_length(header_length(name, size_bytes=plain_bytes))


def require_header(cursor: Cursor, name: str, *, plain_bytes: int, mtime: int) -> None:
    """Step over an entry's tar header, which must be the one the index row and the bundle's time give.

    Raises:
        BundleError: 10; ``entry-not-regular``, ``entry-header-disagrees`` or ``member-malformed``.
    """
    expected = encoded_header(name, plain_bytes, mtime=mtime)
    offset = cursor.offset_bytes
    found = cursor.take_bytes(len(expected))
    if found != expected:
        raise header_refusal(cursor.place, found, expected, offset=offset)


def header_refusal(place: Place, found: bytes, expected: bytes, *, offset: int) -> BundleError:
    """Return the error that says in words how one header member differs from another."""
    header = found[_FRAME_BYTES:-TRAILER_BYTES]
    if found[:_FRAME_BYTES] != expected[:_FRAME_BYTES] or header == expected[_FRAME_BYTES:-TRAILER_BYTES]:
        return place.refusal(
            "member-malformed", found="another gzip frame", expected="the frame of a tar header", offset=offset
        )
    wanted = parse_tar_header(expected[_FRAME_BYTES:-TRAILER_BYTES])
    words = f"{TYPE_WORDS[wanted.type_flag]} {wanted.name!r} of {wanted.size_bytes} bytes"
    try:
        claimed = parse_tar_header(header)
    except ValueError as error:
        return place.refusal("entry-header-disagrees", found=f"a tar header: {error}", expected=words, offset=offset)
    kind = TYPE_WORDS.get(claimed.type_flag, f"type {claimed.type_flag!r}")
    claims = f"{kind} {claimed.name[:255]!r} of {claimed.size_bytes} bytes"
    if claimed.type_flag != wanted.type_flag:
        return place.refusal("entry-not-regular", found=claims, expected=words, offset=offset)
    if (claimed.name, claimed.size_bytes) == (wanted.name, wanted.size_bytes):
        claims = "the same with another time, owner or mode"
    return place.refusal("entry-header-disagrees", found=claims, expected=words, offset=offset)


def read_index_entry(raw: Buffer, place: Place, *, offset_bytes: int, limit_bytes: int) -> tuple[bytes, int]:
    """Return the plain index and the bundle's one time from the verified end of a file.

    Args:
        raw: From the index's first member to the end of the file.
        place: For messages.
        offset_bytes: Where ``raw`` lies in the file.
        limit_bytes: The longest index that is inflated, inclusive.

    Raises:
        BundleError: 10; ``index-too-large``, ``entry-*`` or ``member-*``.
    """
    cursor = Cursor(iter((memoryview(raw),)), place, offset_bytes=offset_bytes)
    member = cursor.take_bytes(stored_member_length(BLOCK_BYTES))
    try:
        header = parse_tar_header(member[_FRAME_BYTES:-TRAILER_BYTES])
    except ValueError as error:
        expected = f"the header of {layout.INDEX}"
        raise place.refusal(
            "entry-header-disagrees", found=f"a tar header: {error}", expected=expected, offset=offset_bytes
        ) from error
    if header.size_bytes > limit_bytes:
        found, expected = f"{header.size_bytes} bytes", f"at most {limit_bytes}"
        raise place.refusal("index-too-large", found=found, expected=expected, offset=offset_bytes)
    wanted = encoded_header(layout.INDEX, header.size_bytes, mtime=header.mtime)
    if member != wanted:
        raise header_refusal(place, member, wanted, offset=offset_bytes)
    padded = b"".join(read_deflated_member(cursor, count) for count in content_member_lengths(header.size_bytes))
    if any(padded[header.size_bytes :]):
        raise cursor.malformed("padding that is not zero", "zeros")
    # To the byte, its CRC too: what we call whole, every gzip reader must.
    cursor.require(encode_stored_member(END_OF_ARCHIVE, crc32=zlib.crc32(END_OF_ARCHIVE)), "end of the archive")
    cursor.require_end()
    return padded[: header.size_bytes], header.mtime
