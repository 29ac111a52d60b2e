"""The kit's installer is copied, checked while it is copied, and old copies go."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from teraferry.builder.kit import locate_kit
from teraferry.bundles import layout
from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import BundleError, RefusedError
from teraferry.installer.program.handover import (
    COPIES,
    HANDED_OVER,
    RUNNING_FILE,
    forget_old_copies,
    needs_handover,
    take_over_copy,
)
from teraferry.keys.trusted import SignedFile, TrustedRelease
from tests.lab.house import House
from tests.lab.installer_file import flip_byte
from tests.lab.registry import tiny_disk


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house").open()


@pytest.fixture
def kit(house: House) -> Path:
    return house.kit().folder


@pytest.fixture
def release(house: House, kit: Path) -> TrustedRelease:
    return house.judge(locate_kit(kit))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def running(path: Path, content: bytes = b"old installer") -> dict[str, str]:
    path.write_bytes(content)
    return {RUNNING_FILE: str(path)}


def refused(release: TrustedRelease, kit: Path, state: Path) -> BundleError:
    with pytest.raises(BundleError) as error:
        take_over_copy(release, kit, state)
    assert not list(state.rglob(f"{layout.INSTALLER}*"))
    assert not list(state.rglob("*.part"))
    return error.value


def test_other_installer_in_the_kit_is_handed_over_to(release: TrustedRelease, tmp_path: Path) -> None:
    assert needs_handover(release, running(tmp_path / "old"))


def test_same_installer_stays_in_charge(release: TrustedRelease, kit: Path, tmp_path: Path) -> None:
    same = (kit / layout.INSTALLER).read_bytes()

    assert not needs_handover(release, running(tmp_path / "same", same))


def test_installer_that_was_handed_over_to_does_not_hand_over_again(release: TrustedRelease, tmp_path: Path) -> None:
    digest = release.targets[layout.INSTALLER].digest

    assert not needs_handover(release, {**running(tmp_path / "old"), HANDED_OVER: digest})


def test_earlier_handover_does_not_count_for_another_kit(release: TrustedRelease, tmp_path: Path) -> None:
    assert needs_handover(release, {**running(tmp_path / "old"), HANDED_OVER: digest_of(b"another")})


def test_source_code_stays_in_charge(release: TrustedRelease) -> None:
    assert not needs_handover(release, {})


def test_installer_whose_file_is_gone_hands_over(release: TrustedRelease, tmp_path: Path) -> None:
    assert needs_handover(release, {RUNNING_FILE: str(tmp_path / "unplugged" / "teraferry-installer")})


def test_copy_has_the_signed_bytes_and_belongs_to_its_owner_alone(
    release: TrustedRelease, kit: Path, state: Path
) -> None:
    copy = take_over_copy(release, kit, state)

    assert digest_of(copy.read_bytes()) == release.targets[layout.INSTALLER].digest
    assert (copy.stat().st_mode & 0o777, copy.parent.stat().st_mode & 0o777) == (0o700, 0o700)


def test_flipped_byte_is_refused_and_nothing_is_kept(release: TrustedRelease, kit: Path, state: Path) -> None:
    flip_byte(kit / layout.INSTALLER, 5)

    error = refused(release, kit, state)

    assert (error.exit_status, error.reference) == (10, "installer-differs")
    assert error.facts["expected"] == release.targets[layout.INSTALLER].digest


@pytest.mark.parametrize("change_bytes", [-1, 1, 3_000_000])
def test_other_length_is_refused(release: TrustedRelease, kit: Path, state: Path, change_bytes: int) -> None:
    content = (kit / layout.INSTALLER).read_bytes()
    (kit / layout.INSTALLER).write_bytes(content[:change_bytes] if change_bytes < 0 else content + bytes(change_bytes))

    assert refused(release, kit, state).reference == "installer-differs"


def test_installer_that_is_not_on_the_medium_is_refused(release: TrustedRelease, kit: Path, state: Path) -> None:
    (kit / layout.INSTALLER).unlink()

    error = refused(release, kit, state)

    assert (error.exit_status, error.reference) == (11, "medium-unreadable")


def test_link_on_the_medium_is_not_followed(release: TrustedRelease, kit: Path, state: Path, tmp_path: Path) -> None:
    (kit / layout.INSTALLER).rename(tmp_path / "elsewhere")
    (kit / layout.INSTALLER).symlink_to(tmp_path / "elsewhere")

    assert refused(release, kit, state).reference == "installer-differs"


def test_pipe_on_the_medium_is_not_waited_for(release: TrustedRelease, kit: Path, state: Path) -> None:
    (kit / layout.INSTALLER).unlink()
    os.mkfifo(kit / layout.INSTALLER)

    assert refused(release, kit, state).reference == "installer-differs"


def test_signed_installer_beyond_the_limit_is_not_read(release: TrustedRelease, kit: Path, state: Path) -> None:
    huge = SignedFile(10**12, digest_of(b""))

    error = refused(replace(release, targets={layout.INSTALLER: huge}), kit, state)

    assert error.reference == "installer-differs"


def test_full_disk_is_named_and_nothing_is_kept(release: TrustedRelease, kit: Path, tmp_path: Path) -> None:
    big = bytes(300_000)
    (kit / layout.INSTALLER).write_bytes(big)
    signed = replace(release, targets={layout.INSTALLER: SignedFile(len(big), digest_of(big))})
    with tiny_disk(tmp_path / "tiny", size_bytes=100_000) as state:
        with pytest.raises(RefusedError) as error:
            take_over_copy(signed, kit, state)
        left = [path for path in state.rglob("*") if path.is_file()]

    assert (error.value.exit_status, error.value.reference) == (44, "installer-no-space")
    assert left == []


def test_whole_copy_of_an_earlier_try_is_used_again(release: TrustedRelease, kit: Path, state: Path) -> None:
    copy = take_over_copy(release, kit, state)
    (kit / layout.INSTALLER).unlink()

    assert take_over_copy(release, kit, state) == copy


def test_damaged_copy_of_an_earlier_try_is_replaced(release: TrustedRelease, kit: Path, state: Path) -> None:
    flip_byte(take_over_copy(release, kit, state), 3)

    copy = take_over_copy(release, kit, state)

    assert digest_of(copy.read_bytes()) == release.targets[layout.INSTALLER].digest


def test_old_copies_go_and_the_running_one_stays(release: TrustedRelease, kit: Path, state: Path) -> None:
    copy = take_over_copy(release, kit, state)
    names = [f"{layout.INSTALLER}-{digit * 16}" for digit in "0123"]
    for name in [*names, f".{names[0]}.77.part", "a person's own file"]:
        (state / COPIES / name).write_bytes(b"x")

    forget_old_copies(copy, {RUNNING_FILE: str(state / COPIES / names[2])})

    left = {path.name for path in (state / COPIES).iterdir()}
    assert left == {copy.name, names[2], "a person's own file"}
