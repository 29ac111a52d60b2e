"""A later expiry for a kit on its way: two small files, the desk key, and no way to bring an old expiry back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, MetaFile, Snapshot

from teraferry.builder.kit import Kit
from teraferry.builder.renew import Renewal, renew_kit
from teraferry.builder.signing_room import SigningRoom
from teraferry.bundles.errors import TeraFerryError
from teraferry.bundles.progress import Silent
from teraferry.keys.signers import KeyRing
from teraferry.keys.trust_folder import TrustFolder
from teraferry.keys.tuf_metadata import signed_bytes
from tests.lab.house import NOW, House, no_pin
from tests.lab.signing_room import LabRoom, tree

LATER = NOW + timedelta(days=300)
UNTIL = NOW + timedelta(days=900)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house").open()


@pytest.fixture
def kit(house: House) -> Kit:
    return house.kit()


def renew(
    house: House,
    folder: Path,
    *,
    until: datetime = UNTIL,
    now: datetime = LATER,
    key: str = "desk",
    trust: TrustFolder | None = None,
) -> Renewal:
    with KeyRing(no_pin) as ring:
        room = SigningRoom(trust or house.trust, ring, Silent(), now)
        return renew_kit(folder, room, until=until, desk_key=house.uris[key])


def refused(house: House, kit: Kit, act: Callable[[], object]) -> TeraFerryError:
    """Renew, expect a refusal, and see that neither kit nor counter moved."""
    before, counter = tree(kit), house.trust.load_state().counter
    with pytest.raises(TeraFerryError) as caught:
        act()
    assert (tree(kit), house.trust.load_state().counter) == (before, counter)
    return caught.value


def test_only_snapshot_and_timestamp_change_and_the_kit_is_good_for_longer(house: House, kit: Kit) -> None:
    before = tree(kit)
    after_first_expiry = NOW + timedelta(days=500)

    renewal = renew(house, kit.folder)

    changed = {name for name, content in tree(kit).items() if before.get(name) != content}
    assert changed == {"metadata/snapshot.json", "metadata/timestamp.json"}
    assert renewal.changed == ("snapshot.json", "timestamp.json")
    assert house.judge(kit, now=after_first_expiry).expires["timestamp"] == UNTIL
    assert house.verify(kit, now=after_first_expiry)["version"] == "1.0.0"


def test_an_expired_kit_is_renewed_too(house: House, kit: Kit) -> None:
    now = NOW + timedelta(days=400)

    renew(house, kit.folder, now=now)

    assert house.judge(kit, now=now).expires["snapshot"] == UNTIL


def test_a_renewed_kit_has_a_version_of_its_own_and_the_old_copy_is_refused_after_it(
    house: House, kit: Kit, tmp_path: Path
) -> None:
    old = Kit(Path(shutil.copytree(kit.folder, tmp_path / "old")), tmp_path / "old" / kit.bundle.name)
    assert house.judge(old).versions["timestamp"] == 1

    renewal = renew(house, kit.folder)
    accepted = house.judge(kit)

    assert (renewal.metadata_version, accepted.versions["timestamp"], accepted.versions["targets"]) == (2, 2, 1)
    with pytest.raises(TeraFerryError) as caught:
        house.judge(old, floor=accepted.floor)
    assert (caught.value.exit_status, caught.value.reference) == (22, "older-than-installed")
    assert "renewed copy" in caught.value.hint


def test_a_folder_with_nothing_but_the_metadata_is_enough(house: House, kit: Kit, tmp_path: Path) -> None:
    shutil.copytree(kit.folder / "metadata", tmp_path / "mailed" / "metadata")

    changed = renew(house, tmp_path / "mailed").changed
    for name in changed:
        shutil.copyfile(tmp_path / "mailed" / "metadata" / name, kit.folder / "metadata" / name)

    assert house.verify(kit, now=NOW + timedelta(days=500))["version"] == "1.0.0"


def test_renewing_again_goes_further(house: House, kit: Kit) -> None:
    renew(house, kit.folder)

    assert renew(house, kit.folder, until=UNTIL + timedelta(days=1)).metadata_version == 3


@pytest.mark.parametrize("until", [NOW, LATER, NOW + timedelta(days=364), NOW + timedelta(days=365)])
def test_a_date_that_is_past_or_no_later_than_the_expiry_is_refused(house: House, kit: Kit, until: datetime) -> None:
    error = refused(house, kit, lambda: renew(house, kit.folder, until=until))

    assert (error.exit_status, error.reference) == (2, "until-too-early")


def test_a_date_before_now_is_refused_even_if_it_is_after_the_expiry(house: House, kit: Kit) -> None:
    late = NOW + timedelta(days=500)

    error = refused(house, kit, lambda: renew(house, kit.folder, until=NOW + timedelta(days=450), now=late))

    assert error.reference == "until-too-early"


def test_a_renewal_never_outlives_what_the_release_keys_said(house: House, kit: Kit) -> None:
    ends = house.judge(kit).expires["targets"]

    error = refused(house, kit, lambda: renew(house, kit.folder, until=ends + timedelta(seconds=1)))

    assert (error.exit_status, error.reference, error.facts["role"]) == (31, "renewal-outlives", "targets")
    assert renew(house, kit.folder, until=ends).expires == ends


def test_a_renewal_never_outlives_the_root(house: House, kit: Kit) -> None:
    root = house.next_root()
    root.expires = NOW + timedelta(days=600)
    house.publish_root(house.sign_root(root, "root-1", "root-2"), 2)

    error = refused(house, kit, lambda: renew(house, kit.folder))

    assert (error.reference, error.facts["role"]) == ("renewal-outlives", "root")


@pytest.mark.parametrize("state", ["nobody", "one", "open"])
def test_a_kit_that_is_not_fully_signed_is_not_renewed(house: House, state: str) -> None:
    room = LabRoom(house, house.build())
    room.request()
    if state != "nobody":
        house.sign(room.kit, "release-1", *(["release-2"] if state == "open" else []), desk=False)
    if state == "open":
        room.request()  # snapshot and timestamp lie there, unsigned

    error = refused(house, room.kit, lambda: renew(house, room.kit.folder))

    assert (error.exit_status, error.reference) == (31, "kit-not-signed")


def test_a_kit_whose_signers_were_revoked_is_not_renewed(house: House, kit: Kit) -> None:
    root = house.next_root()
    root.roles["targets"].keyids.remove(house.judge(kit).signers[0])
    house.publish_root(house.sign_root(root, "root-1", "root-2"), 2)

    assert refused(house, kit, lambda: renew(house, kit.folder)).reference == "kit-not-signed"


def test_closing_documents_of_another_kit_are_not_renewed(house: House, kit: Kit) -> None:
    other = house.kit("1.1.0")
    for name in ("snapshot.json", "timestamp.json"):
        shutil.copyfile(other.folder / "metadata" / name, kit.folder / "metadata" / name)

    assert refused(house, kit, lambda: renew(house, kit.folder)).reference == "kit-not-signed"


def test_a_snapshot_that_names_no_targets_is_not_renewed_whoever_signed_it(house: House, kit: Kit) -> None:
    path = kit.folder / "metadata" / "snapshot.json"
    snapshot: Metadata[Snapshot] = Metadata.from_bytes(path.read_bytes())
    snapshot.signed.meta = {"other.json": MetaFile(1)}
    with KeyRing(no_pin) as ring:
        desk = ring.open(house.uris["desk"])
        snapshot.signatures = {desk.key.keyid: desk.sign_metadata(signed_bytes(snapshot))}
    path.write_bytes(snapshot.to_bytes())

    assert refused(house, kit, lambda: renew(house, kit.folder)).reference == "kit-not-signed"


def test_a_kit_from_before_the_desk_key_changed_is_renewed_by_the_new_one(house: House, kit: Kit) -> None:
    house.add_key("new-desk")
    root = house.next_root()
    with KeyRing(no_pin) as ring:
        new = ring.open(house.uris["new-desk"]).key
    for role in ("snapshot", "timestamp"):
        root.roles[role].keyids[:] = [new.keyid]
    root.keys[new.keyid] = new
    house.publish_root(house.sign_root(root, "root-1", "root-2"), 2)

    assert refused(house, kit, lambda: renew(house, kit.folder)).reference == "key-not-in-role"
    assert renew(house, kit.folder, key="new-desk").changed == ("2.root.json", "snapshot.json", "timestamp.json")
    assert house.judge(kit).root_version == 2


def test_a_release_key_renews_nothing(house: House, kit: Kit) -> None:
    assert refused(house, kit, lambda: renew(house, kit.folder, key="release-1")).reference == "key-not-in-role"


def test_a_kit_that_this_trust_folder_never_numbered_is_not_renewed(house: House, tmp_path: Path) -> None:
    stale = Path(shutil.copytree(house.trust.path, tmp_path / "stale"))
    kit = house.kit()

    error = refused(house, kit, lambda: renew(house, kit.folder, trust=TrustFolder(stale)))

    assert error.reference == "kit-of-another-trust-folder"


def test_renewing_an_older_release_says_that_the_newer_needs_it_too(house: House, kit: Kit) -> None:
    newer = house.kit("1.1.0")

    renewal = renew(house, kit.folder)

    assert [notice.reference for notice in renewal.notices] == ["newer-release-needs-renewal"]
    floor = house.judge(kit).floor
    with pytest.raises(TeraFerryError) as caught:
        house.judge(newer, floor=floor)
    assert caught.value.exit_status == 22
    assert renew(house, newer.folder).notices == ()
    assert house.judge(newer, floor=floor).bundle.version == "1.1.0"


@pytest.mark.parametrize("place", ["nothing", "empty"])
def test_a_folder_without_metadata_is_no_kit(house: House, tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(TeraFerryError) as caught:
        renew(house, tmp_path / place)

    assert (caught.value.exit_status, caught.value.reference) == (2, "kit-not-found")


def test_a_renewal_that_was_cut_between_its_two_files_is_done_again(house: House, kit: Kit, tmp_path: Path) -> None:
    shutil.copytree(kit.folder / "metadata", tmp_path / "copy" / "metadata")
    renew(house, tmp_path / "copy")
    shutil.copyfile(tmp_path / "copy" / "metadata" / "snapshot.json", kit.folder / "metadata" / "snapshot.json")

    assert renew(house, kit.folder).metadata_version == 3
    assert house.judge(kit).expires["snapshot"] == UNTIL
