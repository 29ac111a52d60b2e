"""Attack by a careless signer: an index that does not describe its file, or says one thing in two ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import BundleError
from teraferry.bundles.index import Index
from tests.fakes.hostile_archive import blob_entry, hostile_bundle


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
