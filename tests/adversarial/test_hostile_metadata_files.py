"""What lies under a metadata name on a hostile medium: links, pipes, folders, endless files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from teraferry.bundles.errors import TrustError
from teraferry.bundles.limits import (
    MAX_METADATA_BYTES,
    MAX_ROOT_METADATA_BYTES,
    MAX_SNAPSHOT_BYTES,
    MAX_TIMESTAMP_BYTES,
)
from teraferry.keys.metadata import read_capped, read_metadata

NAMES = ("2.root.json", "targets.json", "snapshot.json", "timestamp.json")
LIMITS = {
    "2.root.json": MAX_ROOT_METADATA_BYTES,
    "targets.json": MAX_METADATA_BYTES,
    "snapshot.json": MAX_SNAPSHOT_BYTES,
    "timestamp.json": MAX_TIMESTAMP_BYTES,
}


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    (tmp_path / "kit" / "metadata").mkdir(parents=True)
    return tmp_path / "kit"


def refused(kit: Path) -> str:
    with pytest.raises(TrustError) as caught:
        read_metadata(kit, after_root=1)
    assert caught.value.exit_status == 24
    return caught.value.reference


@pytest.mark.parametrize("name", NAMES)
def test_a_link_to_a_file_of_the_site_is_not_followed(kit: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("{}")
    (kit / "metadata" / name).symlink_to(tmp_path / "secret")

    assert refused(kit) == "metadata-not-a-file"


@pytest.mark.parametrize("name", NAMES)
def test_a_pipe_does_not_hang_the_reader(kit: Path, name: str) -> None:
    os.mkfifo(kit / "metadata" / name)

    assert refused(kit) == "metadata-not-a-file"


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_in_place_of_a_file_is_refused(kit: Path, name: str) -> None:
    (kit / "metadata" / name).mkdir()

    assert refused(kit) == "metadata-not-a-file"


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_read_up_to_its_limit_and_refused_one_byte_above(kit: Path, name: str) -> None:
    path = kit / "metadata" / name
    path.write_bytes(b" " * LIMITS[name])
    assert len(read_capped(path, limit_bytes=LIMITS[name]) or b"") == LIMITS[name]
    read_metadata(kit, after_root=1)

    path.write_bytes(b" " * (LIMITS[name] + 1))

    assert refused(kit) == "metadata-too-large"


def test_no_more_roots_are_read_than_a_site_can_be_behind_and_one_that_shows_it_is(kit: Path) -> None:
    for number in range(2, 300):
        (kit / "metadata" / f"{number}.root.json").write_bytes(b"{}")

    assert len(read_metadata(kit, after_root=1).roots) == 256 + 1


def test_a_metadata_folder_that_is_a_link_is_refused(kit: Path, tmp_path: Path) -> None:
    (kit / "metadata").rename(tmp_path / "elsewhere")
    (kit / "metadata").symlink_to(tmp_path / "elsewhere")

    assert refused(kit) == "metadata-not-a-file"
