"""Attack: a signer who is bought or careless. One key, at its real place in the ceremony, is still one key.

``test_one_of_two`` does it on a whole kit, ``test_key_counted_twice`` with one key under two names.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from teraferry.bundles.errors import TrustError
from teraferry.keys.trusted import MetadataFiles
from tests.fakes.small_repository import NOW
from tests.fakes.small_site import SmallSite, medium, root

OWN = ("mine-1", "mine-2")


@pytest.fixture
def site(tmp_path: Path) -> SmallSite:
    return SmallSite(tmp_path).pin()


def refusal(site: SmallSite, files: MetadataFiles) -> TrustError:
    with pytest.raises(TrustError) as caught:
        site.install(files)
    return caught.value


@pytest.mark.parametrize(
    "signers",
    [("release-1",), ("release-1", "release-1"), ("release-1", "desk"), ("release-1", "root-1"), ("release-1", *OWN)],
    ids=["alone", "twice", "with the desk", "with a root key", "with keys of one's own"],
)
def test_one_release_key_releases_nothing(site: SmallSite, signers: tuple[str, ...]) -> None:
    error = refusal(site, medium(1, signers=signers))

    assert (error.exit_status, error.reference, error.facts["have"]) == (20, "threshold-not-met", 1)


@pytest.mark.parametrize(
    "signers",
    [("root-1",), ("root-1", "release-1", "release-2", "desk"), ("root-1", *OWN)],
    ids=["alone", "with every other key", "with keys of one's own"],
)
def test_one_root_key_makes_no_root(site: SmallSite, signers: tuple[str, ...]) -> None:
    mine = root(2, release=OWN, signers=signers)

    error = refusal(site, medium(1, signers=OWN, roots={2: mine}))

    assert (error.exit_status, error.facts["role"], error.facts["have"]) == (20, "root", 1)


def test_a_root_that_its_own_keys_signed_is_none_without_those_before_them(site: SmallSite) -> None:
    mine = root(2, keys=("root-1", *OWN), release=OWN, signers=("root-1", *OWN))

    error = refusal(site, medium(1, signers=OWN, roots={2: mine}))

    assert (error.exit_status, error.facts["role"], error.facts["have"]) == (20, "root", 1)


def test_enough_release_keys_make_no_root(site: SmallSite) -> None:
    mine = root(2, release=OWN, signers=("release-1", "release-2", "release-3"))

    assert refusal(site, medium(1, signers=OWN, roots={2: mine})).facts["have"] == 0


def test_a_bought_desk_cannot_give_an_old_release_a_new_date(site: SmallSite) -> None:
    site.install(medium(5))

    # Old targets, rightly signed by enough; everything that the desk signs is new.
    error = refusal(site, medium(1, desk_number=9))

    assert (error.exit_status, error.facts["what"]) == (22, "sequence")


def test_a_bought_desk_can_stop_releases_until_its_key_is_replaced(site: SmallSite) -> None:
    site.install(medium(1, desk_number=2**40))

    # Denial is all it buys, and a root with another desk key ends it.
    assert refusal(site, medium(2)).exit_status == 22
    healed = medium(2, desk="desk-new", roots={2: root(2, desk=["desk-new"])})
    assert site.install(healed).bundle.sequence == 2


def test_a_signer_who_adds_a_wrong_signature_spoils_the_kit_and_nothing_else(site: SmallSite) -> None:
    kit, other = medium(1, signers=("release-1", "release-2", "release-3")), medium(2, signers=("release-3",))
    signature = _signature(other.targets or b"", 0)
    spoiled = (kit.targets or b"").replace(_signature(kit.targets or b"", 2), signature)

    error = refusal(site, replace(kit, targets=spoiled))

    assert (error.exit_status, error.reference) == (20, "signature-invalid")
    assert site.install(medium(1)).bundle.sequence == 1


def _signature(content: bytes, number: int) -> bytes:
    return content.split(b'"sig":"')[number + 1].split(b'"')[0]


def test_a_bought_signer_cannot_lengthen_what_others_signed(site: SmallSite) -> None:
    kit = medium(1)
    later = (kit.targets or b"").replace(b"2031-", b"2099-")

    error = refusal(site, replace(kit, targets=later))

    assert later != kit.targets
    assert (error.reference, error.facts["have"]) == ("threshold-not-met", 0)
    assert NOW.year < 2031
