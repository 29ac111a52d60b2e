"""The life of a root: every change is signed by old and new keys, or nothing is written."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Signature
from tuf.api.metadata import Metadata, Root

from teraferry.bundles.errors import BuildError, TeraFerryError, TrustError
from teraferry.bundles.limits import MAX_ROOT_ROTATIONS
from teraferry.keys.roots.change import RoleChange
from teraferry.keys.tuf_metadata import fingerprint_of, materials_of, signed_bytes
from tests.lab.house import NOW, House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path).open()


def listing(house: House) -> dict[str, bytes]:
    folder = house.folder / "trust"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def refused(house: House, change: RoleChange | None, *names: str) -> TeraFerryError:
    """Return why the change was refused, having made sure that nothing was written."""
    before = listing(house)
    with pytest.raises(TeraFerryError) as caught:
        house.change(change, *names)
    assert listing(house) == before
    return caught.value


def listing_of_pems(house: House) -> set[str]:
    return {path.stem for path in (house.folder / "trust" / "keys").iterdir()}


def is_followed_by_python_tuf(house: House, version: int) -> bool:
    """Ask python-tuf whether root ``version`` is signed by the thresholds of the root before it and of its own."""
    old, new = (Metadata[Root].from_bytes(house.trust.load_roots()[number]) for number in (version - 1, version))
    return new.signed.get_root_verification_result(old.signed, signed_bytes(new), new.signatures).verified


def test_a_key_joins_a_role(house: House) -> None:
    house.add_key("release-new", "p384")

    root = house.change(RoleChange("release", add=house.uris["release-new"], threshold=3), "root-1", "root-3")

    role = root.roles["targets"]
    assert (root.version, role.threshold, len(role.keyids)) == (2, 3, 4)
    assert house.key_id("release-new") in role.keyids
    assert is_followed_by_python_tuf(house, 2)


def test_a_key_that_leaves_is_in_no_role_and_its_public_key_is_gone(house: House) -> None:
    leaving = house.key_id("release-3")

    root = house.change(RoleChange("release", remove=leaving[:8]), "root-1", "root-2")

    assert leaving not in root.keys
    assert leaving[:8] not in listing_of_pems(house)
    assert listing_of_pems(house) == {key_id[:8] for key_id in root.keys}


def test_a_threshold_changes(house: House) -> None:
    assert house.change(RoleChange("release", threshold=3), "root-1", "root-2").roles["targets"].threshold == 3


def test_a_desk_key_is_replaced_in_both_of_its_roles(house: House) -> None:
    house.add_key("desk-new")

    change = RoleChange("desk", add=house.uris["desk-new"], remove=house.key_id("desk"))
    root = house.change(change, "root-1", "root-2")

    assert {tuple(root.roles[role].keyids) for role in ("snapshot", "timestamp")} == {(house.key_id("desk-new"),)}


def test_a_root_key_that_joins_signs_by_itself(house: House) -> None:
    house.add_key("root-new")

    house.change(RoleChange("root", add=house.uris["root-new"], threshold=3), "root-1", "root-2")

    assert set(house.trust.load_root().signatures) == {house.key_id(name) for name in ("root-1", "root-2", "root-new")}


def test_a_root_is_renewed_with_nothing_changed(house: House) -> None:
    before = house.trust.load_root().signed
    later = NOW + timedelta(days=3000)

    root = house.change(None, "root-2", "root-3", now=later)

    assert root.expires == later + timedelta(days=3650)
    assert (root.version, root.roles, root.keys) == (2, before.roles, before.keys)


def test_an_expired_root_can_still_be_renewed(house: House) -> None:
    late = NOW + timedelta(days=4000)

    house.change(None, "root-1", "root-2", now=late)
    kit = house.kit(now=late)

    assert house.judge(kit, now=late).root_version == 2


@pytest.mark.parametrize("names", [(), ("root-1",), ("root-1", "root-1")])
def test_too_few_root_keys_change_nothing(house: House, names: tuple[str, ...]) -> None:
    error = refused(house, RoleChange("release", threshold=1), *names)

    assert (error.exit_status, error.reference) == (31, "root-signatures-missing")
    assert (error.facts["old_have"], error.facts["old_need"]) == (len(set(names)), 2)


def test_the_new_threshold_must_sign_too(house: House) -> None:
    error = refused(house, RoleChange("root", threshold=3), "root-1", "root-2")

    assert error.reference == "root-signatures-missing"
    assert (error.facts["old_have"], error.facts["new_have"], error.facts["new_need"]) == (2, 2, 3)


def test_the_old_threshold_must_sign_too(house: House) -> None:
    house.change(RoleChange("root", threshold=3), "root-1", "root-2", "root-3")

    error = refused(house, RoleChange("root", threshold=1), "root-1", "root-2")

    assert (error.facts["old_need"], error.facts["old_have"], error.facts["new_need"]) == (3, 2, 1)


def test_a_key_that_leaves_counts_for_the_old_root_and_not_for_the_new_one(house: House) -> None:
    error = refused(house, RoleChange("root", remove=house.key_id("root-1")), "root-1", "root-2")

    assert (error.facts["old_have"], error.facts["new_have"]) == (2, 1)


def test_a_stranger_cannot_sign_a_root(house: House) -> None:
    error = refused(house, None, "root-1", "root-2", "release-1")

    assert (error.exit_status, error.reference) == (31, "key-not-in-role")


@pytest.mark.parametrize("role", ["root", "release", "desk"])
def test_a_key_that_is_there_already_cannot_join_again(house: House, role: str) -> None:
    name = {"root": "root-1", "release": "release-1", "desk": "desk"}[role]

    error = refused(house, RoleChange(role, add=house.uris[name]), "root-1", "root-2")

    assert error.reference == "key-used-twice"


def test_a_key_that_cannot_sign_does_not_join(house: House) -> None:
    (house.folder / "private" / "broken.pem").write_text("no key")

    error = refused(house, RoleChange("release", add=f"file:{house.folder}/private/broken.pem"), "root-1", "root-2")

    assert (error.exit_status, error.reference) == (31, "key-unreadable")


@pytest.mark.parametrize(
    ("change", "reference"),
    [
        (RoleChange("release", threshold=0), "threshold-impossible"),
        (RoleChange("release", threshold=4), "threshold-impossible"),
        (RoleChange("desk", threshold=2), "threshold-impossible"),
        (RoleChange("release", remove="0" * 64), "key-not-in-role"),
        (RoleChange("release", remove="00"), "key-id-malformed"),
    ],
)
def test_what_cannot_be_meant_is_refused(house: House, change: RoleChange, reference: str) -> None:
    assert refused(house, change, "root-1", "root-2").reference == reference


def test_the_only_desk_key_cannot_leave(house: House) -> None:
    error = refused(house, RoleChange("desk", remove=house.key_id("desk")), "root-1", "root-2")

    assert error.reference == "threshold-impossible"


def test_as_many_release_keys_as_the_threshold_stay_checkable_by_stock_openssl(house: House) -> None:
    house.add_key("edward", "ed25519")
    house.change(RoleChange("release", add=house.uris["edward"], threshold=3), "root-1", "root-2")

    error = refused(house, RoleChange("release", remove=house.key_id("release-1")), "root-1", "root-2")

    assert (error.reference, error.facts["checkable"]) == ("release-keys-not-checkable", 2)


def test_a_production_folder_takes_no_file_key_as_signer_or_newcomer(house: House) -> None:
    path = house.folder / "trust" / "trust.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "production": True}))

    assert refused(house, None, "root-1", "root-2").reference == "key-not-production"


def test_a_folder_whose_chain_does_not_hold_is_not_continued(house: House) -> None:
    # Signed by too few of root 1's keys; it satisfies only itself.
    root = house.next_root()
    root.roles["root"].threshold = 1
    house.publish_root(house.sign_root(root, "root-1"), 2)
    house.uris["nowhere"] = "file:/nowhere.pem"  # said before anybody is asked for a key

    error = refused(house, None, "nowhere")

    assert isinstance(error, TrustError)
    assert error.exit_status == 20


def test_a_folder_with_a_root_missing_is_damaged(house: House) -> None:
    for _ in range(2):
        house.change(None, "root-1", "root-2")
    (house.folder / "trust" / "2.root.json").unlink()

    assert refused(house, None, "root-1", "root-2").reference == "trust-folder-damaged"
    with pytest.raises(TeraFerryError) as caught:
        house.trust.load_root()
    assert caught.value.reference == "trust-folder-damaged"


def test_a_second_signer_of_a_root_waits(house: House) -> None:
    with house.trust.locked(), pytest.raises(BuildError) as caught:
        house.change(None, "root-1", "root-2")

    assert caught.value.reference == "trust-folder-busy"


def test_a_folder_goes_as_far_as_a_site_follows_and_no_further(house: House) -> None:
    root = house.next_root()
    for number in range(2, MAX_ROOT_ROTATIONS + 2):
        root.version = number
        house.publish_root(house.sign_root(root, "root-1", "root-3"), number)

    error = refused(house, None, "root-1", "root-2")

    assert max(house.trust.load_roots()) == MAX_ROOT_ROTATIONS + 1
    assert (error.exit_status, error.reference) == (31, "root-rotations-exhausted")


def test_everybody_who_made_a_root_leaves_signed_evidence_beside_it(house: House) -> None:
    house.add_key("release-new")
    root = house.change(RoleChange("release", add=house.uris["release-new"]), "root-1", "root-3")
    fingerprint = fingerprint_of(house.trust.load_root())

    folder = house.folder / "trust" / "evidence"
    founders = {key_id[:8] for key_id in Metadata[Root].from_bytes(house.root).signed.keys}
    assert {path.stem for path in (folder / "1").iterdir()} == founders
    documents = [json.loads(path.read_bytes()) for path in (folder / "2").iterdir()]
    assert {one["signed"]["key_id"] for one in documents} == {
        house.key_id(name) for name in ("root-1", "root-3", "release-new")
    }
    for one in documents:
        key = root.keys[one["signed"]["key_id"]]
        payload = str(encode_canonical(one["signed"])).encode()
        key.verify_signature(Signature(key.keyid, one["signature"]), payload)
        assert (one["signed"]["root"], one["signed"]["fingerprint"]) == (2, fingerprint)


def test_rules_of_the_folder_stay_what_they_were(house: House) -> None:
    before = house.trust.load_state()

    house.change(RoleChange("release", threshold=1), "root-1", "root-2")

    assert house.trust.load_state() == before
    assert materials_of(house.trust.load_root().signed, "targets").families == {}
