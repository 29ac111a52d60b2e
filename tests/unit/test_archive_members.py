"""Gzip members: their framing, their lengths, and how strictly they are read."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teraferry.bundles.errors import BundleError
from teraferry.bundles.gzip_member import (
    GZIP_HEADER,
    content_member_lengths,
    stored_content_length,
    stored_member_length,
    trailer,
)
from teraferry.bundles.member_reading import Cursor, Place, read_deflated_member, read_stored_member
from tests.fakes.hostile_archive import deflated_member, stored_member

MIB = 1024 * 1024
PLACE = Place("demo.tar.gz", "bundle.json")


def cursor_over(raw: bytes, *, cut: int = 1 << 30) -> Cursor:
    def views() -> Iterator[memoryview]:
        for start in range(0, len(raw), cut):
            yield memoryview(raw)[start : start + cut]

    return Cursor(views(), PLACE, offset_bytes=0)


@pytest.mark.parametrize("length", [0, 1, 511, 65_534, 65_535, 65_536, 131_070, 131_071, 4 * MIB])
def test_stored_member_is_gzip_of_the_length_that_follows_from_its_plain_length(length: int) -> None:
    plain = os.urandom(length)

    member = stored_member(plain)

    assert gzip.decompress(member) == plain
    assert len(member) == stored_member_length(length)


@pytest.mark.parametrize("cut", [1, 7, 4096, 65_540, 1 << 30])
@pytest.mark.parametrize("length", [1, 65_535, 65_536, 140_000])
def test_stored_member_reads_back_wherever_chunks_cut_it(length: int, cut: int) -> None:
    plain = os.urandom(length)
    cursor = cursor_over(stored_member(plain) + b"next", cut=cut)

    assert b"".join(read_stored_member(cursor, length)) == plain
    assert bytes(cursor.take_bytes(4)) == b"next"


@pytest.mark.parametrize("cut", [1, 7, 4096, 1 << 30])
def test_deflated_member_reads_back_wherever_chunks_cut_it(cut: int) -> None:
    plain = b"a line of text\n" * 3000
    cursor = cursor_over(deflated_member(plain) + b"next", cut=cut)

    assert read_deflated_member(cursor, len(plain)) == plain
    assert bytes(cursor.take_bytes(4)) == b"next"


@pytest.mark.parametrize(
    ("plain_bytes", "members"),
    [
        (0, []),
        (1, [512]),
        (512, [512]),
        (513, [1024]),
        (4 * MIB - 1, [4 * MIB]),
        (4 * MIB, [4 * MIB]),
        (4 * MIB + 1, [4 * MIB, 512]),
        (9 * MIB, [4 * MIB, 4 * MIB, MIB]),
    ],
)
def test_content_is_cut_into_members_of_4_mib_with_the_padding_in_the_last(
    plain_bytes: int, members: list[int]
) -> None:
    assert list(content_member_lengths(plain_bytes)) == members
    assert stored_content_length(plain_bytes) == sum(map(stored_member_length, members))


def flipped(raw: bytes, position: int) -> bytes:
    return raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]


@pytest.mark.parametrize("position", [*range(15), 15 + 512 + 4, 15 + 512 + 7])
def test_stored_member_is_refused_when_a_byte_of_its_frame_differs(position: int) -> None:
    raw = stored_member(bytes(512))

    with pytest.raises(BundleError) as caught:
        read_stored_member(cursor_over(flipped(raw, position)), 512)

    assert (caught.value.reference, caught.value.exit_status) == ("member-malformed", 10)


@pytest.mark.parametrize("position", [*range(10), -8, -5, -4, -1])
def test_deflated_member_is_refused_when_a_byte_of_its_frame_differs(position: int) -> None:
    raw = deflated_member(bytes(512))

    with pytest.raises(BundleError) as caught:
        read_deflated_member(cursor_over(flipped(raw, position % len(raw))), 512)

    assert caught.value.reference == "member-malformed"


@pytest.mark.parametrize("plain_bytes", [511, 513])
def test_deflated_member_is_refused_when_it_is_not_exactly_as_long_as_the_index_says(plain_bytes: int) -> None:
    with pytest.raises(BundleError) as caught:
        read_deflated_member(cursor_over(deflated_member(bytes(512))), plain_bytes)

    assert caught.value.reference in {"member-too-large", "member-malformed"}


def test_deflated_member_is_refused_when_only_its_trailer_is_as_long_as_the_index_says() -> None:
    raw = deflated_member(bytes(511))[:-4] + (512).to_bytes(4, "little")

    with pytest.raises(BundleError) as caught:
        read_deflated_member(cursor_over(raw), 512)

    assert caught.value.reference == "member-malformed"


def test_member_is_refused_when_it_ends_early() -> None:
    raw = deflated_member(os.urandom(600))
    for end in range(len(raw)):
        with pytest.raises(BundleError) as caught:
            read_deflated_member(cursor_over(raw[:end]), 600)
        assert caught.value.reference == "member-malformed"


def test_cursor_refuses_bytes_after_the_last_member() -> None:
    cursor = cursor_over(stored_member(b"x") + b"\0")
    read_stored_member(cursor, 1)

    with pytest.raises(BundleError) as caught:
        cursor.require_end()

    assert caught.value.facts["offset"] == stored_member_length(1)


@settings(max_examples=300, deadline=None)
@given(stream=st.binary(max_size=200), due=st.integers(0, 2000))
def test_no_deflate_stream_gives_more_than_is_due_or_another_error_than_ours(stream: bytes, due: int) -> None:
    raw = GZIP_HEADER + stream + trailer(crc32=0, plain_bytes=due)
    try:
        plain = read_deflated_member(cursor_over(raw, cut=13), due)
    except BundleError as error:
        assert error.exit_status == 10
    else:
        assert len(plain) == due
        assert zlib.crc32(plain) == 0
