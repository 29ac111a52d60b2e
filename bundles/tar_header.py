"""One tar header, encoded in exactly one way and parsed just far enough to say what is wrong with another.

Every entry of a bundle is a regular file, mode 0644, owned by 0:0 without names. So a header holds
three facts (name, size, time) and the reader compares bytes instead of interpreting fields.

Source: POSIX.1-2017, pax: "ustar Interchange Format" and "pax Header Block".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BLOCK_BYTES: Final = 512
"""A tar archive is a sequence of blocks of this size."""

USTAR_MAX_SIZE_BYTES: Final = 8**11 - 1
"""8 GiB - 1: eleven octal digits. A larger entry says its size in a pax record."""

USTAR_MAX_NAME_BYTES: Final = 100
"""The name field; a longer name stands in a pax record, since the prefix field splits names ambiguously."""

MAX_MTIME_SECONDS: Final = 8**11 - 1
"""Eleven octal digits, the year 2242."""

MAX_HEADER_BYTES: Final = 3 * BLOCK_BYTES
"""pax header, its records, ustar header."""

END_OF_ARCHIVE: Final = bytes(2 * BLOCK_BYTES)
"""Two zero blocks."""

REGULAR_FILE: Final = b"0"
_PAX: Final = b"x"
_PAX_NAME: Final = b"@PaxHeader"

TYPE_WORDS: Final = {
    b"0": "a regular file",
    b"\0": "an old-style file",
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"5": "a directory",
    b"6": "a fifo",
    b"x": "a pax header",
    b"g": "a global pax header",
    b"L": "a GNU long name",
    b"S": "a sparse file",
}
"""What a type flag means, for people."""


@dataclass(frozen=True, slots=True)
class UnverifiedTarHeader:
    """What a header claims; trusted only once ``encode_tar_header`` gives the same bytes again."""

    name: str
    size_bytes: int
    mtime: int
    type_flag: bytes


def padded_length(length_bytes: int) -> int:
    """Return ``length_bytes`` rounded up to whole blocks."""
    return -(-length_bytes // BLOCK_BYTES) * BLOCK_BYTES


def header_length(name: str, *, size_bytes: int) -> int:
    """Return the bytes of an entry's header: one block, or three when ustar cannot say it."""
    fits = len(name) <= USTAR_MAX_NAME_BYTES and name.isascii() and size_bytes <= USTAR_MAX_SIZE_BYTES
    return BLOCK_BYTES if fits else MAX_HEADER_BYTES


def encode_tar_header(name: str, *, size_bytes: int, mtime: int) -> bytes:
    """Return the header of a regular file: one block, or three when ustar cannot say it.

    Raises:
        ValueError: ``mtime`` or ``size_bytes`` is out of range, or the name cannot be said in one record block.
    """
    if not 0 <= mtime <= MAX_MTIME_SECONDS:
        raise ValueError(f"mtime {mtime}, expected 0..{MAX_MTIME_SECONDS}")
    if size_bytes < 0:
        raise ValueError(f"size {size_bytes}, expected 0 or more")
    encoded = name.encode()
    records = b""
    if len(encoded) > USTAR_MAX_NAME_BYTES or not encoded.isascii():
        records += _pax_record(b"path", encoded)
        encoded = encoded.decode("ascii", "replace").encode("ascii", "replace")[:USTAR_MAX_NAME_BYTES]
    if size_bytes > USTAR_MAX_SIZE_BYTES:
        records += _pax_record(b"size", b"%d" % size_bytes)
        size_bytes = 0  # The record counts; the field cannot hold the number.
    ustar = _ustar_block(encoded, size_bytes=size_bytes, mtime=mtime, type_flag=REGULAR_FILE)
    if not records:
        return ustar
    if len(records) > BLOCK_BYTES:
        raise ValueError(f"pax records of {len(records)} bytes, expected at most {BLOCK_BYTES}")
    pax = _ustar_block(_PAX_NAME, size_bytes=len(records), mtime=mtime, type_flag=_PAX)
    return pax + records.ljust(BLOCK_BYTES, b"\0") + ustar


def parse_tar_header(content: bytes) -> UnverifiedTarHeader:
    """Return what a header claims, as far as it can be read.

    Args:
        content: One block or three, as ``encode_tar_header`` writes them.

    Raises:
        ValueError: Not a ustar header with a right sum, not a whole number of blocks, or a time that
            ``encode_tar_header`` would not write.
    """
    if len(content) not in (BLOCK_BYTES, MAX_HEADER_BYTES):
        raise ValueError(f"{len(content)} bytes, expected {BLOCK_BYTES} or {MAX_HEADER_BYTES}")
    block = content[-BLOCK_BYTES:]
    name, size_bytes = block[:100].rstrip(b"\0"), _octal(block[124:136])
    if block[345:500].rstrip(b"\0"):
        name = block[345:500].rstrip(b"\0") + b"/" + name
    if int(_octal(block[148:156])) != _sum(block):
        raise ValueError("its sum is wrong")
    if block[257:262] != b"ustar":
        raise ValueError("its magic is not ustar")
    if len(content) == MAX_HEADER_BYTES:
        records = _parse_records(content[BLOCK_BYTES : BLOCK_BYTES + _octal(content[124:136])])
        name = records.get(b"path", name)
        size_bytes = int(records.get(b"size", b"%d" % size_bytes))
    mtime = _octal(block[136:148])
    if mtime > MAX_MTIME_SECONDS:  # Twelve digits; the field of a header that we write ends with a zero byte.
        raise ValueError("its time is after the year 2242")
    return UnverifiedTarHeader(name.decode("utf-8", "replace"), size_bytes, mtime, block[156:157])


def _ustar_block(name: bytes, *, size_bytes: int, mtime: int, type_flag: bytes) -> bytes:
    fields = (
        name.ljust(100, b"\0"),
        b"0000644\0",
        b"0000000\0",
        b"0000000\0",
        b"%011o\0" % size_bytes,
        b"%011o\0" % mtime,
        b" " * 8,  # The sum is taken with spaces in its own field.
        type_flag,
        bytes(100),
        b"ustar\x0000",
        bytes(64),
        b"0000000\0",
        b"0000000\0",
        bytes(155 + 12),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _sum(block: bytes) -> int:
    return sum(block[:148]) + 8 * 0x20 + sum(block[156:])


def _octal(field: bytes) -> int:
    digits = field.strip(b"\0 ")
    if any(digit not in b"01234567" for digit in digits):
        raise ValueError(f"{field!r} is not an octal number")
    return int(digits or b"0", 8)


def _pax_record(key: bytes, value: bytes) -> bytes:
    """Return ``<length> key=value`` and a newline, where the length counts its own digits."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return b"%d" % length + rest


def _parse_records(content: bytes) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    while content:
        digits, _, _ = content.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 5 else 0
        key, equals, value = content[len(digits) + 1 : length].partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise ValueError("its pax records are malformed")
        records[key] = value[:-1]
        content = content[length:]
    return records
