"""A person types ``rollback`` at a tier 1 site, whatever state it is in: every node serves on what it ran before.

An install may have been killed anywhere before, and so may the rollback itself: typed again it ends well.
"""

from __future__ import annotations

import pytest

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import RefusedError, TeraFerryError
from teraferry.installer.rollout.execute import ENDED
from teraferry.installer.status import status_of
from tests.fakes import typed
from tests.fakes.rollout_run import MODES, Kit, Site
from tests.fakes.rollout_site import FILER, OLD, VOLUME_NODES, Killed, Life, address_of

SHARES = 4
STRIDE = 4 * SHARES
"""Each share takes one touch of so many: together every fourth."""
LOOKS = (*typed.LOOKS, "observe", "serves")


def kill_points(touches: list[str]) -> list[int]:
    return typed.kill_points(touches, looks=LOOKS)


def refusal(site: Site) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        site.rollback()
    assert caught.value.exit_status == 40 or caught.value.reference == "compliance-lock"
    return caught.value


def outcomes(site: Site) -> list[object]:
    return [entry.facts.get("outcome") for entry in site.entries() if entry.event == ENDED]


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("mode", MODES)
def test_install_killed_anywhere_is_taken_back(kit: Kit, mode: str, share: int) -> None:
    whole = Life()
    Site(None, kit, mode=mode).install(whole)
    begun, ended = (whole.touches.index(f"journal {event}: after") + 1 for event in ("run-started", "run-ended"))
    failures = {}
    for kill_at in [n for n in kill_points(whole.touches) if begun <= n < ended][share::STRIDE]:
        site = Site(None, kit, mode=mode)
        site.killed(kill_at)
        try:
            done = site.rollback()
            problems = site.problems(digest=OLD)
            if done["did"] != "rolled-back" or outcomes(site) != ["rolled-back"]:
                problems.append(f"{done}, {outcomes(site)}")
            site.install()
            problems += site.problems()
        except TeraFerryError as error:
            problems = [f"{error.exit_status} {error.reference}: {error.message}"]
        if problems:
            failures[f"{kill_at} {whole.touches[kill_at - 1]}"] = problems

    assert failures == {}


def half_done(kit: Kit, mode: str) -> Site:
    """Return a site whose install was killed with two nodes done and one in hand."""
    site = Site(None, kit, mode=mode)
    site.killed_at("select vol-3: after")
    return site


def committed(kit: Kit, mode: str) -> Site:
    site = Site(None, kit, mode=mode)
    site.install()
    return site


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("begin", [half_done, committed])
@pytest.mark.parametrize("mode", MODES)
def test_rollback_killed_anywhere_ends_well_when_typed_again(kit: Kit, begin: object, mode: str, share: int) -> None:
    assert callable(begin)
    whole = Life()
    first: Site = begin(kit, mode)
    first.rollback(whole)
    assert first.problems(digest=OLD) == []
    failures = {}
    for kill_at in kill_points(whole.touches)[share::STRIDE]:
        site: Site = begin(kit, mode)
        with pytest.raises(Killed):
            site.rollback(Life(kill_at))
        try:
            site.rollback()
            problems = site.problems(digest=OLD)
        except TeraFerryError as error:
            problems = site.problems(digest=OLD)
            if error.reference != "nothing-to-roll-back":  # else it had come to its end
                problems.append(f"{error.exit_status} {error.reference}: {error.message}")
        if problems:
            failures[f"{kill_at} {whole.touches[kill_at - 1]}"] = problems

    assert failures == {}


def test_release_goes_out_as_it_came_in_once(kit: Kit) -> None:
    site = committed(kit, "safe")

    done = site.rollback()

    assert (done["did"], done["version"]) == ("went-back", "what was there before the first install")
    assert done["nodes"] == [FILER, *reversed(VOLUME_NODES)]
    assert site.problems(digest=OLD) == []
    seen = status_of(site.entries())
    assert (seen.release, seen.state) == (None, "nothing installed")
    assert refusal(site).reference == "nothing-to-roll-back"
    site.install()
    assert site.problems() == []


def test_status_says_how_to_go_on_and_how_to_go_back(kit: Kit) -> None:
    site = half_done(kit, "safe")
    assert status_of(site.entries()).next.endswith("or teraferry-installer rollback")
    with pytest.raises(Killed):
        site.rollback(Life(at=("select vol-2: after", 1)))
    assert "install KIT with the kit of" in status_of(site.entries()).next
    site.rollback()

    site.install()
    with pytest.raises(Killed):
        site.rollback(Life(at=("select vol-2: after", 1)))

    seen = status_of(site.entries())
    assert (seen.state, seen.next) == ("rolling back", "teraferry-installer rollback: it goes on from here")


def test_nothing_is_rolled_back_where_nothing_came(kit: Kit) -> None:
    assert refusal(Site(None, kit)).reference == "nothing-to-roll-back"

    rolled_back = half_done(kit, "safe")
    rolled_back.rollback()
    assert refusal(rolled_back).reference == "nothing-to-roll-back"


def test_legal_hold_postpones_the_way_back_of_a_whole_release_and_not_of_a_node_in_hand(kit: Kit) -> None:
    site = committed(kit, "safe")
    site.hold_running = True
    written = site.written()
    assert refusal(site).reference == "compliance-lock"
    assert site.written() == written

    in_hand = half_done(kit, "safe")
    in_hand.hold_running = True
    in_hand.rollback()
    assert in_hand.problems(digest=OLD) == []


def test_degraded_cluster_refuses_before_the_first_node(kit: Kit) -> None:
    site = committed(kit, "safe")
    site.world.lose("vol-4")
    written = site.written()

    assert refusal(site).reference == "cluster-degraded"
    assert site.written() == written


def test_site_of_several_versions_is_not_left_behind(kit: Kit) -> None:
    site = Site(None, kit)
    other = digest_of(b"another old version")
    program = site.world.programs["vol-2"]
    program.files.add(other)
    program.selected = program.running = other
    site.install()

    assert refusal(site).reference == "rollback-mixed"
    assert site.problems() == []


def test_version_that_is_gone_from_a_node_is_found_out_before_the_first(kit: Kit) -> None:
    site = committed(kit, "safe")
    site.world.programs["vol-1"].files.discard(OLD)

    assert refusal(site).reference == "rollback-version-gone"
    assert site.problems() == []


@pytest.mark.parametrize("fault", ["never_comes_back", "start_fails"])
def test_node_that_does_not_take_its_old_version_has_the_newer_one_again(kit: Kit, fault: str) -> None:
    site = committed(kit, "safe")
    getattr(site.world.programs["vol-3"], fault).add(OLD)

    with pytest.raises(TeraFerryError) as caught:
        site.rollback()

    assert (caught.value.exit_status, caught.value.reference) == (60, "halted-half-way")
    assert site.running()["vol-3"] == kit.program.digest
    assert address_of("vol-3") in site.world.placement().observation.nodes
    getattr(site.world.programs["vol-3"], fault).clear()
    site.rollback()
    assert site.problems(digest=OLD) == []
