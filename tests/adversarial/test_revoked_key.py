"""A thief has a release key, and a site that was not visited for years: when does the key stop counting there?"""

from __future__ import annotations

from pathlib import Path

import pytest

from teraferry.builder.kit import Kit
from teraferry.bundles.errors import TrustError
from teraferry.keys.metadata import read_metadata
from teraferry.keys.roots.change import RoleChange
from teraferry.keys.trust import verify_release
from teraferry.keys.trust_store import TrustStore
from teraferry.keys.trusted import TrustedRelease
from teraferry.keys.tuf_metadata import Root, fingerprint_of, parse_metadata
from tests.lab.house import NOW, House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path).open()


@pytest.fixture
def site(house: House, tmp_path: Path) -> TrustStore:
    """A site that pinned root 1 and accepted nothing yet."""
    store = TrustStore(tmp_path / "state")
    store.pin(house.root, fingerprint_of(parse_metadata(Root, house.root, what="root")))
    return store


def judge(site: TrustStore, kit: Kit) -> TrustedRelease:
    """Judge as the site does, from what it stored."""
    pinned = site.load()
    files = read_metadata(kit.folder, after_root=pinned.floor.root_version)
    return verify_release(files, trusted_root=pinned.root, floor=pinned.floor, now=NOW)


def revoke(house: House, name: str, successor: str) -> None:
    house.add_key(successor)
    change = RoleChange("release", add=house.uris[successor], remove=house.key_id(name))
    house.change(change, "root-1", "root-2")


def test_a_site_five_changes_behind_follows_once_and_never_counts_the_stolen_key_again(
    house: House, site: TrustStore
) -> None:
    # The thief holds release-1 and made a kit with an accomplice before both were revoked.
    stolen = house.kit("9.0.0")
    for number, name in enumerate(["release-1", "release-2", "spare-1", "spare-2", "spare-3"], start=1):
        revoke(house, name, f"spare-{number}")
    kit = house.build("1.1.0")
    house.sign(kit, "release-3", "spare-5")

    site.accept(judge(site, kit))

    assert site.load().floor.root_version == 6
    with pytest.raises(TrustError) as caught:
        judge(site, stolen)
    assert (caught.value.exit_status, caught.value.reference) == (20, "threshold-not-met")
    assert caught.value.facts["have"] == 0


@pytest.mark.parametrize("hidden", [["2.root.json"], ["2.root.json", "3.root.json"]])
def test_leaving_the_roots_out_of_a_kit_that_new_keys_signed_hides_nothing(
    house: House, site: TrustStore, hidden: list[str]
) -> None:
    revoke(house, "release-1", "spare-1")
    revoke(house, "release-2", "spare-2")
    kit = house.build("1.1.0")
    house.sign(kit, "spare-1", "spare-2")
    for name in hidden:
        (kit.folder / "metadata" / name).unlink()

    with pytest.raises(TrustError) as caught:
        judge(site, kit)

    assert (caught.value.exit_status, caught.value.reference) in {(24, "root-chain-broken"), (20, "threshold-not-met")}


def test_a_stolen_key_beside_one_honest_signature_does_not_make_up_for_another(house: House, site: TrustStore) -> None:
    revoke(house, "release-1", "spare-1")
    kit = house.build("1.1.0")
    house.sign(kit, "release-2", "release-3")
    site.accept(judge(site, kit))
    # Signed under root 1, when the key still counted, with a higher number than anything since.
    old = House(house.folder / "copy", uris=dict(house.uris))
    old.folder.mkdir()
    (old.folder / "trust").mkdir()
    for name in ("1.root.json", "trust.json"):
        (old.folder / "trust" / name).write_bytes((house.folder / "trust" / name).read_bytes())
    stolen = old.build("9.0.0")
    old.sign(stolen, "release-1", "release-2")

    with pytest.raises(TrustError) as caught:
        judge(site, stolen)

    assert (caught.value.exit_status, caught.value.facts["have"]) == (20, 1)
