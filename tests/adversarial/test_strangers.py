"""Somebody with keys of their own, and a kit that is perfect but for whose it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from teraferry.bundles.errors import TrustError
from teraferry.keys.signers import KeyRing
from tests.lab.house import House, no_pin


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house").open()


@pytest.fixture
def stranger(tmp_path: Path) -> House:
    return House(tmp_path / "stranger").open()


def test_a_kit_of_strangers_is_refused(house: House, stranger: House) -> None:
    with pytest.raises(TrustError) as caught:
        house.judge(stranger.kit())

    assert (caught.value.exit_status, caught.value.facts["have"]) == (20, 0)


def test_strangers_who_borrow_our_root_file_are_refused(house: House, stranger: House) -> None:
    kit = stranger.kit()
    shutil.copyfile(house.folder / "trust" / "1.root.json", kit.folder / "metadata" / "1.root.json")

    with pytest.raises(TrustError) as caught:
        house.judge(kit)

    assert caught.value.exit_status == 20


def test_strangers_who_borrow_our_key_ids_are_refused(house: House, stranger: House) -> None:
    kit = stranger.kit()
    path = kit.folder / "metadata" / "targets.json"
    content = path.read_text()
    with KeyRing(no_pin) as ring:
        for name in ("release-1", "release-2"):
            theirs, ours = (ring.open(side.uris[name]).key.keyid for side in (stranger, house))
            content = content.replace(theirs, ours)
    path.write_text(content)

    with pytest.raises(TrustError) as caught:
        house.judge(kit)

    assert (caught.value.exit_status, caught.value.facts["have"]) == (20, 0)


def test_a_successor_root_by_strangers_is_refused(house: House, stranger: House) -> None:
    kit = house.kit()
    root = stranger.sign_root(stranger.next_root(), "root-1", "root-2", "root-3")
    (kit.folder / "metadata" / "2.root.json").write_bytes(root)

    with pytest.raises(TrustError) as caught:
        house.judge(kit)

    assert (caught.value.exit_status, caught.value.facts["role"]) == (20, "root")
