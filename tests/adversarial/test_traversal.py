"""Attack by a careless signer: entries that would leave their folder, or are not files at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from teraferry.bundles import layout
from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import BundleError
from teraferry.bundles.progress import Silent
from teraferry.bundles.tar_header import encode_tar_header
from tests.fakes.hostile_archive import HostileEntry, blob_entry, hostile_bundle, tar_block

BLOB = b"some bytes of a layer"
NAME = layout.blob_name(digest_of(BLOB))


def refusal(folder: Path, entries: list[HostileEntry], *, stream: bool = False) -> BundleError:
    path, signed = hostile_bundle(folder, entries)
    with pytest.raises(BundleError) as caught, BundleReader(path, signed) as reader:
        if stream:
            list(reader.stream_entry(NAME))
        else:
            reader.verify_whole(Silent())
    assert caught.value.exit_status == 10
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("../../etc/passwd", "entry-name-unsafe"),
        ("blobs/sha256/../../../etc/cron.d/x", "entry-name-unsafe"),
        ("blobs\\..\\..\\x", "entry-name-unsafe"),
        ("/etc/passwd", "entry-name-unsafe"),
        ("\\\\server\\share", "entry-name-unsafe"),
        ("..", "entry-name-unsafe"),
        ("./index.json", "entry-name-unknown"),
        ("index.json/", "entry-name-unknown"),
        ("index.json\0", "entry-name-unknown"),
        ("INDEX.JSON", "entry-name-unknown"),
        ("", "entry-name-unknown"),
        (NAME + "/", "entry-name-unknown"),
        (NAME + "\n", "entry-name-unknown"),
        (NAME.upper(), "entry-name-unknown"),
        ("blobs/sha256", "entry-name-unknown"),
        ("blobs/sha512/" + "a" * 128, "entry-name-unknown"),
        ("\u202egnp.tset", "entry-name-unknown"),
        ("n" * 256, "entry-name-too-long"),
        (layout.INDEX, "entry-name-unknown"),
    ],
)
def test_index_that_names_anything_but_a_document_or_blob_is_refused(tmp_path: Path, name: str, reference: str) -> None:
    entry = HostileEntry(name=name, content=BLOB, header=tar_block(NAME, size_bytes=len(BLOB)))

    assert refusal(tmp_path, [entry]).reference == reference


@pytest.mark.parametrize("stream", [False, True], ids=["verify", "stream"])
@pytest.mark.parametrize(
    ("type_flag", "link"),
    [
        (b"1", "oci-layout"),
        (b"2", "/etc/passwd"),
        (b"3", ""),
        (b"4", ""),
        (b"5", ""),
        (b"6", ""),
        (b"S", ""),
        (b"g", ""),
        (b"Z", ""),
    ],
)
def test_link_device_or_folder_in_place_of_a_file_is_refused(
    tmp_path: Path, type_flag: bytes, link: str, stream: bool
) -> None:
    header = tar_block(NAME, size_bytes=len(BLOB), type_flag=type_flag, link=link)
    entry = HostileEntry(name=NAME, content=BLOB, header=header)

    assert refusal(tmp_path, [entry], stream=stream).reference == "entry-not-regular"


@pytest.mark.parametrize("stream", [False, True], ids=["verify", "stream"])
@pytest.mark.parametrize(
    "header",
    [
        tar_block("../../etc/passwd", size_bytes=len(BLOB)),
        tar_block("/etc/passwd", size_bytes=len(BLOB)),
        tar_block("oci-layout", size_bytes=len(BLOB)),
        tar_block(NAME, size_bytes=len(BLOB) + 1),
        tar_block(NAME, size_bytes=0),
        tar_block(NAME, size_bytes=len(BLOB), mode=b"0004755"),
        tar_block(NAME, size_bytes=len(BLOB), link="/etc/passwd"),
        encode_tar_header(NAME, size_bytes=len(BLOB), mtime=5),
        bytes(512),
        b"\xff" * 512,
    ],
    ids=["dot-dot", "absolute", "another-entry", "longer", "empty", "setuid", "link-name", "time", "zeros", "garbage"],
)
def test_header_that_says_other_than_the_index_is_refused(tmp_path: Path, header: bytes, stream: bool) -> None:
    entry = HostileEntry(name=NAME, content=BLOB, header=header)

    assert refusal(tmp_path, [entry], stream=stream).reference == "entry-header-disagrees"


def test_header_of_another_length_is_refused(tmp_path: Path) -> None:
    pax = tar_block("@PaxHeader", size_bytes=20, type_flag=b"x") + b"20 path=../evil.txt\n".ljust(512, b"\0")
    entry = HostileEntry(name=NAME, content=BLOB, header=pax + tar_block(NAME, size_bytes=len(BLOB)))

    assert refusal(tmp_path, [entry]).reference == "entry-size-impossible"


def test_name_of_two_entries_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, [blob_entry(BLOB), blob_entry(BLOB)]).reference == "entry-duplicate"


def test_entries_out_of_order_are_refused(tmp_path: Path) -> None:
    blobs = sorted([blob_entry(b"a"), blob_entry(b"b")], key=lambda entry: entry.name, reverse=True)

    assert refusal(tmp_path, blobs).reference == "entry-out-of-order"


def test_document_after_the_blobs_is_refused(tmp_path: Path) -> None:
    late = HostileEntry(name=layout.DOCKER_MANIFEST, content=b"[]")

    assert refusal(tmp_path, [blob_entry(BLOB), late]).reference == "entry-out-of-order"


def test_bundle_without_its_manifest_is_refused(tmp_path: Path) -> None:
    documents = [HostileEntry(name=name, content=b"{}") for name in (layout.OCI_LAYOUT, layout.OCI_INDEX)]
    path, signed = hostile_bundle(tmp_path, documents, with_documents=False)

    with pytest.raises(BundleError) as caught:
        BundleReader(path, signed).open()

    assert (caught.value.reference, caught.value.facts["entry"]) == ("entry-missing", layout.MANIFEST)


def test_blob_whose_name_is_not_the_digest_of_its_row_is_refused(tmp_path: Path) -> None:
    entry = HostileEntry(name=NAME, content=b"other", claimed_digest=digest_of(b"other"))

    assert refusal(tmp_path, [entry]).reference == "entry-name-disagrees"


@pytest.mark.parametrize("length", [5, 600, 5 * 1024 * 1024])
def test_blob_that_is_not_its_digest_never_ends_well(tmp_path: Path, length: int) -> None:
    content = b"evil" * (length // 4)
    entry = HostileEntry(name=NAME, content=content, claimed_digest=digest_of(BLOB))
    path, signed = hostile_bundle(tmp_path, [entry])
    given = 0

    with pytest.raises(BundleError) as caught, BundleReader(path, signed) as reader:
        for view in reader.stream_entry(NAME):
            given += len(view)

    assert caught.value.reference == "entry-digest-mismatch"
    assert given < len(content)


def test_blob_that_is_not_its_digest_is_left_to_a_receiver_that_digests(tmp_path: Path) -> None:
    entry = HostileEntry(name=NAME, content=b"evil", claimed_digest=digest_of(BLOB))

    with BundleReader(*hostile_bundle(tmp_path, [entry])) as reader:
        given = b"".join(b"".join(views) for views in reader.stream_vectors(NAME, receiver_digests=True))

    assert digest_of(given) != digest_of(BLOB)
