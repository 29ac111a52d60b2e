"""Attack: bytes of a bundle changed on its way. Wherever it is, it is noticed before a byte of it is used."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from teraferry.bundles import layout
from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import BundleError
from teraferry.bundles.limits import CHUNK_BYTES
from teraferry.bundles.progress import Silent
from tests.fakes.small_bundle import SmallBundle, write_small_bundle

MIB = 1024 * 1024
TEXT = b"some text that deflates\n" * 50
BIG = random.Random(1).randbytes(9 * MIB)


def refusal(work: Callable[[], object]) -> BundleError:
    with pytest.raises(BundleError) as caught:
        work()
    return caught.value


def verify(bundle: SmallBundle) -> None:
    with BundleReader(bundle.path, bundle.signed) as reader:
        reader.verify_whole(Silent())


def flip(path: Path, position: int, mask: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ mask]))


def test_every_single_byte_of_a_small_bundle_is_covered(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path, [TEXT, b"x"])

    for position in range(bundle.signed.length_bytes):
        flip(bundle.path, position)
        error = refusal(lambda: verify(bundle))
        expected = "index" if position >= bundle.signed.index_offset_bytes else "chunk"
        assert (error.reference, error.exit_status) == (f"{expected}-digest-mismatch", 10), position
        flip(bundle.path, position)
    verify(bundle)


@pytest.mark.parametrize("position", [0, 3 * MIB, CHUNK_BYTES - 1, CHUNK_BYTES, 9 * MIB])
def test_flipped_byte_names_file_chunk_offset_blob_and_both_digests(tmp_path: Path, position: int) -> None:
    bundle = write_small_bundle(tmp_path, [BIG])
    flip(bundle.path, position)

    error = refusal(lambda: verify(bundle))

    chunk = position // CHUNK_BYTES
    raw = bundle.path.read_bytes()[: bundle.signed.index_offset_bytes]
    found = digest_of(raw[chunk * CHUNK_BYTES : (chunk + 1) * CHUNK_BYTES])
    assert error.facts["file"] == str(bundle.path)
    assert (error.facts["chunk"], error.facts["offset"]) == (chunk, chunk * CHUNK_BYTES)
    assert layout.blob_name(bundle.digests[0]) in (error.facts["blobs"] or ())  # type: ignore[operator]
    assert (error.facts["found"], error.facts["expected"]) == (found, bundle.written.index.chunks[chunk])


def test_flipped_byte_stops_a_stream_before_any_byte_of_its_chunk(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path, [BIG])
    flip(bundle.path, 2 * CHUNK_BYTES + 5)
    given = bytearray()

    def stream() -> None:
        with BundleReader(bundle.path, bundle.signed) as reader:
            for view in reader.stream_blob(bundle.digests[0]):
                given.extend(view)

    assert refusal(stream).reference == "chunk-digest-mismatch"
    assert len(given) < 2 * CHUNK_BYTES
    assert BIG.startswith(bytes(given))


def test_flipped_byte_is_refused_even_when_the_receiver_digests(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path, [BIG])
    flip(bundle.path, CHUNK_BYTES + 5)
    name = layout.blob_name(bundle.digests[0])

    with BundleReader(bundle.path, bundle.signed) as reader:
        error = refusal(lambda: list(reader.stream_vectors(name, receiver_digests=True)))

    assert error.reference == "chunk-digest-mismatch"


def test_first_of_several_bad_chunks_is_the_one_that_is_named(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path, [BIG])
    for position in (1, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 1):
        flip(bundle.path, position)

    with BundleReader(bundle.path, bundle.signed) as reader:
        assert refusal(lambda: reader.verify_whole(Silent())).facts["chunk"] == 0
        assert refusal(lambda: reader.verify_chunks(Silent(), jobs=2)).facts["chunk"] == 0


@pytest.mark.parametrize(
    ("change", "reference"),
    [
        (lambda raw: raw[:-1], "bundle-truncated"),
        (lambda raw: raw[: len(raw) // 2], "bundle-truncated"),
        (lambda raw: b"", "bundle-truncated"),
        (lambda raw: raw + b"\0", "bundle-extended"),
        (lambda raw: raw + raw, "bundle-extended"),
        (lambda raw: b"\0" * len(raw), "index-digest-mismatch"),
        (lambda raw: raw[::-1], "index-digest-mismatch"),
    ],
)
def test_truncated_extended_or_replaced_bundle_is_refused(
    tmp_path: Path, change: Callable[[bytes], bytes], reference: str
) -> None:
    bundle = write_small_bundle(tmp_path, [TEXT])
    bundle.path.write_bytes(change(bundle.path.read_bytes()))

    error = refusal(lambda: verify(bundle))

    assert (error.reference, error.exit_status) == (reference, 10)
    assert error.hint


def test_bundle_of_another_release_in_the_right_place_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one = write_small_bundle(tmp_path / "a", [b"one"])
    other = write_small_bundle(tmp_path / "b", [b"two"])
    one.path.write_bytes(other.path.read_bytes())

    assert refusal(lambda: verify(one)).reference in {"bundle-truncated", "bundle-extended", "index-digest-mismatch"}


def test_right_index_behind_the_content_of_another_release_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one = write_small_bundle(tmp_path / "a", [b"one" * 400])
    other = write_small_bundle(tmp_path / "b", [b"two" * 400])
    raw = one.path.read_bytes()
    start = one.signed.index_offset_bytes
    foreign = other.path.read_bytes()[: other.signed.index_offset_bytes][:start].ljust(start, b"\0")
    one.path.write_bytes(foreign + raw[start:])

    assert refusal(lambda: verify(one)).reference == "chunk-digest-mismatch"
