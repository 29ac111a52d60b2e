"""What a site remembers: pinned by a person, raised by a release, never lowered, never guessed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from teraferry.bundles.errors import TrustError, UsageError
from teraferry.keys.trust_store import TrustStore
from teraferry.keys.trusted import Floor
from teraferry.keys.tuf_metadata import Root, fingerprint_of, parse_metadata
from tests.lab.house import NOW, House


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house")).open()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "trust"


@pytest.fixture
def store(folder: Path) -> TrustStore:
    return TrustStore(folder)


def fingerprint(house: House) -> str:
    return fingerprint_of(parse_metadata(Root, house.root, what="root"))


def refused(store: TrustStore) -> TrustError:
    with pytest.raises(TrustError) as caught:
        store.load()
    assert caught.value.exit_status == 24
    return caught.value


def test_an_empty_store_refuses_and_says_what_to_type(store: TrustStore) -> None:
    error = refused(store)

    assert error.reference == "site-not-pinned"
    assert "teraferry-installer trust pin" in error.hint


def test_a_pinned_root_is_loaded_with_its_floor(house: House, store: TrustStore) -> None:
    store.pin(house.root, fingerprint(house))

    pinned = store.load()

    assert (pinned.product, pinned.root, pinned.fingerprint) == ("demo", house.root, fingerprint(house))
    assert pinned.floor == Floor(root_version=1)


@pytest.mark.parametrize("form", ["{}", " sha256:{} ", "UPPER", "colons"])
def test_a_fingerprint_may_be_typed_as_people_type(house: House, store: TrustStore, form: str) -> None:
    digits = fingerprint(house)
    grouped = ":".join(digits[at : at + 4] for at in range(0, 64, 4))
    typed = {"UPPER": digits.upper(), "colons": grouped}.get(form, form.format(digits))

    assert store.pin(house.root, typed).fingerprint == digits


def test_another_fingerprint_pins_nothing(house: House, store: TrustStore) -> None:
    with pytest.raises(TrustError) as caught:
        store.pin(house.root, "0" * 64)

    assert (caught.value.exit_status, caught.value.reference) == (24, "fingerprint-differs")
    assert refused(store).reference == "site-not-pinned"


@pytest.mark.parametrize("typed", ["", "12ab", "g" * 64, "0" * 63, "0" * 65])
def test_half_a_fingerprint_is_a_usage_error(house: House, store: TrustStore, typed: str) -> None:
    with pytest.raises(UsageError) as caught:
        store.pin(house.root, typed)

    assert caught.value.reference == "fingerprint-malformed"


def test_a_root_that_its_keys_did_not_sign_is_not_pinned(house: House, store: TrustStore) -> None:
    root = parse_metadata(Root, house.root, what="root")
    root.signatures.clear()

    with pytest.raises(TrustError) as caught:
        store.pin(root.to_bytes(), fingerprint(house))

    assert caught.value.reference == "threshold-not-met"


def test_an_accepted_release_raises_the_floor_for_good(house: House, folder: Path) -> None:
    store = TrustStore(folder)
    store.pin(house.root, fingerprint(house))
    release = house.judge(house.kit("2.0.0"))

    store.accept(release)

    assert TrustStore(folder).load().floor == release.floor


def test_pinning_again_does_not_lower_the_floor(house: House, store: TrustStore) -> None:
    store.pin(house.root, fingerprint(house))
    accepted = store.accept(house.judge(house.kit("2.1.0")))

    assert store.pin(house.root, fingerprint(house)).floor == accepted.floor


def test_a_second_root_of_the_same_product_is_refused(house: House, store: TrustStore, tmp_path: Path) -> None:
    store.pin(house.root, fingerprint(house))
    other = House(tmp_path / "other").open()

    with pytest.raises(TrustError) as caught:
        store.pin(other.root, fingerprint(other))

    assert (caught.value.exit_status, caught.value.reference) == (24, "already-pinned")


def test_two_products_keep_their_own_floor(house: House, store: TrustStore, tmp_path: Path) -> None:
    other = House(tmp_path / "other", product="billing").open()
    store.pin(house.root, fingerprint(house))
    store.pin(other.root, fingerprint(other))

    store.accept(other.judge(other.kit("9.0.0")))

    assert store.load("demo").floor.sequence == 0
    assert store.load("billing").floor.sequence == 1
    assert store.products() == ["billing", "demo"]
    with pytest.raises(UsageError) as caught:
        store.load()
    assert caught.value.reference == "product-not-named"


def test_an_older_release_is_not_accepted_after_a_newer_one(house: House, store: TrustStore) -> None:
    store.pin(house.root, fingerprint(house))
    older, newer = house.judge(house.kit("3.0.0")), house.judge(house.kit("3.1.0"))
    store.accept(newer)

    with pytest.raises(TrustError) as caught:
        store.accept(older)

    assert (caught.value.exit_status, caught.value.reference) == (22, "older-than-installed")


def test_a_release_verified_long_ago_does_not_lower_dates(house: House, store: TrustStore) -> None:
    store.pin(house.root, fingerprint(house))
    release = house.judge(house.kit("3.2.0"))
    late = replace(release, floor=replace(release.floor, built_at=NOW))
    store.accept(late)

    assert store.accept(release).floor.built_at == NOW


@pytest.mark.parametrize("at", range(0, 1000, 37))
def test_any_flipped_byte_is_corruption(house: House, folder: Path, store: TrustStore, at: int) -> None:
    store.pin(house.root, fingerprint(house))
    path = folder / "demo.json"
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 0x01
    path.write_bytes(content)

    assert refused(store).reference == "trust-store-corrupt"


def test_an_empty_file_is_corruption_and_not_an_empty_store(house: House, folder: Path, store: TrustStore) -> None:
    store.pin(house.root, fingerprint(house))
    (folder / "demo.json").write_bytes(b"")

    assert refused(store).reference == "trust-store-corrupt"


@pytest.mark.parametrize("name", [".", "demo.json"])
def test_a_store_that_others_may_write_is_refused(house: House, folder: Path, store: TrustStore, name: str) -> None:
    store.pin(house.root, fingerprint(house))
    (folder / name).chmod(0o777)

    assert refused(store).reference == "trust-store-exposed"


def test_a_store_that_is_a_link_is_refused(house: House, folder: Path, store: TrustStore, tmp_path: Path) -> None:
    store.pin(house.root, fingerprint(house))
    (folder / "demo.json").rename(tmp_path / "elsewhere.json")
    (folder / "demo.json").symlink_to(tmp_path / "elsewhere.json")

    assert refused(store).reference == "trust-store-exposed"
