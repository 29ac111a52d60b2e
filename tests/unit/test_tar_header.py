"""The tar header: one encoding, read alike by others, at every boundary of its fields."""

from __future__ import annotations

import io
import tarfile

import pytest

from teraferry.bundles import tar_header
from teraferry.bundles.limits import MAX_ENTRY_NAME_BYTES, MAX_ENTRY_PLAIN_BYTES
from teraferry.bundles.tar_header import encode_tar_header, header_length, parse_tar_header

GIB = 1024**3
NAME = "blobs/sha256/" + "a" * 64


def as_python_reads_it(header: bytes) -> tarfile.TarInfo:
    with tarfile.open(fileobj=io.BytesIO(header), mode="r:") as archive:
        member = archive.next()
    if member is None:
        raise ValueError("no member")
    return member


@pytest.mark.parametrize(
    ("size_bytes", "blocks"),
    [(0, 1), (8 * GIB - 1, 1), (8 * GIB, 3), (100 * GIB, 3), (MAX_ENTRY_PLAIN_BYTES, 3)],
)
def test_tar_header_says_any_size_and_takes_a_pax_record_from_8_gib_on(size_bytes: int, blocks: int) -> None:
    header = encode_tar_header(NAME, size_bytes=size_bytes, mtime=7)

    member = as_python_reads_it(header)

    assert len(header) == blocks * 512 == header_length(NAME, size_bytes=size_bytes)
    assert (member.name, member.size, member.mtime) == (NAME, size_bytes, 7)
    assert parse_tar_header(header).size_bytes == size_bytes


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("a" * 100, 1), ("a" * 101, 3), ("a" * MAX_ENTRY_NAME_BYTES, 3), ("größe", 3), ("a/b", 1)],
)
def test_tar_header_says_any_name_and_takes_a_pax_record_where_ustar_cannot(name: str, blocks: int) -> None:
    header = encode_tar_header(name, size_bytes=1, mtime=0)

    assert len(header) == blocks * 512 == header_length(name, size_bytes=1)
    assert as_python_reads_it(header).name == name
    assert parse_tar_header(header).name == name


def test_tar_header_says_a_regular_file_of_nobody_in_particular() -> None:
    member = as_python_reads_it(encode_tar_header("a", size_bytes=0, mtime=0))

    assert (member.type, member.mode) == (tarfile.REGTYPE, 0o644)
    assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")


@pytest.mark.parametrize("mtime", [0, tar_header.MAX_MTIME_SECONDS])
def test_tar_header_holds_every_time_up_to_its_limit(mtime: int) -> None:
    assert as_python_reads_it(encode_tar_header("a", size_bytes=0, mtime=mtime)).mtime == mtime


@pytest.mark.parametrize("mtime", [-1, tar_header.MAX_MTIME_SECONDS + 1])
def test_tar_header_refuses_a_time_beyond_its_field(mtime: int) -> None:
    with pytest.raises(ValueError, match="mtime"):
        encode_tar_header("a", size_bytes=0, mtime=mtime)


def test_tar_header_refuses_a_negative_size() -> None:
    with pytest.raises(ValueError, match="size"):
        encode_tar_header("a", size_bytes=-1, mtime=0)


def test_tar_header_refuses_a_name_longer_than_its_record_block() -> None:
    with pytest.raises(ValueError, match="pax records"):
        encode_tar_header("a" * 600, size_bytes=0, mtime=0)


@pytest.mark.parametrize("position", [0, 100, 124, 148, 156, 257, 300, 400, 511])
def test_parse_refuses_a_header_whose_sum_is_wrong(position: int) -> None:
    block = bytearray(encode_tar_header("a", size_bytes=0, mtime=0))
    block[position] ^= 1

    with pytest.raises(ValueError, match=r"sum|octal"):
        parse_tar_header(bytes(block))


@pytest.mark.parametrize("length", [0, 511, 513, 1024])
def test_parse_refuses_anything_but_one_block_or_three(length: int) -> None:
    with pytest.raises(ValueError, match="bytes, expected"):
        parse_tar_header(bytes(length))
