"""Every limit of the bundle's format: what is at it passes, one above is refused."""

from __future__ import annotations

import io
import random
import zlib
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import msgspec
import pytest

from teraferry.bundles import layout, limits
from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.archive_writer import EntrySource, in_order, require_index_length, write_archive
from teraferry.bundles.digest import digest_of
from teraferry.bundles.entry_header import encoded_header_length, read_index_entry
from teraferry.bundles.entry_rules import DOCUMENTS, length_fault, name_fault
from teraferry.bundles.errors import BuildError, BundleError
from teraferry.bundles.gzip_member import (
    GZIP_HEADER,
    content_member_lengths,
    stored_block_lengths,
    stored_content_length,
    stored_member_length,
    trailer,
)
from teraferry.bundles.index import Index, IndexEntry, SignedBundle, encode_index
from teraferry.bundles.index_check import parse_index
from teraferry.bundles.member_reading import Cursor, Place, read_deflated_member
from teraferry.bundles.progress import Silent
from teraferry.bundles.tar_header import END_OF_ARCHIVE, encode_tar_header, padded_length
from tests.fakes.hostile_archive import (
    HostileEntry,
    blob_entry,
    deflated_member,
    hostile_bundle,
    stored_member,
)
from tests.fakes.small_bundle import sources_of, write_small_bundle

EMPTY_BLOCK = bytes.fromhex("000000ffff")  # a stored block that is not the last and holds nothing


def cursor_over(raw: bytes) -> Cursor:
    return Cursor(iter((memoryview(raw),)), Place("demo.tar.gz", "bundle.json"), offset_bytes=0)


def reference_of(error: pytest.ExceptionInfo[BundleError]) -> str:
    assert error.value.exit_status == 10
    return error.value.reference


def rows_of(entries: list[tuple[str, str, int]]) -> Index:
    """Return an index of stored entries ``(name, digest, plain_bytes)`` with the chunks it needs."""
    rows, offset = [], 0
    for name, digest, plain_bytes in entries:
        compressed = encoded_header_length(name, plain_bytes) + stored_content_length(plain_bytes)
        row = IndexEntry(
            name=name,
            digest=digest,
            offset_bytes=offset,
            compressed_bytes=compressed,
            plain_bytes=plain_bytes,
            encoding="stored",
        )
        rows.append(row)
        offset += compressed
    chunks = tuple(digest_of(b"") for _ in range(-(-offset // limits.CHUNK_BYTES)))
    return Index(format=1, compressor="x", chunk_bytes=limits.CHUNK_BYTES, entries=tuple(rows), chunks=chunks)


def parse(index: Index) -> Index:
    end = sum(row.compressed_bytes for row in index.entries)
    return parse_index(encode_index(index), file="demo.tar.gz", index_offset_bytes=end)


DOCUMENT_ROWS = [(name, digest_of(b""), 10) for name in DOCUMENTS]


def blob_row(number: int, plain_bytes: int = 1) -> tuple[str, str, int]:
    digest = f"sha256:{number:064x}"
    return layout.blob_name(digest), digest, plain_bytes


def test_chunk_bytes_divide_the_file_before_the_index(tmp_path: Path) -> None:
    overhead = write_small_bundle(tmp_path, []).written.index_offset_bytes
    frames = stored_member_length(512) + stored_content_length(512 * 8000) - 512 * 8000
    exactly = (limits.CHUNK_BYTES - overhead - frames) // 512 * 512

    at = write_small_bundle(tmp_path, [_noise(exactly)]).written
    above = write_small_bundle(tmp_path, [_noise(exactly + 1024)]).written

    assert at.index_offset_bytes <= limits.CHUNK_BYTES < above.index_offset_bytes
    assert (len(at.index.chunks), len(above.index.chunks)) == (1, 2)


@pytest.mark.parametrize("chunk_bytes", [limits.CHUNK_BYTES - 1, limits.CHUNK_BYTES + 1, 0])
def test_index_with_chunks_of_another_length_is_refused(chunk_bytes: int) -> None:
    index = msgspec.structs.replace(rows_of(DOCUMENT_ROWS), chunk_bytes=chunk_bytes)

    with pytest.raises(BundleError) as caught:
        parse(index)

    assert reference_of(caught) == "index-disagrees"


def test_member_plain_bytes_at_the_limit_is_one_member_and_one_above_is_two() -> None:
    assert list(content_member_lengths(limits.MEMBER_PLAIN_BYTES)) == [limits.MEMBER_PLAIN_BYTES]
    assert list(content_member_lengths(limits.MEMBER_PLAIN_BYTES + 1)) == [limits.MEMBER_PLAIN_BYTES, 512]


def test_member_that_inflates_to_the_limit_is_read_and_one_byte_more_is_refused() -> None:
    full = bytes(limits.MEMBER_PLAIN_BYTES)

    assert read_deflated_member(cursor_over(deflated_member(full)), len(full)) == full
    with pytest.raises(BundleError) as caught:
        read_deflated_member(cursor_over(deflated_member(full + b"\0")), len(full))

    assert reference_of(caught) == "member-too-large"


def padded_member(length: int) -> tuple[bytes, bytes]:
    """Return a member of ``length`` compressed bytes that holds little, and what it holds.

    Empty stored blocks make it long in steps of five bytes; up to four more plain bytes fill the rest.
    """
    blocks, rest = divmod(length - stored_member_length(512), len(EMPTY_BLOCK))
    plain = b"x" * (512 + rest)
    honest = stored_member(plain)
    return honest[:10] + EMPTY_BLOCK * blocks + honest[10:], plain


def test_member_of_the_longest_compressed_length_is_read_and_one_byte_more_is_refused() -> None:
    member, plain = padded_member(limits.MAX_MEMBER_COMPRESSED_BYTES)
    assert len(member) == limits.MAX_MEMBER_COMPRESSED_BYTES
    assert read_deflated_member(cursor_over(member), len(plain)) == plain

    member, plain = padded_member(limits.MAX_MEMBER_COMPRESSED_BYTES + 1)
    assert len(member) == limits.MAX_MEMBER_COMPRESSED_BYTES + 1
    with pytest.raises(BundleError) as caught:
        read_deflated_member(cursor_over(member), len(plain))
    assert reference_of(caught) == "member-too-large"


def test_member_of_noise_stays_below_the_longest_compressed_length() -> None:
    noise = _noise(limits.MEMBER_PLAIN_BYTES)

    assert stored_member_length(limits.MEMBER_PLAIN_BYTES) <= limits.MAX_MEMBER_COMPRESSED_BYTES
    assert len(deflated_member(noise, level=1)) <= limits.MAX_MEMBER_COMPRESSED_BYTES


def test_stored_block_holds_65535_bytes_and_one_more_opens_another() -> None:
    assert list(stored_block_lengths(limits.STORED_BLOCK_BYTES)) == [65_535]
    assert list(stored_block_lengths(limits.STORED_BLOCK_BYTES + 1)) == [65_535, 1]


def test_ratio_of_deflate_at_its_best_passes_and_a_claim_above_it_is_refused(tmp_path: Path) -> None:
    zeros = bytes(limits.MEMBER_PLAIN_BYTES)
    path, signed = hostile_bundle(tmp_path, [blob_entry(zeros, encoding="deflated")])
    with BundleReader(path, signed) as reader:
        assert b"".join(reader.stream_blob(digest_of(zeros))) == zeros

    honest = deflated_member(zeros)
    least = len(GZIP_HEADER) + 8 + -(-len(zeros) // limits.MAX_DEFLATE_RATIO)
    assert least <= len(honest)
    claims = HostileEntry(
        name=layout.blob_name(digest_of(zeros)), content=zeros, encoding="deflated", members=[honest[: least - 1]]
    )
    with pytest.raises(BundleError) as caught:
        BundleReader(*hostile_bundle(tmp_path, [claims])).open()
    assert reference_of(caught) == "entry-size-impossible"


def index_range(content: bytes) -> bytes:
    padded = content.ljust(padded_length(len(content)), b"\0")
    members = [
        deflated_member(padded[start : start + limits.MEMBER_PLAIN_BYTES], level=1)
        for start in range(0, len(padded), limits.MEMBER_PLAIN_BYTES)
    ]
    header = encode_tar_header(layout.INDEX, size_bytes=len(content), mtime=0)
    return stored_member(header) + b"".join(members) + stored_member(END_OF_ARCHIVE)


def test_index_of_the_longest_length_is_inflated_and_one_byte_more_is_refused_before_it_is() -> None:
    limit, place = limits.MAX_INDEX_PLAIN_BYTES, Place("demo.tar.gz", layout.INDEX)

    content, _ = read_index_entry(index_range(b" " * limit), place, offset_bytes=0, limit_bytes=limit)
    assert len(content) == limit

    header_alone = stored_member(encode_tar_header(layout.INDEX, size_bytes=limit + 1, mtime=0))
    with pytest.raises(BundleError) as caught:
        read_index_entry(header_alone, place, offset_bytes=0, limit_bytes=limit)
    assert reference_of(caught) == "index-too-large"


def test_index_range_above_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path, [])
    reads: list[int] = []

    def read_at(offset: int, count: int) -> bytes:
        reads.append(count)
        raise OSError(5, "never asked")

    for length, reference in ((limits.MAX_INDEX_PLAIN_BYTES, "medium-unreadable"), (1, "index-too-large")):
        above = length if length > 1 else limits.MAX_INDEX_PLAIN_BYTES + 1
        signed = _longer(bundle.signed, bundle.path, above)
        with pytest.raises(BundleError) as caught:
            BundleReader(bundle.path, signed, read_at=read_at).open()
        assert caught.value.reference == reference
    assert reads == [limits.MAX_INDEX_PLAIN_BYTES]


def _longer(signed: SignedBundle, path: Path, index_bytes: int) -> SignedBundle:
    """Make the file so long that its index range has ``index_bytes``; sparse, so it costs nothing."""
    with path.open("r+b") as file:
        file.truncate(signed.index_offset_bytes + index_bytes)
    return replace(signed, length_bytes=signed.index_offset_bytes + index_bytes)


def test_writer_refuses_an_index_longer_than_a_reader_would_take() -> None:
    require_index_length(limits.MAX_INDEX_PLAIN_BYTES)
    with pytest.raises(BuildError) as caught:
        require_index_length(limits.MAX_INDEX_PLAIN_BYTES + 1)
    assert caught.value.reference == "bundle-too-large"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_at_the_limit_is_legal_and_one_byte_more_is_not(name: str) -> None:
    assert length_fault(name, limits.MAX_MANIFEST_BYTES) is None

    rows = [(row[0], row[1], limits.MAX_MANIFEST_BYTES if row[0] == name else 10) for row in DOCUMENT_ROWS]
    parse(rows_of(rows))
    rows = [(row[0], row[1], limits.MAX_MANIFEST_BYTES + 1 if row[0] == name else 10) for row in DOCUMENT_ROWS]
    with pytest.raises(BundleError) as caught:
        parse(rows_of(rows))
    assert reference_of(caught) == "entry-too-large"


def test_blob_of_the_longest_length_is_legal_and_one_byte_more_is_not() -> None:
    # Its chunk digests would not fit an index, so the row is checked and not the whole.
    assert length_fault(blob_row(1)[0], limits.MAX_ENTRY_PLAIN_BYTES) is None
    fault = length_fault(blob_row(1)[0], limits.MAX_ENTRY_PLAIN_BYTES + 1)
    assert fault is not None
    assert fault[0] == "entry-too-large"

    def source(length: int) -> EntrySource:
        return EntrySource(blob_row(1)[0], length, None, _never)

    for length, reference in (
        (limits.MAX_ENTRY_PLAIN_BYTES, "source-unreadable"),
        (limits.MAX_ENTRY_PLAIN_BYTES + 1, "entry-too-large"),
    ):
        with pytest.raises(BuildError) as caught:
            write_archive(io.BytesIO(), [*sources_of([]), source(length)], jobs=1, mtime=0, progress=Silent())
        assert caught.value.reference == reference


def _never() -> BinaryIO:
    raise OSError(5, "not opened")


def test_index_of_the_most_entries_is_read_and_one_more_is_refused() -> None:
    blobs = [blob_row(number) for number in range(limits.MAX_ENTRIES + 1 - len(DOCUMENT_ROWS))]

    assert len(parse(rows_of(DOCUMENT_ROWS + blobs[:-1])).entries) == limits.MAX_ENTRIES
    with pytest.raises(BundleError) as caught:
        parse(rows_of(DOCUMENT_ROWS + blobs))
    assert reference_of(caught) == "index-malformed"


def test_writer_takes_the_most_entries_and_refuses_one_more() -> None:
    sources = sources_of([])
    count = limits.MAX_ENTRIES + 1 - len(sources)
    sources += [EntrySource(blob_row(number)[0], 1, None, _never) for number in range(count)]

    assert sum(1 for _ in in_order(sources[:-1])) == limits.MAX_ENTRIES
    with pytest.raises(BuildError) as caught:
        list(in_order(sources))
    assert caught.value.reference == "bundle-too-large"


def test_entry_name_at_the_limit_is_called_unknown_and_one_byte_more_too_long() -> None:
    at = name_fault("ä" + "n" * (limits.MAX_ENTRY_NAME_BYTES - 2))
    above = name_fault("ä" + "n" * (limits.MAX_ENTRY_NAME_BYTES - 1))

    assert at is not None
    assert above is not None
    assert (at[0], above[0]) == ("entry-name-unknown", "entry-name-too-long")


def test_crc_of_an_empty_member_is_that_of_nothing() -> None:
    assert stored_member(b"")[-8:] == trailer(crc32=zlib.crc32(b""), plain_bytes=0)


def _noise(length: int) -> bytes:
    return random.Random(length).randbytes(length)
