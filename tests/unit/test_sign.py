"""Signing a kit by several people, one after the other, and what stops the next of them."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Signature

from teraferry.bundles.errors import TeraFerryError
from teraferry.keys.trust_folder import TrustFolder
from teraferry.keys.tuf_metadata import Root, parse_metadata
from tests.lab.house import NOW, House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path).open()


def test_one_of_two_says_what_is_missing_and_is_no_error(house: House) -> None:
    outcome = house.sign(house.build(), "release-1", desk=False)

    assert len(outcome.signed) == 1
    assert outcome.missing == {
        "targets": {"have": 1, "need": 2},
        "snapshot": {"have": 0, "need": 1},
        "timestamp": {"have": 0, "need": 1},
    }


def test_people_sign_one_after_the_other_in_any_order(house: House) -> None:
    kit = house.build()
    house.sign(kit, "release-3", desk=False)
    house.sign(kit, "release-1", desk=False, now=NOW + timedelta(days=3))
    outcome = house.sign(kit, now=NOW + timedelta(days=4))

    assert outcome.missing == {}
    assert len(house.judge(kit, now=NOW + timedelta(days=4)).signers) == 2
    assert house.verify(kit, now=NOW + timedelta(days=4))["version"] == "1.0.0"


def test_the_desk_key_waits_for_the_release_keys(house: House) -> None:
    kit = house.build()

    outcome = house.sign(kit, "release-1")

    assert [notice.reference for notice in outcome.notices] == ["desk-key-waits"]
    assert not (kit.folder / "metadata" / "timestamp.json").exists()


def test_a_third_signature_on_a_closed_kit_keeps_snapshot_and_timestamp(house: House) -> None:
    kit = house.kit()
    before = (kit.folder / "metadata" / "timestamp.json").read_bytes()

    house.sign(kit, "release-3")

    assert (kit.folder / "metadata" / "timestamp.json").read_bytes() == before
    assert len(house.judge(kit).signers) == 3


def test_signing_twice_with_one_key_counts_once(house: House) -> None:
    kit = house.build()
    house.sign(kit, "release-1", desk=False)

    assert house.sign(kit, "release-1", desk=False).missing["targets"] == {"have": 1, "need": 2}


@pytest.mark.parametrize("name", ["teraferry-installer", "START-HERE.html", "SHA256SUMS"])
def test_a_kit_that_changed_since_the_first_signature_is_not_signed(house: House, name: str) -> None:
    kit = house.build()
    house.sign(kit, "release-1", desk=False)
    with (kit.folder / name).open("ab") as file:
        file.write(b" ")

    with pytest.raises(TeraFerryError) as caught:
        house.sign(kit, "release-2")

    assert (caught.value.exit_status, caught.value.reference) == (31, "kit-changed")
    assert caught.value.facts["changed"] == [name]


def test_a_rebuilt_bundle_under_old_signatures_is_not_signed(house: House) -> None:
    kit = house.build()
    house.sign(kit, "release-1", desk=False)
    other = house.build(name="rebuilt", blobs=(b"other",))
    shutil.copyfile(other.bundle, kit.bundle)

    with pytest.raises(TeraFerryError) as caught:
        house.sign(kit, "release-2")

    assert caught.value.facts["changed"] == ["demo-1.0.0.tar.gz"]


def test_a_forged_signature_among_those_there_stops_the_next_signer(house: House) -> None:
    kit = house.build()
    house.sign(kit, "release-1", desk=False)
    path = kit.folder / "metadata" / "targets.json"
    document = json.loads(path.read_bytes())
    document["signatures"][0]["sig"] = "00"
    path.write_text(json.dumps(document))

    with pytest.raises(TeraFerryError) as caught:
        house.sign(kit, "release-2")

    assert caught.value.reference == "kit-changed"


@pytest.mark.parametrize("name", ["root-1", "desk"])
def test_a_key_of_another_role_does_not_sign(house: House, name: str) -> None:
    kit = house.build()

    with pytest.raises(TeraFerryError) as caught:
        house.sign(kit, name)

    assert (caught.value.exit_status, caught.value.reference) == (31, "key-not-in-role")
    assert not (kit.folder / "SHA256SUMS").exists()


def test_a_kit_of_another_product_is_not_signed(house: House, tmp_path: Path) -> None:
    other = House(tmp_path / "other", product="billing").open()

    with pytest.raises(TeraFerryError) as caught:
        house.sign(other.build(), "release-1")

    assert (caught.value.exit_status, caught.value.reference) == (31, "product-differs")


def test_a_kit_that_another_trust_folder_numbered_is_not_signed(house: House) -> None:
    house.sign(house.build("0.9.0"), "release-1", desk=False)
    kit = house.build()
    stale = house.folder / "stale"
    shutil.copytree(house.folder / "trust", stale)
    house.sign(kit, "release-1", desk=False)

    with pytest.raises(TeraFerryError) as caught:
        house.sign(kit, "release-2", trust=TrustFolder(stale))

    assert caught.value.reference == "kit-of-another-trust-folder"


def test_a_kit_without_an_installer_is_not_signed(house: House) -> None:
    kit = house.build()
    (kit.folder / "teraferry-installer").unlink()

    with pytest.raises(TeraFerryError) as caught:
        house.sign(kit, "release-1")

    assert (caught.value.exit_status, caught.value.reference) == (10, "kit-incomplete")


def test_releases_are_numbered_in_the_order_of_their_first_signing(house: House) -> None:
    first, second = house.build("1.0.0"), house.build("1.1.0")
    house.sign(first, "release-1", desk=False)
    house.sign(second, "release-1", "release-2")
    house.sign(first, "release-2")

    before = house.judge(first)
    after = house.judge(second, floor=before.floor)

    assert (before.bundle.sequence, after.bundle.sequence) == (1, 2)


def test_signing_an_older_release_again_is_said(house: House) -> None:
    house.kit("1.0.0")
    house.kit("1.1.0")

    outcome = house.sign(house.build("1.0.0", name="again"), "release-1")

    assert "older-release-signed-again" in [notice.reference for notice in outcome.notices]
    assert outcome.sequence == 1


def test_each_signer_leaves_evidence_signed_by_the_same_key(house: House) -> None:
    kit = house.kit()
    root = parse_metadata(Root, house.root, what="root").signed

    documents = [json.loads(path.read_bytes()) for path in (kit.folder / "metadata" / "evidence").iterdir()]

    assert len(documents) == 2
    for document in documents:
        key = root.keys[document["signed"]["key_id"]]
        payload = str(encode_canonical(document["signed"])).encode()
        key.verify_signature(Signature(key.keyid, document["signature"]), payload)
        assert document["signed"]["kind"] == "file"


def test_every_root_of_the_trust_folder_travels_with_the_kit(house: House) -> None:
    house.publish_root(house.sign_root(house.next_root(), "root-1", "root-2"), 2)

    kit = house.kit()

    assert (kit.folder / "metadata" / "1.root.json").read_bytes() == house.root
    assert house.judge(kit).root_version == 2


def test_the_start_page_names_the_threshold_and_every_release_key(house: House) -> None:
    page = (house.kit().folder / "START-HERE.html").read_text()
    root = parse_metadata(Root, house.root, what="root").signed

    assert all(f"{key_id[:8]}.pem" in page for key_id in root.roles["targets"].keyids)
    assert "<strong>2</strong> of 3" in page
