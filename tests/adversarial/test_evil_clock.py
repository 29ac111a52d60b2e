"""Attack: a clock that lies, back or ahead, at the site or at a signer's desk.

A site has no time of its own. What it has are dates that releases it accepted prove to be past, and the
day its installer was built; no clock takes it back before them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from teraferry.bundles.errors import TrustError
from teraferry.keys.trusted import EPOCH, MetadataFiles
from tests.fakes.small_repository import LATER, NOW
from tests.fakes.small_site import SmallSite, medium

DAY = timedelta(days=1)
NEVER_SET = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture
def site(tmp_path: Path) -> SmallSite:
    return SmallSite(tmp_path).pin()


def refusal(site: SmallSite, files: MetadataFiles, *, now: datetime, built_at: datetime = EPOCH) -> TrustError:
    with pytest.raises(TrustError) as caught:
        site.install(files, now=now, built_at=built_at)
    return caught.value


@pytest.mark.parametrize("now", [NEVER_SET, NOW - 3650 * DAY, NOW])
def test_a_clock_set_back_does_not_revive_what_had_expired_when_a_later_release_was_signed(
    site: SmallSite, now: datetime
) -> None:
    site.install(medium(1, signed_at=LATER + DAY, expires=LATER + 30 * DAY), now=LATER + DAY)

    error = refusal(site, medium(2, expires=LATER), now=now)

    assert (error.exit_status, error.reference, error.facts["role"]) == (21, "metadata-expired", "timestamp")


def test_a_clock_that_was_never_set_does_not_keep_a_good_kit_out_and_is_said(site: SmallSite) -> None:
    site.install(medium(1))

    release = site.install(medium(2), now=NEVER_SET)

    assert [notice.reference for notice in release.notices] == ["clock-behind"]


def test_a_new_site_with_a_clock_of_1970_still_knows_the_day_its_installer_was_built(site: SmallSite) -> None:
    assert refusal(site, medium(1, expires=LATER), now=NEVER_SET, built_at=LATER).exit_status == 21


def test_a_new_site_with_a_clock_of_1970_and_an_old_installer_takes_an_expired_kit(site: SmallSite) -> None:
    # Nothing at such a site proves any later date. The page says so: docs/attack-model.md.
    assert site.install(medium(1, expires=LATER), now=NEVER_SET).bundle.version == "1.1.0"


def test_a_clock_ahead_refuses_everything_and_leaves_nothing_behind(site: SmallSite) -> None:
    site.install(medium(1))
    before = site.store.load()

    assert refusal(site, medium(2), now=NOW + 3650 * DAY).exit_status == 21

    # Once the clock is right, the same kit is good: the lie was not remembered.
    assert site.store.load() == before
    assert site.install(medium(2), now=NOW + DAY).bundle.version == "1.2.0"


def test_a_signing_date_far_ahead_does_not_make_later_releases_look_expired(site: SmallSite) -> None:
    release = site.install(medium(1, signed_at=NOW + 3650 * DAY))

    assert [notice.reference for notice in release.notices] == ["signed-in-the-future"]
    assert site.install(medium(2), now=NOW + DAY).bundle.version == "1.2.0"


def test_the_dates_of_the_desk_move_no_clock(site: SmallSite) -> None:
    # A stolen desk key may set any expiry; only what release keys date counts as a proof of time.
    site.install(medium(1, expires=NOW.replace(year=2099)))

    assert site.store.load().floor.newest_signed_at == NOW
