"""Three masters roll last, one at a time, the one that leads at the end, and only while all agree about one leader."""

from __future__ import annotations

import pytest

from teraferry.bundles.errors import OperatorNeededError, RolledBackError
from teraferry.installer.rollout.execute import INTENT
from tests.fakes.rollout_run import NODES, Kit, Site, broken_site, make_kit
from tests.fakes.rollout_site import FILER, MASTERS, OLD, Killed, Life, address_of

FIRST, LEADER = "master-2", "master-1"


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return make_kit(tmp_path_factory.mktemp("kit"), "4.2.0", has_images=False)


def patched(site: Site) -> list[str]:
    return [entry.step.split()[-1] for entry in site.entries() if entry.event == INTENT and "patch" in entry.step]


def starts(site: Site) -> list[int]:
    return [site.world.programs[master].starts for master in MASTERS]


def test_masters_come_last_and_the_one_that_leads_at_the_end(kit: Kit) -> None:
    site = Site(None, kit, masters=True)

    site.install()

    assert site.problems() == []
    assert patched(site) == [*NODES, "master-2", "master-3", "master-1"]
    assert site.world.quorum.elections == 1


def test_no_master_is_touched_while_one_is_away(kit: Kit) -> None:
    site = Site(None, kit, masters=True)
    site.world.at = {
        f"journal done wait_for_rebalance {FILER}: after": lambda: site.world.quorum.stop(address_of("master-3"))
    }

    with pytest.raises(OperatorNeededError) as caught:
        site.install()

    assert (caught.value.exit_status, caught.value.facts["cause"]) == (60, "masters-disagree")
    assert starts(site) == [0, 0, 0]
    site.world.at = {}
    site.world.quorum.start(address_of("master-3"))
    site.install()
    assert site.problems() == []


def test_no_further_master_is_touched_while_one_is_away(kit: Kit) -> None:
    site = Site(None, kit, masters=True)
    site.world.at = {
        f"journal done wait_for_rebalance {FIRST}: after": lambda: site.world.quorum.stop(address_of("master-3"))
    }

    with pytest.raises(OperatorNeededError):
        site.install()

    assert starts(site) == [0, 1, 0]


def test_master_that_does_not_come_back_is_put_back_and_no_further_one_is_touched(kit: Kit) -> None:
    site = broken_site(None, kit, node=FIRST, fault="wrong_runs", masters=True)

    with pytest.raises(OperatorNeededError) as caught:
        site.install()

    assert caught.value.exit_status == 60
    assert (site.running()[FIRST], starts(site)) == (OLD, [0, 2, 0])


def test_master_that_runs_what_was_signed_and_does_not_agree_with_the_others_is_put_back(kit: Kit) -> None:
    site = Site(None, kit, masters=True)
    site.world.at = {f"start {FIRST}: after": lambda: site.world.quorum.stop(address_of(FIRST))}

    with pytest.raises(OperatorNeededError) as caught:
        site.install()

    assert (caught.value.exit_status, site.running()[FIRST]) == (60, OLD)


def test_install_does_not_end_well_while_a_master_is_away(kit: Kit) -> None:
    site = Site(None, kit, masters=True)
    site.world.at = {
        f"journal done rejoin_cluster {LEADER}: after": lambda: site.world.quorum.stop(address_of("master-3"))
    }

    with pytest.raises(OperatorNeededError) as caught:
        site.install()

    assert (caught.value.exit_status, caught.value.facts["cause"]) == (60, "masters-disagree")


def test_masters_go_back_with_the_others_where_the_site_says_so(kit: Kit) -> None:
    site = broken_site(None, kit, node=LEADER, fault="start_fails", on_failure="rollback", masters=True)

    with pytest.raises(RolledBackError):
        site.install()

    assert site.problems(digest=OLD) == []


def site_with_the_masters_left(kit: Kit) -> Site:
    site = Site(None, kit, masters=True)
    for node in NODES:
        program = site.world.programs[node]
        program.files.add(kit.program.digest)
        program.selected = program.running = kit.program.digest
    return site


def test_install_that_is_killed_at_any_touch_of_the_masters_part_goes_on(kit: Kit) -> None:
    whole = Life()
    site_with_the_masters_left(kit).install(whole)
    begin = whole.touches.index(f"journal done wait_for_rebalance {FILER}: after")

    for touch in range(begin, len(whole.touches)):
        site = site_with_the_masters_left(kit)
        with pytest.raises(Killed):
            site.install(Life(kill_at=touch + 1))

        site.install()

        assert site.problems() == [], whole.touches[touch]
        assert len(site.world.quorum.observe()) == len(MASTERS)


def test_master_in_hand_is_finished_before_any_other_whoever_leads_by_then(kit: Kit) -> None:
    site = Site(None, kit, masters=True)
    site.world.quorum.step_down(address_of("master-1"))
    with pytest.raises(Killed):
        site.install(Life(at=("stop master-3: after", 1)))
    assert patched(site)[-2:] == ["master-1", "master-3"]
    site.world.quorum.step_down(address_of("master-2"))

    site.install()

    assert site.problems() == []
