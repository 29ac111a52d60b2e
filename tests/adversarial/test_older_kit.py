"""A stale or replayed medium: a kit that was good once, after a newer one was accepted."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from teraferry.bundles.errors import TrustError
from teraferry.keys.trust_store import TrustStore
from teraferry.keys.tuf_metadata import Root, fingerprint_of, parse_metadata
from tests.lab.house import NOW, House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house").open()


@pytest.fixture
def store(house: House, tmp_path: Path) -> TrustStore:
    made = TrustStore(tmp_path / "state" / "trust")
    made.pin(house.root, fingerprint_of(parse_metadata(Root, house.root, what="root")))
    return made


def test_an_older_kit_after_a_newer_one_is_refused(house: House, store: TrustStore) -> None:
    older, newer = house.kit("1.0.0"), house.kit("1.1.0")
    store.accept(house.judge(newer, floor=store.load().floor))

    with pytest.raises(TrustError) as caught:
        house.judge(older, floor=store.load().floor)

    assert (caught.value.exit_status, caught.value.reference) == (22, "older-than-installed")


def test_an_older_release_signed_again_later_is_still_older(house: House, store: TrustStore) -> None:
    house.kit("1.0.0")
    store.accept(house.judge(house.kit("1.1.0"), floor=store.load().floor))
    again = house.kit("1.0.0", name="again", now=NOW + timedelta(days=9))

    with pytest.raises(TrustError) as caught:
        house.judge(again, floor=store.load().floor, now=NOW + timedelta(days=9))

    assert (caught.value.exit_status, caught.value.facts["what"]) == (22, "sequence")


def test_the_same_kit_again_is_a_reinstall(house: House, store: TrustStore) -> None:
    kit = house.kit()
    store.accept(house.judge(kit, floor=store.load().floor))

    assert store.accept(house.judge(kit, floor=store.load().floor)).floor.sequence == 1


def test_an_old_timestamp_beside_newer_targets_is_refused(house: House, store: TrustStore) -> None:
    older, newer = house.kit("1.0.0"), house.kit("1.1.0")
    stale = (older.folder / "metadata" / "timestamp.json").read_bytes()
    (newer.folder / "metadata" / "timestamp.json").write_bytes(stale)

    with pytest.raises(TrustError) as caught:
        house.judge(newer, floor=store.load().floor)

    assert (caught.value.exit_status, caught.value.reference) == (24, "metadata-disagrees")
