"""Founding a root: what it says, what the trust folder holds, and what is refused before anything is written."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from teraferry.bundles.errors import TeraFerryError
from teraferry.keys.roots.ceremony import TrustPlan, init_trust
from teraferry.keys.signers import KeyRing
from teraferry.keys.trust_folder import TrustFolder
from teraferry.keys.tuf_metadata import Root, fingerprint_of, parse_metadata, product_of
from tests.lab.house import NOW, House, make_file_key, no_pin


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path).open()


def refused(house: House, **changes: Any) -> TeraFerryError:
    plan: TrustPlan = replace(house.plan, **changes)
    folder = TrustFolder(house.folder / "second")
    with KeyRing(no_pin) as ring, pytest.raises(TeraFerryError) as caught:
        init_trust(folder, plan, ring, now=NOW)
    assert not folder.path.exists()
    return caught.value


def test_a_new_root_is_signed_by_every_root_key_and_names_product_roles_and_expiry(house: House) -> None:
    root = parse_metadata(Root, house.root, what="root")

    assert set(root.signatures) == set(root.signed.roles["root"].keyids)
    assert product_of(root.signed) == "demo"
    assert {name: role.threshold for name, role in root.signed.roles.items()} == {
        "root": 2,
        "targets": 2,
        "snapshot": 1,
        "timestamp": 1,
    }
    assert root.signed.expires == NOW + timedelta(days=3650)
    assert root.signed.consistent_snapshot is False


def test_the_trust_folder_holds_public_keys_and_no_private_one(house: House) -> None:
    folder = house.folder / "trust"

    assert len(list((folder / "keys").glob("*.pem"))) == 7
    for path in (path for path in folder.rglob("*") if path.is_file()):
        assert b"PRIVATE" not in path.read_bytes()
    for path in (folder / "keys").glob("*.pem"):
        load_pem_public_key(path.read_bytes())


def test_the_fingerprint_does_not_depend_on_who_signed(house: House) -> None:
    whole = parse_metadata(Root, house.root, what="root")
    fewer = parse_metadata(Root, house.root, what="root")
    fewer.signatures.popitem()

    assert fingerprint_of(whole) == fingerprint_of(fewer)


@pytest.mark.parametrize("threshold", [0, -1, 4])
def test_a_threshold_that_nobody_or_everybody_meets_is_refused(house: House, threshold: int) -> None:
    error = refused(house, root_threshold=threshold)

    assert (error.exit_status, error.reference) == (2, "threshold-impossible")


def test_a_key_given_twice_in_a_role_is_refused(house: House) -> None:
    error = refused(house, release_keys=[house.uris["release-1"], house.uris["release-1"]])

    assert (error.exit_status, error.reference) == (31, "key-used-twice")


def test_a_copy_of_a_key_under_another_name_is_the_same_key(house: House) -> None:
    copy = house.folder / "copy.pem"
    copy.write_bytes(Path(house.uris["release-1"].removeprefix("file:")).read_bytes())

    assert refused(house, release_keys=[house.uris["release-1"], f"file:{copy}"]).reference == "key-used-twice"


def test_too_few_keys_for_stock_openssl_are_refused(house: House) -> None:
    keys = [make_file_key(house.folder, f"ed-{number}", "ed25519") for number in (1, 2)]

    error = refused(house, release_keys=[house.uris["release-1"], *keys])

    assert (error.exit_status, error.reference) == (31, "release-keys-not-checkable")


def test_a_production_root_refuses_file_keys(house: House) -> None:
    error = refused(house, production=True)

    assert (error.exit_status, error.reference) == (31, "key-not-production")


@pytest.mark.parametrize("product", ["", "Upper", "a/b", "x" * 65])
def test_a_product_that_no_bundle_can_have_is_refused(house: House, product: str) -> None:
    assert refused(house, product=product).reference == "product-malformed"


@pytest.mark.parametrize("days", [{"targets": 0}, {"mirrors": 5}, {"root": 10**6}])
def test_an_expiry_out_of_reason_is_refused(house: House, days: dict[str, int]) -> None:
    assert refused(house, expires_days=days).reference == "expiry-malformed"


def test_a_folder_that_holds_something_is_never_overwritten(house: House) -> None:
    with KeyRing(no_pin) as ring, pytest.raises(TeraFerryError) as caught:
        init_trust(house.trust, house.plan, ring, now=NOW)

    assert (caught.value.exit_status, caught.value.reference) == (2, "trust-folder-exists")


def test_two_signers_at_once_are_kept_apart(house: House) -> None:
    with house.trust.locked(), pytest.raises(TeraFerryError) as caught, house.trust.locked():
        pass

    assert (caught.value.exit_status, caught.value.reference) == (31, "trust-folder-busy")


def test_numbers_only_rise_and_a_release_keeps_its_ordinal(house: House) -> None:
    numbers = [house.trust.number(version) for version in ("1.0.0", "1.1.0", "1.0.0")]

    assert [(each.metadata_version, each.sequence, each.newer_release) for each in numbers] == [
        (1, 1, None),
        (2, 2, None),
        (3, 1, "1.1.0"),
    ]


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": 2}'])
def test_a_damaged_trust_folder_is_said(house: House, content: bytes) -> None:
    (house.folder / "trust" / "trust.json").write_bytes(content)

    with pytest.raises(TeraFerryError) as caught:
        house.trust.load_state()

    assert caught.value.reference == "trust-folder-damaged"
