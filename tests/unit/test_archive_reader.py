"""The reader on honest bundles: every way to read gives the bytes that went in."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from teraferry.bundles import layout
from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.errors import BundleError
from teraferry.bundles.progress import Silent
from tests.fakes.small_bundle import SmallBundle, documents, write_small_bundle

MIB = 1024 * 1024


def noise(length: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(length)


BLOBS = (
    b"",
    b"x",
    b"a line of text\n" * 700_000,
    noise(512, 1),
    noise(513, 2),
    noise(4 * MIB - 1, 3),
    noise(4 * MIB, 4),
    noise(4 * MIB + 1, 5),
    noise(9 * MIB, 6),
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> SmallBundle:
    return write_small_bundle(tmp_path_factory.mktemp("bundle"), BLOBS)


def refusal_on_open(path: Path, bundle: SmallBundle, **facts: object) -> BundleError:
    with pytest.raises(BundleError) as caught:
        BundleReader(path, replace(bundle.signed, **facts)).open()  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize("blob", BLOBS, ids=[f"{len(blob)} bytes" for blob in BLOBS])
def test_reader_streams_the_bytes_that_went_in(bundle: SmallBundle, blob: bytes) -> None:
    with BundleReader(bundle.path, bundle.signed) as reader:
        assert b"".join(reader.stream_blob(digest_of(blob))) == blob


def test_reader_gives_vectors_small_enough_for_one_system_call(bundle: SmallBundle) -> None:
    with BundleReader(bundle.path, bundle.signed) as reader:
        for blob in BLOBS:
            vectors = list(reader.stream_vectors(layout.blob_name(digest_of(blob))))
            assert b"".join(b"".join(views) for views in vectors) == blob
            assert max(map(len, vectors), default=0) <= 67
            assert max((sum(map(len, views)) for views in vectors), default=0) <= 4 * MIB


def test_reader_reads_documents_whole(bundle: SmallBundle) -> None:
    with BundleReader(bundle.path, bundle.signed) as reader:
        for name, content in documents().items():
            assert reader.read_entry(name, limit_bytes=len(content)) == content


def test_reader_refuses_a_document_one_byte_over_the_callers_limit(bundle: SmallBundle) -> None:
    length = len(documents()[layout.MANIFEST])
    with BundleReader(bundle.path, bundle.signed) as reader, pytest.raises(BundleError) as caught:
        reader.read_entry(layout.MANIFEST, limit_bytes=length - 1)

    assert caught.value.reference == "entry-too-large"


def test_reader_refuses_an_entry_that_is_not_there(bundle: SmallBundle) -> None:
    with BundleReader(bundle.path, bundle.signed) as reader, pytest.raises(BundleError) as caught:
        list(reader.stream_blob(digest_of(b"absent")))

    assert caught.value.reference == "entry-missing"


def test_reader_streams_to_several_threads_at_once(bundle: SmallBundle) -> None:
    with BundleReader(bundle.path, bundle.signed) as reader, ThreadPoolExecutor(6) as pool:
        read = pool.map(lambda blob: b"".join(reader.stream_blob(digest_of(blob))), BLOBS * 4)
        assert list(read) == list(BLOBS * 4)


@pytest.mark.parametrize("way", [BundleReader.verify_whole, BundleReader.verify_contents])
def test_verify_returns_the_digest_of_the_file(bundle: SmallBundle, way: Callable[..., Digest]) -> None:
    with BundleReader(bundle.path, bundle.signed) as reader:
        assert way(reader, Silent()) == digest_of(bundle.path.read_bytes())


@pytest.mark.parametrize("way", [BundleReader.verify_whole, BundleReader.verify_contents, BundleReader.verify_chunks])
def test_verify_counts_every_byte_of_the_file_once(bundle: SmallBundle, way: Callable[..., object]) -> None:
    class Counting(Silent):
        total = 0

        def advance(self, count_bytes: int) -> None:
            self.total += count_bytes

    progress = Counting()
    with BundleReader(bundle.path, bundle.signed) as reader:
        way(reader, progress)

    assert progress.total == bundle.signed.length_bytes


@pytest.mark.parametrize("way", [BundleReader.verify_whole, BundleReader.verify_contents])
def test_verify_reads_each_byte_once(bundle: SmallBundle, way: Callable[..., Digest]) -> None:
    raw = bundle.path.read_bytes()
    ranges: list[tuple[int, int]] = []

    def read_at(offset: int, count: int) -> bytes:
        ranges.append((offset, offset + count))
        return raw[offset : offset + count]

    with BundleReader(bundle.path, bundle.signed, read_at=read_at) as reader:
        way(reader, Silent())

    starts, ends = zip(*sorted(ranges), strict=True)
    assert (*starts[1:], len(raw)) == ends
    assert starts[0] == 0


def test_reader_reads_on_when_the_medium_answers_short(bundle: SmallBundle) -> None:
    raw = bundle.path.read_bytes()
    short = lambda offset, count: raw[offset : offset + min(count, 100_001)]  # noqa: E731
    with BundleReader(bundle.path, bundle.signed, read_at=short) as reader:
        assert b"".join(reader.stream_blob(digest_of(BLOBS[-1]))) == BLOBS[-1]


def test_verify_whole_refuses_another_signed_digest(bundle: SmallBundle) -> None:
    signed = replace(bundle.signed, digest=digest_of(b"another"))
    with BundleReader(bundle.path, signed) as reader, pytest.raises(BundleError) as caught:
        reader.verify_whole(Silent())

    assert (caught.value.reference, caught.value.exit_status) == ("bundle-digest-mismatch", 10)
    assert caught.value.facts["expected"] == signed.digest


def test_open_refuses_an_absent_file(bundle: SmallBundle, tmp_path: Path) -> None:
    error = refusal_on_open(tmp_path / "absent", bundle)

    assert (error.reference, error.exit_status) == ("bundle-missing", 10)


def test_open_refuses_a_link_even_to_the_right_bytes(bundle: SmallBundle, tmp_path: Path) -> None:
    link = tmp_path / "link.tar.gz"
    link.symlink_to(bundle.path)

    assert refusal_on_open(link, bundle).reference == "bundle-not-regular"


def test_open_refuses_a_fifo_without_waiting_for_it(bundle: SmallBundle, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    assert refusal_on_open(tmp_path / "fifo", bundle).reference == "bundle-not-regular"


def test_open_refuses_a_folder(bundle: SmallBundle, tmp_path: Path) -> None:
    assert refusal_on_open(tmp_path, bundle).reference == "bundle-not-regular"


@pytest.mark.parametrize("offset", [0, -1])
def test_open_refuses_an_index_range_outside_the_file(bundle: SmallBundle, offset: int) -> None:
    start = bundle.signed.length_bytes - offset
    error = refusal_on_open(bundle.path, bundle, index_offset_bytes=start)

    assert error.reference == "index-too-large"


def test_medium_that_cannot_be_read_is_told_apart_from_a_bad_bundle(bundle: SmallBundle) -> None:
    raw = bundle.path.read_bytes()

    def read_at(offset: int, count: int) -> bytes:
        if offset <= 5 * MIB < offset + count:
            raise OSError(5, "Input/output error")
        return raw[offset : offset + count]

    with BundleReader(bundle.path, bundle.signed, read_at=read_at) as reader:
        for work in (reader.verify_whole, reader.verify_contents, reader.verify_chunks):
            with pytest.raises(BundleError) as caught:
                work(Silent())
            assert (caught.value.reference, caught.value.exit_status) == ("medium-unreadable", 11)
            assert caught.value.facts["offset"] == 4 * MIB


def test_closed_reader_can_be_closed_again(bundle: SmallBundle) -> None:
    reader = BundleReader(bundle.path, bundle.signed)
    reader.open()
    reader.close()
    reader.close()
