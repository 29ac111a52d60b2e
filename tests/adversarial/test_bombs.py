"""Attack by a careless signer: a little that inflates to a lot. Work and memory stop at what the index says."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from teraferry.bundles import layout
from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import BundleError
from teraferry.bundles.gzip_member import GZIP_HEADER, trailer
from teraferry.bundles.limits import MAX_INDEX_PLAIN_BYTES, MEMBER_PLAIN_BYTES
from teraferry.bundles.progress import Silent
from teraferry.bundles.tar_header import encode_tar_header
from tests.fakes.hostile_archive import HostileEntry, deflated_member, hostile_bundle, stored_member

NAME = layout.blob_name(digest_of(b"small"))
MUCH = 256 * 1024**2


def bomb(plain_bytes: int) -> bytes:
    """Return a member that inflates to ``plain_bytes`` zeros."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = bytes(1024 * 1024)
    stream = b"".join(deflater.compress(block) for _ in range(plain_bytes // len(block))) + deflater.flush()
    return GZIP_HEADER + stream + trailer(crc32=0, plain_bytes=plain_bytes)


def small_that_is(members: list[bytes]) -> HostileEntry:
    return HostileEntry(name=NAME, content=b"small", encoding="deflated", members=members)


def reference_of_streaming(folder: Path, entry: HostileEntry) -> str:
    path, signed = hostile_bundle(folder, [entry])
    with pytest.raises(BundleError) as caught, BundleReader(path, signed) as reader:
        reader.verify_whole(Silent())
        given = sum(map(len, reader.stream_entry(entry.name)))
        pytest.fail(f"{given} bytes were handed out")
    assert caught.value.exit_status == 10
    return caught.value.reference


def test_member_that_inflates_to_much_is_stopped_at_the_first_byte_too_many(tmp_path: Path) -> None:
    assert reference_of_streaming(tmp_path, small_that_is([bomb(MUCH)])) == "member-too-large"


def test_member_that_inflates_one_byte_too_far_is_refused(tmp_path: Path) -> None:
    member = deflated_member(b"small".ljust(512, b"\0") + b"\0")

    assert reference_of_streaming(tmp_path, small_that_is([member])) == "member-too-large"


def test_members_after_the_content_are_refused(tmp_path: Path) -> None:
    members = [deflated_member(b"small".ljust(512, b"\0")), deflated_member(bytes(512))]

    assert reference_of_streaming(tmp_path, small_that_is(members)) == "member-malformed"


def test_content_hidden_in_the_padding_is_refused(tmp_path: Path) -> None:
    member = deflated_member(b"small".ljust(511, b"\0") + b"!")

    assert reference_of_streaming(tmp_path, small_that_is([member])) == "member-malformed"


def test_member_of_nothing_but_empty_blocks_is_refused(tmp_path: Path) -> None:
    member = deflated_member(b"small".ljust(512, b"\0"), before=bytes.fromhex("000000ffff") * 900_000)

    assert reference_of_streaming(tmp_path, small_that_is([member])) in {"member-too-large", "entry-size-impossible"}


def test_claim_of_a_tebibyte_in_a_few_bytes_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    entry = replace(small_that_is([deflated_member(b"small".ljust(512, b"\0"))]), claimed_bytes=1024**4)
    path, signed = hostile_bundle(tmp_path, [entry])

    with pytest.raises(BundleError) as caught:
        BundleReader(path, signed).open()

    assert caught.value.reference == "entry-size-impossible"


def test_stored_entry_that_claims_more_than_lies_there_is_refused(tmp_path: Path) -> None:
    entry = HostileEntry(name=NAME, content=b"small", claimed_bytes=5000)
    path, signed = hostile_bundle(tmp_path, [entry])

    with pytest.raises(BundleError) as caught:
        BundleReader(path, signed).open()

    assert caught.value.reference == "entry-size-impossible"


def test_document_bomb_is_refused_by_its_row(tmp_path: Path) -> None:
    documents = [HostileEntry(name=name, content=b"{}") for name in (layout.OCI_LAYOUT, layout.OCI_INDEX)]
    manifest = HostileEntry(
        name=layout.MANIFEST, claimed_bytes=1024**3, encoding="deflated", members=[bomb(1024**2)] * 256
    )
    path, signed = hostile_bundle(tmp_path, [*documents, manifest], with_documents=False)

    with pytest.raises(BundleError) as caught:
        BundleReader(path, signed).open()

    assert caught.value.reference == "entry-too-large"


def test_index_bomb_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    path, signed = hostile_bundle(tmp_path, [], change_tail=lambda raw: raw[:535] + bomb(MUCH) + raw[-1047:])

    with pytest.raises(BundleError) as caught:
        BundleReader(path, signed).open()

    assert caught.value.reference == "member-too-large"


def test_index_whose_header_claims_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    header = stored_member(encode_tar_header(layout.INDEX, size_bytes=MAX_INDEX_PLAIN_BYTES + 1, mtime=0))
    path, signed = hostile_bundle(tmp_path, [], change_tail=lambda raw: header + raw[535:])

    with pytest.raises(BundleError) as caught:
        BundleReader(path, signed).open()

    assert caught.value.reference == "index-too-large"


def test_member_at_the_limit_of_4_mib_takes_no_more_memory_than_it_says(tmp_path: Path) -> None:
    zeros = bytes(MEMBER_PLAIN_BYTES)
    entry = HostileEntry(name=layout.blob_name(digest_of(zeros)), content=zeros, encoding="deflated")
    path, signed = hostile_bundle(tmp_path, [entry])

    with BundleReader(path, signed) as reader:
        assert sum(map(len, reader.stream_entry(entry.name))) == MEMBER_PLAIN_BYTES
