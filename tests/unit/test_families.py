"""One of each family: where ML-DSA keys sign, a threshold of one family alone is not enough."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from securesystemslib.signer import SSlibKey

from teraferry.bundles.errors import TeraFerryError, TrustError
from teraferry.keys.public_keys import UnusableKeyError, has_openssl_line, metadata_content, openssl_line
from teraferry.keys.roots.change import RoleChange
from teraferry.keys.roots.draft import DESK, ListedKey, RoleDraft, RootDraft, draft_of, require_sound_draft
from teraferry.keys.signers import KeyRing
from teraferry.keys.threshold import Role, require_threshold
from teraferry.keys.tuf_metadata import CUSTOM, EACH_FAMILY
from tests.lab.house import House, no_pin
from tests.lab.oracle import ask_ngclient

ROLE = Role(
    "targets",
    {"c1": "m1", "c2": "m2", "q1": "m3", "q2": "m4"},
    2,
    {"c1": "classical", "c2": "classical", "q1": "ml-dsa", "q2": "ml-dsa"},
)


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A house with two classical and two ML-DSA release keys, two of which sign."""
    return House(tmp_path, release_kinds=("p256", "p384", "ml-dsa", "ml-dsa")).open()


@pytest.mark.parametrize("signed", [("c1", "c2"), ("q1", "q2")])
def test_a_threshold_of_one_family_is_refused(signed: tuple[str, ...]) -> None:
    with pytest.raises(TrustError) as caught:
        require_threshold(ROLE, signed)

    assert (caught.value.exit_status, caught.value.reference) == (20, "family-missing")
    assert caught.value.facts["family"] == ("ml-dsa" if signed[0] == "c1" else "classical")


@pytest.mark.parametrize("signed", [("c1", "q1"), ("c2", "q2"), ("c1", "c2", "q1")])
def test_one_of_each_family_within_the_threshold_is_enough(signed: tuple[str, ...]) -> None:
    assert require_threshold(ROLE, signed) == sorted(signed)


def test_one_of_each_family_below_the_threshold_is_not() -> None:
    with pytest.raises(TrustError) as caught:
        require_threshold(Role(ROLE.name, ROLE.materials, 3, ROLE.families), ("c1", "q1"))

    assert caught.value.reference == "threshold-not-met"


def test_a_missing_family_that_could_not_be_checked_is_undecided() -> None:
    with pytest.raises(TrustError) as caught:
        require_threshold(ROLE, ("c1", "c2"), ("q1",))

    assert (caught.value.exit_status, caught.value.reference) == (23, "signature-undecided")


def sign_targets(house: House, *names: str) -> Path:
    """Return a finished kit whose targets then bear the signatures of just these keys."""
    kit = house.build()
    house.sign(kit, "release-1", "release-2", "release-3", "release-4")
    path = kit.folder / "metadata" / "targets.json"
    document = json.loads(path.read_bytes())
    wanted = {house.key_id(name) for name in names}
    document["signatures"] = [one for one in document["signatures"] if one["keyid"] in wanted]
    path.write_text(json.dumps(document))
    return kit.folder


@pytest.mark.parametrize("names", [("release-1", "release-2"), ("release-3", "release-4")])
def test_a_site_refuses_targets_of_one_family(house: House, names: tuple[str, ...]) -> None:
    from teraferry.builder.kit import locate_kit

    kit = sign_targets(house, *names)

    with pytest.raises(TrustError) as caught:
        house.judge(locate_kit(kit))
    assert (caught.value.exit_status, caught.value.reference) == (20, "family-missing")
    assert caught.value.facts["role"] == "targets"


def test_a_site_takes_targets_that_both_families_signed(house: House) -> None:
    from teraferry.builder.kit import locate_kit

    kit = sign_targets(house, "release-1", "release-3")

    assert len(house.judge(locate_kit(kit)).signers) == 2


def test_the_desk_waits_for_the_other_family_and_for_what_stock_openssl_can_check(house: House) -> None:
    kit = house.build()

    missing = [house.sign(kit, name).missing.get("targets") for name in ("release-1", "release-2")]

    # Two keys for the threshold, by lines that a first visit can type, and an ML-DSA key for the site.
    assert missing == [{"have": 1, "need": 3}, {"have": 2, "need": 3}]
    assert not (kit.folder / "metadata" / "timestamp.json").exists()
    assert house.sign(kit, "release-3").missing == {}
    assert len(house.judge(kit).signers) == 3


def test_an_ml_dsa_key_does_not_make_up_for_one_that_stock_openssl_can_check(house: House) -> None:
    kit = house.build()

    outcome = house.sign(kit, "release-1", "release-3", "release-4")

    assert outcome.missing["targets"] == {"have": 3, "need": 4}
    assert house.sign(kit, "release-2").missing == {}


def test_a_root_of_two_families_needs_both_to_be_followed(tmp_path: Path) -> None:
    house = House(tmp_path).open()
    house.add_key("root-q", "ml-dsa")
    house.change(RoleChange("root", add=house.uris["root-q"]), "root-1", "root-2")

    with pytest.raises(TeraFerryError) as caught:
        house.change(None, "root-1", "root-2", "root-3")
    assert (caught.value.exit_status, caught.value.reference) == (31, "root-signatures-missing")

    house.change(None, "root-1", "root-q")
    kit = house.kit()
    assert house.judge(kit).root_version == 3

    # The same root without its ML-DSA signature has its threshold, and is not followed.
    root = house.trust.load_root().signed
    root.version = 4
    (kit.folder / "metadata" / "4.root.json").write_bytes(house.sign_root(root, "root-1", "root-2"))
    with pytest.raises(TeraFerryError) as caught:
        house.judge(kit)
    assert (caught.value.exit_status, caught.value.reference) == (20, "family-missing")


@pytest.mark.parametrize("ruled", [None, [], ["root"], "targets", ["targets", "root"]])
def test_a_root_whose_rule_does_not_fit_its_keys_is_unreadable(house: House, ruled: object) -> None:
    kit = house.build()
    house.sign(kit, "release-1", "release-3")
    root = house.next_root()
    ours = root.unrecognized_fields[CUSTOM]
    assert ours.pop(EACH_FAMILY) == ["targets"]
    if ruled is not None:
        ours[EACH_FAMILY] = ruled
    (kit.folder / "metadata" / "2.root.json").write_bytes(house.sign_root(root, "root-1", "root-2"))

    with pytest.raises(TrustError) as caught:
        house.judge(kit)

    assert (caught.value.exit_status, caught.value.reference) == (24, "metadata-unreadable")


def test_a_root_of_one_family_has_no_rule(tmp_path: Path) -> None:
    root = House(tmp_path).open().trust.load_root().signed

    assert EACH_FAMILY not in root.unrecognized_fields[CUSTOM]


def test_the_rule_goes_with_the_last_key_of_its_family(house: House) -> None:
    for name in ("release-3", "release-4"):
        root = house.change(RoleChange("release", remove=house.key_id(name)), "root-1", "root-2")

    assert EACH_FAMILY not in root.unrecognized_fields[CUSTOM]


def refused(draft: RootDraft, *, production: bool = False) -> TeraFerryError:
    with pytest.raises(TeraFerryError) as caught:
        require_sound_draft(draft, production=production)
    return caught.value


def test_a_role_that_can_have_no_signer_of_each_family_is_not_made(house: House) -> None:
    with KeyRing(no_pin) as ring:
        lattice = ListedKey(ring.open(house.uris["release-3"]).key)
    draft = draft_of(house.trust.load_root().signed)

    # One desk key signs alone; a threshold of one is met by one family.
    roles = {
        **draft.roles,
        DESK: RoleDraft([lattice], 1),
    }
    assert refused(RootDraft(draft.product, roles)).reference == "family-rule-impossible"
    roles = {**draft.roles, "release": RoleDraft(draft.roles["release"].keys, 1)}
    assert refused(RootDraft(draft.product, roles)).reference == "family-rule-impossible"


def test_a_production_root_takes_no_ml_dsa_key(house: House) -> None:
    error = refused(draft_of(house.trust.load_root().signed), production=True)

    assert (error.exit_status, error.reference) == (31, "key-not-production")


def test_an_ml_dsa_key_does_not_count_as_checkable_by_stock_openssl(house: House) -> None:
    with pytest.raises(TeraFerryError) as caught:
        house.change(RoleChange("release", remove=house.key_id("release-2")), "root-1", "root-2")

    assert (caught.value.reference, caught.value.facts["checkable"]) == ("release-keys-not-checkable", 1)


def test_an_ml_dsa_key_has_no_openssl_line_and_the_page_says_so(house: House) -> None:
    kit = house.build()
    house.sign(kit, "release-1", "release-2", "release-3")
    page = (kit.folder / "START-HERE.html").read_text()
    lattice, classical = house.key_id("release-3")[:8], house.key_id("release-1")[:8]
    key = house.trust.load_root().signed.keys[house.key_id("release-3")]

    assert f'id="verify-{classical}"' in page
    assert f'id="verify-{lattice}"' not in page
    assert "an experiment" in page
    assert not has_openssl_line(key)
    with pytest.raises(UnusableKeyError):
        openssl_line(key, key_file="k", signature_file="s", content_file="c")
    assert house.verify(kit)["version"] == "1.0.0"


def test_python_tuf_verifies_our_ml_dsa_signatures_too(tmp_path: Path) -> None:
    from teraferry.bundles.system.clock import now_utc

    house = House(tmp_path, release_kinds=("p256", "p384", "ml-dsa")).open(now=now_utc())
    kit = house.build()
    house.sign(kit, "release-1", "release-2", "release-3", now=now_utc())

    assert ask_ngclient(kit.folder, house.root, target="demo-1.0.0.tar.gz") == "accepted"


def test_what_is_signed_of_metadata_is_marked_for_ml_dsa_and_whole_for_others() -> None:
    lattice, classical = (SSlibKey("f" * 64, kind, kind, {"public": ""}) for kind in ("ml-dsa", "ed25519"))

    assert metadata_content(classical, b"payload") == b"payload"
    assert metadata_content(lattice, b"payload")[:4] == b"tuf\x01"
    assert len(metadata_content(lattice, b"payload")) == 4 + 64
