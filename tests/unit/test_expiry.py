"""What expires before the next visit is told in time, with its date and what to do; nothing else is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from teraferry.installer.doctor import Advice, Probe, require_all_well, rows_of, run_probes
from teraferry.installer.expiry import Expiry, Horizon
from tests.fakes.told import Told

NOW = datetime(2026, 5, 4, tzinfo=UTC)
AHEAD = Horizon(NOW, 183)
DAY = timedelta(days=1)


def look(expires: datetime | None) -> str | Advice:
    return AHEAD.look("all there", [Expiry("its root", expires, "Ask for a newer one.")])


@pytest.mark.parametrize("expires", [None, NOW + 183 * DAY, NOW + 1000 * DAY])
def test_what_lasts_until_the_next_visit_is_well(expires: datetime | None) -> None:
    assert look(expires) == "all there"


def test_what_expires_a_second_before_the_next_visit_is_told_with_date_and_fix() -> None:
    seen = look(NOW + 183 * DAY - timedelta(seconds=1))

    assert isinstance(seen, Advice)
    assert seen.found.startswith("all there; its root expires on 2026-11-02, in 182 days")
    assert seen.fix == "Ask for a newer one."


def test_what_is_expired_already_is_told_as_that() -> None:
    seen = look(NOW)

    assert isinstance(seen, Advice)
    assert "its root expired on 2026-05-04" in seen.found


def test_every_late_date_is_named_and_each_fix_once() -> None:
    late = [Expiry(name, NOW + DAY, "Ask.") for name in ("one", "two")]

    seen = AHEAD.look("found", [*late, Expiry("three", NOW + 999 * DAY, "Never.")])

    assert isinstance(seen, Advice)
    assert ("one" in seen.found, "two" in seen.found, "three" in seen.found) == (True, True, False)
    assert seen.fix == "Ask."


def test_advice_is_a_warning_for_people_and_scripts_and_no_failure() -> None:
    told = Told()

    checks = run_probes([Probe("trust", lambda: look(NOW + DAY))], told)

    require_all_well(checks)
    (row,) = rows_of(checks)
    assert (row["ok"], row["warning"], row["fix"]) == (True, True, "Ask for a newer one.")
    assert told.text.startswith("warn trust: all there; its root expires")
