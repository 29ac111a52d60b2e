"""An installer on the medium that is not the signed one: a later visit never starts it, and keeps nothing of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from teraferry.bundles import layout
from teraferry.bundles.errors import BundleError
from teraferry.installer.program.handover import digest_of_file, take_over_copy
from teraferry.keys.trusted import TrustedRelease
from tests.lab.house import House


@pytest.fixture
def medium(tmp_path: Path) -> tuple[TrustedRelease, Path]:
    """Return what the site trusts of a kit, and the kit."""
    house = House(tmp_path / "house").open()
    kit = house.kit("1.0.0")
    return house.judge(kit), kit.folder


@pytest.fixture
def release(medium: tuple[TrustedRelease, Path]) -> TrustedRelease:
    return medium[0]


@pytest.fixture
def kit(medium: tuple[TrustedRelease, Path]) -> Path:
    return medium[1]


def refused(release: TrustedRelease, kit: Path, state: Path) -> BundleError:
    with pytest.raises(BundleError) as caught:
        take_over_copy(release, kit, state)
    assert [path for path in state.rglob("*") if path.is_file()] == []
    return caught.value


def test_the_signed_installer_is_copied_to_the_site_for_root_alone(
    release: TrustedRelease, kit: Path, tmp_path: Path
) -> None:
    copy = take_over_copy(release, kit, tmp_path / "state")

    assert digest_of_file(copy) == release.targets[layout.INSTALLER].digest
    assert copy.stat().st_mode & 0o777 == 0o700


def test_an_installer_with_a_flipped_byte_is_refused(release: TrustedRelease, kit: Path, tmp_path: Path) -> None:
    installer = kit / layout.INSTALLER
    content = bytearray(installer.read_bytes())
    content[-1] ^= 1
    installer.write_bytes(content)

    error = refused(release, kit, tmp_path / "state")

    assert (error.exit_status, error.reference) == (10, "installer-differs")
    assert error.facts["expected"] == release.targets[layout.INSTALLER].digest


def test_an_installer_with_more_behind_it_is_refused(release: TrustedRelease, kit: Path, tmp_path: Path) -> None:
    with (kit / layout.INSTALLER).open("ab") as file:
        file.write(b"\nrm -rf /\n")

    assert refused(release, kit, tmp_path / "state").reference == "installer-differs"


def test_a_link_in_place_of_the_installer_is_not_followed(release: TrustedRelease, kit: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    os.replace(kit / layout.INSTALLER, elsewhere)  # noqa: PTH105 - across two folders of one disk
    (kit / layout.INSTALLER).symlink_to(elsewhere)

    assert refused(release, kit, tmp_path / "state").exit_status in (10, 11)


def test_an_installer_that_is_gone_is_a_medium_that_cannot_be_read(
    release: TrustedRelease, kit: Path, tmp_path: Path
) -> None:
    (kit / layout.INSTALLER).unlink()

    error = refused(release, kit, tmp_path / "state")

    assert (error.exit_status, error.reference) == (11, "medium-unreadable")


def test_a_copy_that_was_changed_at_the_site_is_replaced(release: TrustedRelease, kit: Path, tmp_path: Path) -> None:
    copy = take_over_copy(release, kit, tmp_path / "state")
    copy.write_bytes(b"#!/bin/sh\n")

    assert digest_of_file(take_over_copy(release, kit, tmp_path / "state")) == release.targets[layout.INSTALLER].digest
