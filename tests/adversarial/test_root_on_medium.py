"""A root that is found only on the medium: the thief of a medium signs with keys of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from teraferry.bundles.errors import TrustError
from teraferry.keys.trust_store import TrustStore
from teraferry.keys.tuf_metadata import Root, fingerprint_of, parse_metadata
from tests.lab.house import House


def test_a_site_without_a_pin_refuses_whatever_root_the_medium_brings(tmp_path: Path) -> None:
    House(tmp_path / "stranger").open().kit()

    with pytest.raises(TrustError) as caught:
        TrustStore(tmp_path / "state" / "trust").load()

    assert (caught.value.exit_status, caught.value.reference) == (24, "site-not-pinned")


def test_another_state_folder_is_no_way_round_the_pin(tmp_path: Path) -> None:
    house = House(tmp_path / "house").open()
    pinned = TrustStore(tmp_path / "state" / "trust")
    pinned.pin(house.root, fingerprint_of(parse_metadata(Root, house.root, what="root")))

    with pytest.raises(TrustError) as caught:
        TrustStore(tmp_path / "elsewhere" / "trust").load()

    assert caught.value.reference == "site-not-pinned"


def test_a_first_root_on_the_medium_is_never_read(tmp_path: Path) -> None:
    house = House(tmp_path / "house").open()
    kit = house.kit()
    (kit.folder / "metadata" / "1.root.json").write_bytes(House(tmp_path / "stranger").open().root)

    assert house.judge(kit).root == house.root


def test_pinning_a_strangers_root_with_our_fingerprint_pins_nothing(tmp_path: Path) -> None:
    house = House(tmp_path / "house").open()
    stranger = House(tmp_path / "stranger").open()
    store = TrustStore(tmp_path / "state" / "trust")

    with pytest.raises(TrustError) as caught:
        store.pin(stranger.root, fingerprint_of(parse_metadata(Root, house.root, what="root")))

    assert (caught.value.exit_status, caught.value.reference) == (24, "fingerprint-differs")
    assert store.products() == []
