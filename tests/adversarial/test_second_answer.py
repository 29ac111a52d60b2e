"""Attack: a medium whose controller answers honestly once and otherwise later. The second answer is never used."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from teraferry.bundles import layout
from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.errors import BundleError
from teraferry.bundles.limits import CHUNK_BYTES, MAX_MANIFEST_BYTES
from teraferry.bundles.progress import Silent
from tests.fakes.small_bundle import SmallBundle, documents, write_small_bundle

BLOB = random.Random(1).randbytes(9 * 1024 * 1024)


class LyingMedium:
    """Gives the true bytes at the first read of an offset, evil ones from the second on."""

    def __init__(self, path: Path) -> None:
        self.raw = path.read_bytes()
        self.reads: Counter[int] = Counter()

    def read_at(self, offset: int, count: int) -> bytes:
        self.reads[offset] += 1
        truth = self.raw[offset : offset + count]
        return truth if self.reads[offset] == 1 else b"\xee" * len(truth)


@pytest.fixture
def bundle(tmp_path: Path) -> SmallBundle:
    return write_small_bundle(tmp_path, [BLOB])


def test_verified_index_is_not_read_again(bundle: SmallBundle) -> None:
    medium = LyingMedium(bundle.path)
    with BundleReader(bundle.path, bundle.signed, read_at=medium.read_at) as reader:
        reader.open()
        reader.verify_whole(Silent())

    assert medium.reads[bundle.signed.index_offset_bytes] == 1


def test_lie_after_a_whole_verification_is_refused_and_not_used(bundle: SmallBundle) -> None:
    medium = LyingMedium(bundle.path)
    given = bytearray()
    with BundleReader(bundle.path, bundle.signed, read_at=medium.read_at) as reader:
        reader.verify_whole(Silent())
        with pytest.raises(BundleError) as caught:
            for view in reader.stream_blob(bundle.digests[0]):
                given.extend(view)

    assert caught.value.reference == "chunk-digest-mismatch"
    assert not given


def test_lie_in_the_middle_of_a_second_stream_gives_only_true_bytes(bundle: SmallBundle) -> None:
    medium = LyingMedium(bundle.path)
    with BundleReader(bundle.path, bundle.signed, read_at=medium.read_at) as reader:
        assert b"".join(reader.stream_blob(bundle.digests[0])) == BLOB
        given = bytearray()
        with pytest.raises(BundleError):
            for view in reader.stream_blob(bundle.digests[0]):
                given.extend(view)

    assert BLOB.startswith(bytes(given))


def test_entries_of_one_chunk_share_its_first_answer(bundle: SmallBundle) -> None:
    medium = LyingMedium(bundle.path)
    with BundleReader(bundle.path, bundle.signed, read_at=medium.read_at) as reader:
        for name, content in documents().items():
            assert reader.read_entry(name, limit_bytes=MAX_MANIFEST_BYTES) == content

    assert medium.reads[0] == 1


def test_index_that_lies_at_once_is_refused_before_it_is_inflated(bundle: SmallBundle) -> None:
    evil = LyingMedium(bundle.path)
    evil.reads[bundle.signed.index_offset_bytes] = 1

    with pytest.raises(BundleError) as caught:
        BundleReader(bundle.path, bundle.signed, read_at=evil.read_at).open()

    assert caught.value.reference == "index-digest-mismatch"


def test_medium_that_shrinks_while_it_is_read_is_refused(bundle: SmallBundle) -> None:
    raw = bundle.path.read_bytes()

    def read_at(offset: int, count: int) -> bytes:
        return raw[offset : offset + count] if offset != CHUNK_BYTES else b""

    with BundleReader(bundle.path, bundle.signed, read_at=read_at) as reader, pytest.raises(BundleError) as caught:
        reader.verify_whole(Silent())

    assert (caught.value.reference, caught.value.exit_status) == ("bundle-truncated", 10)


def test_document_is_read_from_verified_bytes_only(bundle: SmallBundle) -> None:
    evil = LyingMedium(bundle.path)
    evil.reads[0] = 1
    with BundleReader(bundle.path, bundle.signed, read_at=evil.read_at) as reader, pytest.raises(BundleError) as caught:
        reader.read_entry(layout.MANIFEST, limit_bytes=MAX_MANIFEST_BYTES)

    assert caught.value.facts["chunk"] == 0
