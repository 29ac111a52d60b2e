"""Attack: a mirror or a drawer that holds old media back, all of them rightly signed once.

See also ``test_older_kit``: whole kits with files. Here: what exactly a stale mirror can still do, and for how long.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from teraferry.bundles.errors import TrustError
from teraferry.keys.trusted import MetadataFiles
from tests.fakes.small_repository import LATER, NOW
from tests.fakes.small_site import SmallSite, medium, root

DAY = timedelta(days=1)


@pytest.fixture
def site(tmp_path: Path) -> SmallSite:
    return SmallSite(tmp_path).pin()


def refusal(site: SmallSite, files: MetadataFiles, *, now: datetime = NOW) -> TrustError:
    with pytest.raises(TrustError) as caught:
        site.install(files, now=now)
    return caught.value


def test_what_was_accepted_once_is_the_oldest_that_is_accepted_again(site: SmallSite) -> None:
    site.install(medium(5))

    for number in (1, 4):
        assert refusal(site, medium(number)).exit_status == 22
    assert site.install(medium(5)).bundle.sequence == 5


def test_holding_new_media_back_works_until_the_old_ones_expire_and_no_longer(site: SmallSite) -> None:
    site.install(medium(1))

    assert site.install(medium(1), now=LATER - DAY).bundle.sequence == 1
    error = refusal(site, medium(1), now=LATER)
    assert (error.exit_status, error.reference) == (21, "metadata-expired")


def test_a_copy_that_was_not_renewed_is_refused_after_the_renewed_one(site: SmallSite) -> None:
    site.install(medium(1, desk_number=2, expires=LATER + 300 * DAY))

    error = refusal(site, medium(1, desk_number=1))

    assert (error.exit_status, error.reference) == (22, "older-than-installed")
    assert "renewed copy" in error.hint


@pytest.mark.parametrize("old", ["targets", "snapshot", "timestamp"])
def test_one_old_file_among_new_ones_is_refused(site: SmallSite, old: str) -> None:
    site.install(medium(1))
    stale: bytes = getattr(medium(1), old)

    assert refusal(site, replace(medium(2), **{old: stale})).reference == "metadata-disagrees"  # type: ignore[arg-type]


def test_a_root_that_is_held_back_does_not_bring_a_revoked_key_back_where_it_was_seen(site: SmallSite) -> None:
    without_3 = root(2, release=["release-1", "release-2"])
    site.install(medium(1, roots={2: without_3}))

    # A kit that a revoked key signed, on a medium without the root that revokes it.
    error = refusal(site, medium(2, signers=("release-1", "release-3")))

    assert (error.exit_status, error.reference, error.facts["have"]) == (20, "threshold-not-met", 1)


def test_a_root_that_is_held_back_keeps_a_revoked_key_alive_where_it_was_never_seen(site: SmallSite) -> None:
    # One revoked key below the threshold still needs another's signature. Until a medium with the root comes, a
    # site cannot know; the expiry of what the desk signs bounds it. The page says so: docs/attack-model.md.
    held_back = medium(2, signers=("release-1", "release-3"))

    assert site.install(held_back).root_version == 1
    assert refusal(site, held_back, now=LATER).exit_status == 21


def test_a_gap_in_the_roots_refuses_rather_than_stays_at_an_old_one(site: SmallSite) -> None:
    assert refusal(site, medium(1, roots={3: root(3)})).reference == "root-chain-broken"
