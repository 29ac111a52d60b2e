"""Kits before and after a change of the root: whose signatures they bear, and which site still takes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from teraferry.builder.kit import Kit
from teraferry.bundles.errors import TeraFerryError
from teraferry.keys.metadata import read_metadata
from teraferry.keys.roots.change import RoleChange
from teraferry.keys.trust import verify_release
from teraferry.keys.trusted import Floor, TrustedRelease
from tests.lab.house import NOW, House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path).open()


def replace_release_1(house: House) -> None:
    house.add_key("release-new", "rsa")
    change = RoleChange("release", add=house.uris["release-new"], remove=house.key_id("release-1"))
    house.change(change, "root-1", "root-2")


def judge_at_root_2(house: House, kit: Kit) -> TrustedRelease:
    """Judge as a site that has accepted a kit with root 2."""
    root, floor = house.trust.load_roots()[2], Floor(root_version=2)
    return verify_release(read_metadata(kit.folder, after_root=2), trusted_root=root, floor=floor, now=NOW)


def test_a_kit_that_was_begun_under_an_older_root_is_not_finished(house: House) -> None:
    kit = house.build()
    house.sign(kit, "release-2", desk=False)
    replace_release_1(house)

    with pytest.raises(TeraFerryError) as caught:
        house.sign(kit, "release-3")

    assert (caught.value.exit_status, caught.value.reference) == (31, "kit-of-older-root")
    assert not (kit.folder / "metadata" / "timestamp.json").exists()


def test_a_finished_kit_stays_good_where_the_change_is_not_known(house: House) -> None:
    kit = house.kit()
    replace_release_1(house)

    assert house.judge(kit).root_version == 1


def test_a_finished_kit_of_a_revoked_key_is_refused_where_the_change_is_known(house: House) -> None:
    kit = house.kit()
    replace_release_1(house)

    with pytest.raises(TeraFerryError) as caught:
        judge_at_root_2(house, kit)

    assert (caught.value.exit_status, caught.value.reference) == (20, "threshold-not-met")
    assert caught.value.facts["have"] == 1


def test_a_finished_kit_whose_keys_all_stayed_is_good_everywhere(house: House) -> None:
    kit = house.build()
    house.sign(kit, "release-2", "release-3")
    replace_release_1(house)

    assert judge_at_root_2(house, kit).root_version == 2
    assert house.judge(kit).root_version == 1


def test_a_revoked_key_signs_nothing_more(house: House) -> None:
    replace_release_1(house)
    kit = house.build()

    with pytest.raises(TeraFerryError) as caught:
        house.sign(kit, "release-1")

    assert (caught.value.exit_status, caught.value.reference) == (31, "key-not-in-role")


def test_a_kit_signed_after_a_change_bears_the_new_keys_everywhere(house: House) -> None:
    old = house.key_id("release-1")[:8]
    replace_release_1(house)
    new = house.key_id("release-new")[:8]
    kit = house.build()
    house.sign(kit, "release-2", "release-new")

    page = (kit.folder / "START-HERE.html").read_text()
    signatures = {path.suffixes[0][1:] for path in kit.folder.glob("SHA256SUMS.*.sig")}
    assert f"SHA256SUMS.{new}.sig" in page
    assert f"SHA256SUMS.{old}.sig" not in page
    assert signatures == {new, house.key_id("release-2")[:8]}
    assert sorted(path.name for path in (kit.folder / "metadata").glob("*.root.json")) == ["1.root.json", "2.root.json"]
    assert house.verify(kit)["root_version"] == 2
