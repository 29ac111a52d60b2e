"""Connections that are cut where the site asked for it: not sooner, not elsewhere, not twice, and nowhere else."""

from __future__ import annotations

import pytest

from teraferry.bundles.errors import OperatorNeededError, RefusedError, TeraFerryError
from teraferry.installer.rollout.blue_green_plan import COMMIT, CUT
from teraferry.installer.rollout.stopping import StoppedByOperatorError
from teraferry.installer.status import status_of
from tests.fakes.pair_run import CUT_AFTER_SECONDS, PairSite
from tests.fakes.rollout_run import Kit
from tests.fakes.rollout_site import Killed, Life

LEFT = 3
AWAITED = ("established", 3)
"""The first look of the wait: one look is at the cutover, one at the commit."""


def site_with_connections(program: Kit, *, cuts: bool = True) -> PairSite:
    site = PairSite(program, cuts=cuts)
    site.world.switch.open = {"blue": LEFT, "green": 7}
    return site


def cuts(site: PairSite) -> list[str]:
    return [call for call in site.world.switch.calls if call.startswith("cut")]


def test_what_is_left_on_the_old_side_is_cut_after_its_time_and_nothing_else(program: Kit) -> None:
    site = site_with_connections(program)
    held, cut = list[float](), list[float]()
    site.world.at = {
        "hold green: after": lambda: held.append(site.world.seconds),
        "cut blue: before": lambda: cut.append(site.world.seconds),
    }

    done = site.install()

    assert done.outcome == {"hold_lapsed": False, "still_served": 0, "cut": LEFT}
    assert cut[0] - held[0] >= CUT_AFTER_SECONDS
    assert (cuts(site), site.world.switch.open) == (["cut blue"], {"blue": 0, "green": 7})
    assert site.problems() == []


def test_nobody_is_cut_where_the_site_does_not_ask_for_it_and_the_rest_is_counted(program: Kit) -> None:
    site = site_with_connections(program, cuts=False)

    done = site.install()

    assert done.outcome == {"hold_lapsed": False, "still_served": LEFT}
    assert cuts(site) == []


def test_nobody_is_cut_when_all_have_ended_before(program: Kit) -> None:
    site = site_with_connections(program)
    site.world.at = {"commit green: after": lambda: site.world.switch.open.update(blue=0)}  # type: ignore[union-attr]

    done = site.install()

    assert (done.outcome["cut"], cuts(site)) == (0, [])


def test_wait_is_over_when_the_last_has_ended(program: Kit) -> None:
    site = site_with_connections(program)
    looks: list[float] = []

    def look() -> None:
        looks.append(site.world.seconds)
        site.world.switch.open = {"blue": 0 if len(looks) > AWAITED[1] + 1 else LEFT, "green": 7}

    site.world.at = {"established": look}

    done = site.install()

    assert (done.outcome["cut"], cuts(site)) == (0, [])
    assert looks[-1] - looks[0] < CUT_AFTER_SECONDS / 10


def test_nobody_is_cut_by_a_window_that_fails(program: Kit) -> None:
    site = site_with_connections(program)
    site.world.at = {"hold green: after": lambda: site.world.health.update(green="silent")}

    with pytest.raises(TeraFerryError):
        site.install()

    assert (cuts(site), site.world.switch.open) == ([], {"blue": LEFT, "green": 7})


def test_install_that_was_killed_while_it_waited_goes_on_and_waits_its_time(program: Kit) -> None:
    site = site_with_connections(program)
    with pytest.raises(Killed):
        site.install(Life(at=AWAITED))
    assert status_of(site.entries()).state == "committed, connections of the other side are not cut yet"
    assert "rollback" not in status_of(site.entries()).next
    again = site.world.seconds
    cut_at: list[float] = []
    site.world.at = {"cut blue: before": lambda: cut_at.append(site.world.seconds)}

    done = site.install()

    assert done.outcome["cut"] == LEFT
    assert cut_at[0] - again >= CUT_AFTER_SECONDS
    assert site.problems() == []


def test_install_that_was_killed_after_the_cut_cuts_nobody_anew(program: Kit) -> None:
    site = site_with_connections(program)
    with pytest.raises(Killed):
        site.install(Life(at=("cut blue: after", 1)))

    site.install()

    assert cuts(site) == ["cut blue"]
    assert site.problems() == []


def test_cut_that_is_in_the_journal_is_not_looked_at_again_though_nobody_can_count(program: Kit) -> None:
    site = site_with_connections(program)
    with pytest.raises(Killed):
        site.install(Life(at=("journal run-ended: before", 1)))
    site.world.switch.open = None

    site.install()

    assert cuts(site) == ["cut blue"]


def test_stop_ends_the_wait_and_install_goes_on_later(program: Kit) -> None:
    site = site_with_connections(program)
    touches = len(touched(program))
    with pytest.raises(StoppedByOperatorError):
        site.install(stop_after=touches - 20)
    assert f"done {COMMIT}" in site.events()
    assert cuts(site) == []

    site.install()

    assert (cuts(site), site.problems()) == (["cut blue"], [])


def touched(program: Kit) -> list[str]:
    life = Life()
    site_with_connections(program).install(life)
    return list(life.touches)


def test_site_whose_switch_cannot_cut_is_refused_before_anything_is_touched(program: Kit) -> None:
    site = site_with_connections(program)
    site.world.switch.can_cut = False

    with pytest.raises(RefusedError) as caught:
        site.install()

    assert (caught.value.reference, caught.value.exit_status) == ("switch-cannot-cut", 40)
    assert site.written() == b""


def test_cut_that_fails_leaves_the_release_in_place_and_is_said(program: Kit) -> None:
    site = site_with_connections(program)
    site.world.at = {"cut blue: before": lambda: setattr(site.world.switch, "fail_next", "before")}

    with pytest.raises(OperatorNeededError) as caught:
        site.install()

    assert (caught.value.reference, caught.value.exit_status) == ("connections-not-cut", 62)
    assert site.world.switch.observe().standing == "green"
    assert f"failed {CUT}" in site.events()
    site.world.at = {}

    site.install()

    assert site.problems() == []
