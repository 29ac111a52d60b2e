"""Wrapped keys on a node are copied away durably before anything is done, and what cannot be read refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from teraferry.bundles.digest import digest_of, hex_of
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.limits import MAX_KEY_BLOB_BYTES
from teraferry.installer.adapters.transport.local import LocalTransport
from teraferry.keys.continuity.wrapped_blobs import WrappedBlobs

WRAPPED = b"wrapped by the TPM"


def blobs_of(*paths: Path) -> WrappedBlobs:
    return WrappedBlobs("key Company_Key", [str(path) for path in paths], LocalTransport("vol-1"))


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    path = tmp_path / "company key.wrapped"
    path.write_bytes(WRAPPED)
    return path


def test_backup_is_named_by_its_digest_and_holds_the_bytes(blob: Path, tmp_path: Path) -> None:
    found = blobs_of(blob).back_up(tmp_path / "state" / "key-backups")

    assert found == {str(blob): digest_of(WRAPPED)}
    assert (tmp_path / "state" / "key-backups" / hex_of(digest_of(WRAPPED))).read_bytes() == WRAPPED


def test_blob_that_is_not_there_is_left_out_and_not_taken_for_an_empty_one(blob: Path, tmp_path: Path) -> None:
    assert blobs_of(tmp_path / "nothing").digests() == {}
    blob.write_bytes(b"")
    assert blobs_of(blob).digests() == {str(blob): digest_of(b"")}


def test_backup_of_an_older_blob_stays_beside_the_new_one(blob: Path, tmp_path: Path) -> None:
    folder = tmp_path / "key-backups"
    blobs_of(blob).back_up(folder)
    blob.write_bytes(b"another")
    blobs_of(blob).back_up(folder)

    assert {file.name for file in folder.iterdir()} == {hex_of(digest_of(c)) for c in (WRAPPED, b"another")}


def test_backup_that_was_damaged_is_written_anew(blob: Path, tmp_path: Path) -> None:
    folder = tmp_path / "key-backups"
    blobs_of(blob).back_up(folder)
    (copy,) = folder.iterdir()
    copy.write_bytes(b"damaged")
    blobs_of(blob).back_up(folder)

    assert copy.read_bytes() == WRAPPED


def test_backup_that_cannot_be_written_refuses_with_44(blob: Path, tmp_path: Path) -> None:
    (tmp_path / "key-backups").write_bytes(b"in the way")

    with pytest.raises(RefusedError) as caught:
        blobs_of(blob).back_up(tmp_path / "key-backups")
    assert (caught.value.reference, caught.value.exit_status) == ("key-backup-failed", 44)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_blob_that_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "blob"
    (path.mkdir if kind == "folder" else lambda: os.mkfifo(path))()

    with pytest.raises(RefusedError) as caught:
        blobs_of(path).digests()
    assert caught.value.reference == "key-blob-unreadable"


@pytest.mark.parametrize(("more", "is_read"), [(0, True), (1, False)])
def test_blob_is_read_up_to_its_limit(tmp_path: Path, more: int, *, is_read: bool) -> None:
    path = tmp_path / "blob"
    with path.open("wb") as file:
        file.truncate(MAX_KEY_BLOB_BYTES + more)

    try:
        found = bool(blobs_of(path).digests())
    except RefusedError as refused:
        assert refused.reference == "key-blob-unreadable"
        found = False
    assert found is is_read
