"""Reads members strictly: what differs by one byte from what the writer would write is refused.

Every byte handed in here was verified before; what is guarded against is a careless signer. Lengths come from
the index, so nothing is inflated further than the index says, and no member further than 4 MiB.

Source: ``docs/format-1.md``, section "Members"; RFC 1951, RFC 1952.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.errors import BundleError
from teraferry.bundles.gzip_member import (
    GZIP_HEADER,
    TRAILER_BYTES,
    block_header,
    stored_block_lengths,
    trailer,
)
from teraferry.bundles.limits import MAX_MEMBER_COMPRESSED_BYTES

CARELESS_HINT = (
    "Do not use this kit: it is signed but put together wrongly. Ask the release engineer to build and sign it again."
)

_NOTHING: Final = memoryview(b"")


@dataclass(frozen=True, slots=True)
class Place:
    """What is being read, for messages."""

    file: str
    entry: str

    def refusal(self, reference: str, *, found: str, expected: str, offset: int | None = None) -> BundleError:
        """Return the error that this place deserves."""
        return BundleError(
            reference,
            f"entry {self.entry} of {self.file}: {found}, expected {expected}",
            hint=CARELESS_HINT,
            facts={"file": self.file, "entry": self.entry, "offset": offset, "found": found, "expected": expected},
        )


class Cursor:
    """A place in verified bytes that come view by view. Views are handed on, never copied."""

    def __init__(self, views: Iterator[memoryview], place: Place, *, offset_bytes: int) -> None:
        self._views = views
        self._view = _NOTHING
        self.place = place
        self.offset_bytes = offset_bytes  # in the file

    def peek(self) -> memoryview:
        """Return what lies ahead, at least a byte of it; empty at the end."""
        while not self._view:
            try:
                self._view = next(self._views)
            except StopIteration:
                break
        return self._view

    def skip(self, count_bytes: int) -> None:
        """Step over bytes of what ``peek`` returned."""
        # An empty view would hold its chunk in memory while the next one is read.
        self._view = self._view[count_bytes:] if count_bytes < len(self._view) else _NOTHING
        self.offset_bytes += count_bytes

    def take(self, count_bytes: int) -> list[memoryview]:
        """Return the next ``count_bytes`` as one view, or more where verified pieces meet.

        Raises:
            BundleError: ``member-malformed``, 10: fewer are left.
        """
        taken: list[memoryview] = []
        while count_bytes:
            view = self.peek()[:count_bytes]
            if not view:
                raise self.malformed(f"an end {count_bytes} bytes early", "a whole member")
            taken.append(view)
            count_bytes -= len(view)
            self.skip(len(view))
        return taken

    def take_bytes(self, count_bytes: int) -> bytes:
        """Return the next ``count_bytes``, copied; for the few bytes of a frame."""
        return b"".join(self.take(count_bytes))

    def require(self, expected: bytes, what: str) -> None:
        """Step over ``expected``.

        Raises:
            BundleError: ``member-malformed``, 10: other bytes lie here.
        """
        found = self.take_bytes(len(expected))
        if found != expected:
            raise self.malformed(f"{what} {found[:16].hex()}", expected[:16].hex())

    def require_end(self) -> None:
        """Refuse bytes after the last member.

        Raises:
            BundleError: ``member-malformed``, 10.
        """
        if self.peek():
            raise self.malformed("bytes after the last member", "none")

    def malformed(self, found: str, expected: str) -> BundleError:
        """Return the error for bytes that are no member of this format."""
        return self.place.refusal("member-malformed", found=found, expected=expected, offset=self.offset_bytes)


def read_stored_member(cursor: Cursor, plain_bytes: int) -> list[memoryview]:
    """Return the plain bytes of a stored member as views into the verified pieces.

    The CRC is not computed: chunk and content digests cover the same bytes, and it would halve the speed.

    Raises:
        BundleError: ``member-malformed``, 10.
    """
    cursor.require(GZIP_HEADER, "gzip header")
    views: list[memoryview] = []
    left = plain_bytes
    for length in stored_block_lengths(plain_bytes):
        left -= length
        cursor.require(block_header(length, final=not left), "block header")
        views += cursor.take(length)
    claimed = cursor.take_bytes(TRAILER_BYTES)
    if claimed[4:] != trailer(crc32=0, plain_bytes=plain_bytes)[4:]:
        raise cursor.malformed(f"length {claimed[4:].hex()} in its trailer", f"{plain_bytes} bytes")
    return views


def read_deflated_member(cursor: Cursor, plain_bytes: int) -> bytes:
    """Return the plain bytes of a deflated member, inflated no further than ``plain_bytes``.

    Raises:
        BundleError: ``member-malformed`` or ``member-too-large``, 10.
    """
    start = cursor.offset_bytes
    cursor.require(GZIP_HEADER, "gzip header")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    pieces: list[bytes] = []
    produced = 0
    while not inflater.eof:
        ahead = cursor.peek()
        if not ahead:
            raise cursor.malformed("an end inside the deflate stream", "a whole member")
        try:
            # One byte more than is due, so that a bomb shows itself by that byte and no more.
            piece = inflater.decompress(ahead, plain_bytes - produced + 1)
        except zlib.error as error:
            raise cursor.malformed(str(error), "a deflate stream") from error
        cursor.skip(len(ahead) - len(inflater.unused_data) - len(inflater.unconsumed_tail))
        produced += len(piece)
        consumed = cursor.offset_bytes - start + TRAILER_BYTES
        if produced > plain_bytes or consumed > MAX_MEMBER_COMPRESSED_BYTES:
            expected = f"{plain_bytes} bytes from at most {MAX_MEMBER_COMPRESSED_BYTES}"
            raise cursor.place.refusal(
                "member-too-large",
                found=f"{produced} bytes or more from {consumed}",
                expected=expected,
                offset=start,
            )
        pieces.append(piece)
    plain = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if len(plain) != plain_bytes:
        raise cursor.malformed(f"a member of {len(plain)} plain bytes", f"{plain_bytes}")
    cursor.require(trailer(crc32=zlib.crc32(plain), plain_bytes=plain_bytes), "trailer")
    return plain
