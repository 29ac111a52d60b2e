"""Attack by a careless signer: an index that does not describe its file, or says one thing in two ways."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from teraferry.bundles import layout
from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import BundleError
from teraferry.bundles.index import Index
from teraferry.bundles.tar_header import parse_tar_header
from tests.fakes.hostile_archive import blob_entry, deflated_member, hostile_bundle, stored_member, tar_block


def reference(
    folder: Path,
    *,
    change_index: Callable[[Index], Index] = lambda index: index,
    change_index_bytes: Callable[[bytes], bytes] = bytes,
    change_tail: Callable[[bytes], bytes] = bytes,
) -> str:
    path, signed = hostile_bundle(
        folder,
        [blob_entry(b"a")],
        change_index=change_index,
        change_index_bytes=change_index_bytes,
        change_tail=change_tail,
    )
    with pytest.raises(BundleError) as caught:
        BundleReader(path, signed).open()
    assert caught.value.exit_status == 10
    return caught.value.reference


def last_row(index: Index, **changes: object) -> Index:
    row = replace(index.entries[-1], **changes)
    return replace(index, entries=(*index.entries[:-1], row))


@pytest.mark.parametrize(
    "change",
    [
        lambda index: last_row(index, offset_bytes=index.entries[-1].offset_bytes + 1),
        lambda index: last_row(index, offset_bytes=index.entries[-1].offset_bytes - 1),
        lambda index: last_row(index, offset_bytes=0),
        lambda index: last_row(index, offset_bytes=2**53 - 1),
        lambda index: replace(index, entries=index.entries[:-1]),
        lambda index: replace(index, chunks=()),
        lambda index: replace(index, chunks=(*index.chunks, digest_of(b""))),
        lambda index: replace(index, chunk_bytes=1024),
    ],
    ids=["gap", "overlap", "all-over-the-first", "far-away", "uncovered", "no-chunks", "a-chunk-more", "small-chunks"],
)
def test_index_that_does_not_cover_its_file_exactly_is_refused(
    tmp_path: Path, change: Callable[[Index], Index]
) -> None:
    assert reference(tmp_path, change_index=change) == "index-disagrees"


@pytest.mark.parametrize("more", [-1, 1, 512])
def test_stored_row_whose_length_does_not_follow_from_its_content_is_refused(tmp_path: Path, more: int) -> None:
    def change(index: Index) -> Index:
        return last_row(index, compressed_bytes=index.entries[-1].compressed_bytes + more)

    assert reference(tmp_path, change_index=change) == "entry-size-impossible"


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: b"\xff\xfe",
        lambda content: b"[" * 100_000,
        lambda content: content[:-1],
        lambda content: content + b" ",
        lambda content: content.replace(b'"format":1', b'"format":2'),
        lambda content: content.replace(b'"format":1', b'"format":1,"more":0'),
        lambda content: content.replace(b'"format":1', b'"format":1,"format":1'),
        lambda content: content.replace(b'"stored"', b'"zstd"'),
        lambda content: content.replace(b'"plain_bytes":1', b'"plain_bytes":-1'),
        lambda content: content.replace(b'"plain_bytes":1', b'"plain_bytes":1.0'),
        lambda content: content.replace(b'"plain_bytes":1', b'"plain_bytes":1e400'),
        lambda content: content.replace(b"sha256:", b"sha256:A", 1),
        lambda content: content.replace(b"/", b"\\/", 1),
    ],
    ids=[
        "empty", "not-utf8", "deep", "no-newline", "trailing-space", "format-2", "unknown-field", "field-twice",
        "unknown-encoding", "negative", "float", "infinite", "not-a-digest", "escaped-differently",
    ],
)  # fmt: skip
def test_index_that_is_not_in_its_one_encoding_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    assert reference(tmp_path, change_index_bytes=change) == "index-malformed"


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw + b"\0",
        lambda raw: raw + raw[-1047:],
        lambda raw: raw[:-1047],
        lambda raw: raw[:-1],
        lambda raw: raw[1:],
        lambda raw: raw[535:],
        lambda raw: raw[:3],
        lambda raw: raw[:-500] + b"\1" + raw[-499:],
    ],
    ids=["byte-more", "two-ends", "no-end", "cut", "shifted", "no-header", "three-bytes", "end-not-zero"],
)
def test_index_range_that_is_not_exactly_index_and_end_is_refused(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    assert reference(tmp_path, change_tail=change) in {"member-malformed", "entry-header-disagrees"}


def with_index_header(header: bytes) -> Callable[[bytes], bytes]:
    member = stored_member(header)
    return lambda raw: member + raw[len(member) :]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "../index.json"}, "entry-header-disagrees"),
        ({"type_flag": b"2", "link": "/etc/passwd"}, "entry-not-regular"),
        ({"mode": b"0004755"}, "entry-header-disagrees"),
    ],
    ids=["name", "link", "setuid"],
)
def test_index_whose_own_header_is_not_that_of_a_plain_file_is_refused(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    def change(raw: bytes) -> bytes:
        size = parse_tar_header(raw[15 : 15 + 512]).size_bytes
        block = tar_block(**{"name": layout.INDEX, "size_bytes": size, **changes})
        return with_index_header(block)(raw)

    assert reference(tmp_path, change_tail=change) == expected


def test_index_with_a_time_that_no_header_of_ours_can_hold_is_refused(tmp_path: Path) -> None:
    def change(raw: bytes) -> bytes:
        block = bytearray(raw[15 : 15 + 512])
        block[136:148] = b"7" * 12  # all twelve digits; what is above eleven of them lies after the year 2242
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        return with_index_header(bytes(block))(raw)

    assert reference(tmp_path, change_tail=change) == "entry-header-disagrees"


@pytest.mark.parametrize("position", [-1, -5, -8, -9, -500, -1037, -1047])
def test_an_end_of_the_archive_that_another_gzip_reader_would_refuse_is_refused(tmp_path: Path, position: int) -> None:
    def change(raw: bytes) -> bytes:
        changed = bytearray(raw)
        changed[position] ^= 1
        return bytes(changed)

    assert reference(tmp_path, change_tail=change) == "member-malformed"


def test_bytes_hidden_in_the_padding_of_the_index_are_refused(tmp_path: Path) -> None:
    def change(raw: bytes) -> bytes:
        size = parse_tar_header(raw[15 : 15 + 512]).size_bytes
        plain = zlib.decompressobj(-zlib.MAX_WBITS).decompress(raw[535 + 10 :])
        assert len(plain) > size
        return raw[:535] + deflated_member(plain[:-1] + b"!") + raw[-1047:]

    assert reference(tmp_path, change_tail=change) == "member-malformed"
