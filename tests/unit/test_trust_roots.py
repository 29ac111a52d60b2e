"""The chain of roots: what a rotation may do, and what it may not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tuf.api.metadata import Root

from teraferry.bundles import layout
from teraferry.bundles.errors import TrustError
from teraferry.bundles.limits import MAX_ROOT_ROTATIONS
from teraferry.keys.metadata import read_metadata
from teraferry.keys.roots.change import RoleChange
from teraferry.keys.signers import KeyRing
from teraferry.keys.trust import verify_release
from teraferry.keys.trusted import Floor
from tests.lab.house import NOW, House, no_pin


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path).open()


def key_of(house: House, name: str):  # type: ignore[no-untyped-def]
    with KeyRing(no_pin) as ring:
        return ring.open(house.uris[name]).key


def swap(house: House, root: Root, role: str, *, out: str, into: str) -> None:
    root.revoke_key(key_of(house, out).keyid, role)
    root.add_key(key_of(house, into), role)


def refused(house: House, root: bytes, number: int = 2) -> TrustError:
    kit = house.kit()
    (kit.folder / layout.METADATA_DIR / layout.root_name(number)).write_bytes(root)
    with pytest.raises(TrustError) as caught:
        house.judge(kit)
    return caught.value


def test_a_site_that_missed_five_rotations_catches_up_from_one_kit(house: House) -> None:
    holders = ["root-1", "root-2", "root-3"]
    first = set(house.trust.load_root().signed.roles["root"].keyids)
    for number in range(2, 7):
        # Replaced one by one, until nobody of root 1 is left.
        house.add_key(f"root-new-{number}")
        leaving = house.key_id(holders[0])
        house.change(RoleChange("root", add=house.uris[f"root-new-{number}"], remove=leaving), holders[1], holders[2])
        holders = [*holders[1:], f"root-new-{number}"]
    last = set(house.trust.load_root().signed.roles["root"].keyids)
    kit = house.kit()

    release = house.judge(kit)

    assert first.isdisjoint(last)
    assert (release.root_version, release.floor.root_version) == (6, 6)
    assert release.root == (kit.folder / "metadata" / "6.root.json").read_bytes()


def test_a_site_in_the_middle_of_the_chain_catches_up_too(house: House) -> None:
    for _ in range(5):
        house.change(None, "root-1", "root-2")
    kit = house.kit()
    pinned = house.trust.load_roots()[4]

    files = read_metadata(kit.folder, after_root=4)
    release = verify_release(files, trusted_root=pinned, floor=Floor(root_version=4), now=NOW)

    assert (sorted(files.roots), release.root_version) == ([5, 6], 6)


@pytest.mark.parametrize("absent", [2, 3, 5])
def test_a_gap_in_the_chain_is_refused(house: House, absent: int) -> None:
    for _ in range(5):
        house.change(None, "root-1", "root-2")
    kit = house.kit()
    (kit.folder / "metadata" / f"{absent}.root.json").unlink()

    with pytest.raises(TrustError) as caught:
        house.judge(kit)

    assert (caught.value.exit_status, caught.value.reference) == (24, "root-chain-broken")
    assert (caught.value.facts["found"], caught.value.facts["last"]) == (absent + 1, absent - 1)


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_site_follows_so_many_roots_and_refuses_one_more(house: House, beyond: int) -> None:
    root, chain = house.next_root(), {}
    for number in range(2, MAX_ROOT_ROTATIONS + 2 + beyond):
        root.version = number
        chain[number] = house.sign_root(root, "root-1", "root-2")
    kit = house.kit()
    for number, content in chain.items():
        (kit.folder / "metadata" / layout.root_name(number)).write_bytes(content)

    if beyond:
        with pytest.raises(TrustError) as caught:
            house.judge(kit)
        assert (caught.value.exit_status, caught.value.reference) == (24, "root-chain-broken")
    else:
        assert house.judge(kit).root_version == MAX_ROOT_ROTATIONS + 1


def test_a_root_that_the_old_keys_did_not_sign_is_refused(house: House) -> None:
    for name in ("stranger-1", "stranger-2"):
        house.add_key(name)
    root = house.next_root()
    swap(house, root, "root", out="root-1", into="stranger-1")
    swap(house, root, "root", out="root-2", into="stranger-2")

    error = refused(house, house.sign_root(root, "stranger-1", "stranger-2"))

    assert (error.exit_status, error.reference, error.facts["role"]) == (20, "threshold-not-met", "root")


def test_a_root_that_its_own_keys_did_not_sign_is_refused(house: House) -> None:
    for name in ("new-1", "new-2"):
        house.add_key(name)
    root = house.next_root()
    swap(house, root, "root", out="root-1", into="new-1")
    swap(house, root, "root", out="root-2", into="new-2")

    error = refused(house, house.sign_root(root, "root-1", "root-2"))

    assert (error.exit_status, error.facts["have"]) == (20, 0)


def test_a_root_signed_once_is_refused(house: House) -> None:
    assert refused(house, house.sign_root(house.next_root(), "root-1")).exit_status == 20


def test_a_root_under_the_wrong_number_is_refused(house: House) -> None:
    root = house.next_root()
    root.version = 3

    assert refused(house, house.sign_root(root, "root-1", "root-2")).reference == "metadata-disagrees"


def test_a_root_cannot_change_the_product(house: House) -> None:
    root = house.next_root()
    root.unrecognized_fields["teraferry"]["product"] = "other"

    assert refused(house, house.sign_root(root, "root-1", "root-2")).reference == "metadata-disagrees"


def test_a_revoked_release_key_stops_counting_at_once(house: House) -> None:
    kit = house.kit()
    root = house.next_root()
    house.add_key("release-new")
    swap(house, root, "targets", out="release-1", into="release-new")
    (kit.folder / "metadata" / "2.root.json").write_bytes(house.sign_root(root, "root-1", "root-2"))

    with pytest.raises(TrustError) as caught:
        house.judge(kit)

    assert (caught.value.exit_status, caught.value.facts["have"]) == (20, 1)


def test_rotating_the_desk_key_heals_a_version_that_was_signed_far_too_high(house: House) -> None:
    poisoned = Floor(root_version=1, timestamp_version=10**9, snapshot_version=10**9, sequence=1)
    house.add_key("desk-new")
    root = house.next_root()
    for role in ("timestamp", "snapshot"):
        swap(house, root, role, out="desk", into="desk-new")
    house.publish_root(house.sign_root(root, "root-1", "root-2"), 2)
    house.uris["desk"] = house.uris["desk-new"]
    kit = house.kit()

    assert house.judge(kit, floor=poisoned).floor.timestamp_version == 1


def test_a_poisoned_version_stays_a_refusal_while_the_desk_key_is_trusted(house: House) -> None:
    kit = house.kit()

    with pytest.raises(TrustError) as caught:
        house.judge(kit, floor=replace(Floor(), timestamp_version=10**9), now=NOW)

    assert caught.value.exit_status == 22
