"""What goes wrong around a cutover, on blue and green in memory: who is served meanwhile, and what is lost. Nothing is.

The same world as in ``test_blue_green_killed``: its clients write at every touch, and what they were promised is
looked for at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from teraferry.bundles.errors import TeraFerryError
from teraferry.installer.rollout.blue_green import execute_blue_green_switch
from teraferry.installer.rollout.blue_green_journal import LAPSED, PENDING, pending_of
from teraferry.installer.rollout.blue_green_plan import ASK, MONITOR, SWITCH
from teraferry.installer.rollout.blue_green_window import LEVEL_SECONDS
from teraferry.installer.rollout.execute import RunRecord
from teraferry.installer.status import status_of
from tests.fakes.pair_run import PairSite
from tests.fakes.pair_world import CHECKS
from tests.fakes.rollout_run import NOW, Kit
from tests.fakes.rollout_site import OLD, Killed, Life

AFTER_CUTOVER = "hold green: after"


def refusal(site: PairSite, life: Life | None = None, *, kit: Kit | None = None) -> TeraFerryError:
    with pytest.raises(TeraFerryError) as caught:
        site.install(life, kit=kit)
    return caught.value


def at(site: PairSite, touch: str, act: Callable[[], object], *, times: int = 1) -> None:
    """Have ``act`` happen in the world at the n-th ``touch``."""
    seen = iter(range(1, 1000))

    def happen() -> None:
        if next(seen) == times:
            act()

    site.world.at = {**site.world.at, touch: happen}


def serves_blue(site: PairSite) -> bool:
    return site.problems(standing="blue", digest=OLD) == []


# ---- the compliance lock


def test_hold_that_runs_at_the_start_postpones_and_changes_nothing(program: Kit) -> None:
    site = PairSite(program)
    site.world.hold_running = True

    error = refusal(site)

    assert (error.exit_status, error.reference) == (41, "compliance-lock")
    assert site.written() == b""
    assert [program.starts for program in site.world.programs.values()] == [0] * 4


@pytest.mark.parametrize("probe", ["runs", "silent"])
def test_hold_that_begins_between_check_and_cutover_is_caught(program: Kit, probe: str) -> None:
    site = PairSite(program)
    if probe == "runs":
        at(site, "sync blue: after", lambda: setattr(site.world, "hold_running", True))
    else:
        at(site, "sync blue: after", lambda: setattr(site.world, "probe_answers", False))

    error = refusal(site)

    assert error.exit_status == 41
    assert site.world.switch.calls == []
    assert site.world.switch.observe().active == "blue"
    assert status_of(site.entries()).next.startswith("teraferry-installer install")


def test_install_goes_on_once_the_hold_is_over(program: Kit) -> None:
    site = PairSite(program)
    at(site, "sync blue: after", lambda: setattr(site.world, "hold_running", True))
    refusal(site)
    site.world.hold_running, site.world.at = False, {}

    site.install()

    assert site.problems() == []
    assert [program.starts for node, program in site.world.programs.items() if node.startswith("green")] == [1, 1]


# ---- before the cutover nobody notices


@pytest.mark.parametrize("fault", ["start_fails", "never_comes_back"])
def test_green_node_that_does_not_come_up_leaves_blue_serving(program: Kit, fault: str) -> None:
    site = PairSite(program)
    getattr(site.world.programs["green-2"], fault).add(program.program.digest)

    error = refusal(site)

    assert (error.exit_status, error.reference) == (50, "standby-failed")
    assert SWITCH not in str(site.events())
    assert serves_blue(site)


def test_smoke_test_that_fails_keeps_everybody_on_blue(program: Kit) -> None:
    site = PairSite(program)
    site.world.smoke = "broken"

    error = refusal(site)

    assert (error.exit_status, error.facts["cause"]) == (50, "smoke-failed")
    assert site.world.switch.calls == []
    assert serves_blue(site)


def test_health_that_would_not_answer_is_found_out_before_the_cutover(program: Kit) -> None:
    site = PairSite(program)
    site.world.health["green"] = "silent"

    error = refusal(site)

    assert (error.exit_status, error.facts["cause"]) == (50, "monitor-inconclusive")
    assert site.world.switch.calls == []


def test_key_lost_in_green_stops_before_the_cutover(program: Kit) -> None:
    site = PairSite(program, has_key=True)
    at(site, "start green-1: after", lambda: setattr(site.key, "is_there", False))

    error = refusal(site)

    assert (error.exit_status, error.reference) == (61, "key-continuity-lost")
    assert site.world.switch.calls == []
    assert site.world.programs["green-2"].starts == 0
    assert refusal(site).exit_status == 61


def test_key_lost_while_writes_are_brought_level_stops_before_the_cutover(program: Kit) -> None:
    site = PairSite(program, has_key=True)
    at(site, "sync blue: after", lambda: setattr(site.key, "is_there", False))

    assert refusal(site).exit_status == 61
    assert site.world.switch.calls == []


# ---- the window


@pytest.mark.parametrize("fault", ["error", "slow", "silent"])
@pytest.mark.parametrize("check", range(2, CHECKS + 2))
def test_any_check_that_is_not_passed_sends_everybody_back_at_once(program: Kit, fault: str, check: int) -> None:
    site = PairSite(program)
    at(site, "health green", lambda: site.world.health.update(green=fault), times=check)
    life = Life()

    error = refusal(site, life)

    assert (error.exit_status, error.reference) == (50, "rolled-back")
    assert error.facts["cause"] == ("monitor-inconclusive" if fault == "silent" else "unstable")
    assert (error.facts["pending"], error.facts["pending_known"]) == (0, True)
    # Let go before anything is written down.
    failed = life.touches.index(f"journal failed {MONITOR}: before")
    assert "release: after" in life.touches[life.touches.index(AFTER_CUTOVER) : failed]
    assert serves_blue(site)


def test_renewal_that_came_too_late_is_a_rollback(program: Kit) -> None:
    site = PairSite(program)
    at(site, "health green", lambda: site.world.sleep(11), times=3)

    error = refusal(site)

    assert (error.exit_status, error.facts["cause"]) == (50, "hold-lapsed")
    assert serves_blue(site)


def test_window_that_failed_is_rolled_back_by_the_next_install_if_the_first_could_not(program: Kit) -> None:
    site = PairSite(program)
    at(site, AFTER_CUTOVER, lambda: site.world.health.update(green="error"))
    with pytest.raises(Killed):
        site.install(Life(at=(f"journal failed {MONITOR}: after", 1)))
    site.world.health.update(green="ok")

    assert refusal(site).exit_status == 50

    assert site.world.switch.calls.count("hold green") == 1
    assert serves_blue(site)


def test_standby_that_falls_silent_is_let_go_before_its_hold_is_renewed_once_more(program: Kit) -> None:
    site = PairSite(program)
    at(site, AFTER_CUTOVER, lambda: site.world.health.update(green="silent"))

    error = refusal(site)

    assert (error.exit_status, error.facts["cause"]) == (50, "monitor-inconclusive")
    assert site.world.switch.calls[:3] == ["hold green", "renew", "release"]


def test_hold_that_ended_before_the_commit_is_a_rollback(program: Kit) -> None:
    site = PairSite(program)
    at(site, "conflicts", lambda: site.world.sleep(11 + LEVEL_SECONDS))

    error = refusal(site)

    assert (error.exit_status, error.facts["cause"]) == (50, "hold-lapsed")
    assert serves_blue(site)


def test_executor_killed_after_the_cutover_is_said_by_the_next_install(program: Kit) -> None:
    site = PairSite(program)
    with pytest.raises(Killed):
        site.install(Life(at=("renew: after", 2)))
    assert site.world.switch.observe().active == "green"
    site.world.sleep(11)
    assert site.world.switch.observe().active == "blue"
    assert status_of(site.entries()).state == "cut over, not committed"

    done = site.install()

    assert LAPSED in site.events()
    assert done.outcome == {"hold_lapsed": True, "still_served": 0}
    # The journal tells of two cutovers, each with an intent of its own.
    assert site.events().count(f"intent {SWITCH}") == 2
    assert site.problems() == []


def test_what_an_earlier_window_wrote_comes_home_before_the_next_cutover(program: Kit) -> None:
    site = PairSite(program)
    site.world.replicates = False
    with pytest.raises(Killed):
        site.install(Life(at=("renew: after", 3)))
    earlier = site.world.lacking("green")
    assert earlier
    left: list[str] = []
    at(site, "hold green: before", lambda: left.extend(site.world.lacking("green")))

    site.install()

    assert not set(earlier) & set(left)


@pytest.mark.parametrize("fault", ["the answer is lost", "the switch falls silent"])
def test_commit_that_may_have_been_made_is_never_gone_back_from(program: Kit, fault: str) -> None:
    site = PairSite(program)
    if fault == "the answer is lost":
        at(site, "commit green: before", lambda: setattr(site.world.switch, "fail_next", "after"))
    else:
        at(site, "commit green: after", lambda: setattr(site.world.switch, "answers", False))

    error = refusal(site)

    assert (error.exit_status, error.reference) == (62, "commit-unfinished")
    assert "release" not in site.world.switch.calls
    site.world.switch.answers = True
    site.install()
    assert site.problems() == []


def test_traffic_that_does_not_go_back_is_not_said_to_be_back(program: Kit) -> None:
    site = PairSite(program)
    at(site, "health green", lambda: site.world.health.update(green="error"), times=3)
    site.world.at = {**site.world.at, "release: after": lambda: site.world.switch.hold("green", seconds=60)}

    error = refusal(site)

    assert (error.exit_status, error.reference) == (62, "switch-back-unproven")


def test_cutover_without_a_look_at_the_compliance_lock_is_a_fault_of_ours(program: Kit) -> None:
    site, life = PairSite(program), Life()
    plan = site.plan(program)
    blind = replace(plan, steps=tuple(step for step in plan.steps if step.action != ASK))
    journal = site.journal(life)

    with pytest.raises(RuntimeError, match="compliance"):
        execute_blue_green_switch(
            blind, site.parts(program, life, journal), RunRecord(journal, run="blind", clock=lambda: NOW)
        )

    assert site.world.switch.observe().active == "blue"


def test_reboot_of_the_gateway_inside_the_window_brings_blue(program: Kit) -> None:
    site = PairSite(program)
    at(site, "health green", site.world.switch.reboot, times=3)

    assert refusal(site).exit_status == 50
    assert serves_blue(site)


def test_traffic_moved_by_hand_is_refused(program: Kit) -> None:
    site = PairSite(program)
    site.world.switch.commit("green")

    error = refusal(site)

    assert (error.exit_status, error.reference) == (40, "switch-stands-elsewhere")
    assert [program.starts for program in site.world.programs.values()] == [0] * 4


def test_node_is_not_restarted_once_somebody_sent_traffic_to_it(program: Kit) -> None:
    site = PairSite(program)
    at(site, "journal done set_up_switch: after", lambda: site.world.switch.commit("green"))

    error = refusal(site)

    assert (error.exit_status, error.reference) == (40, "switch-stands-elsewhere")
    assert site.world.violations == []
    assert [program.starts for program in site.world.programs.values()] == [0] * 4


def test_switch_that_is_silent_after_the_cutover_needs_an_operator_and_goes_on_later(program: Kit) -> None:
    site = PairSite(program)
    at(site, AFTER_CUTOVER, lambda: setattr(site.world.switch, "answers", False))

    error = refusal(site)

    assert (error.exit_status, error.reference) == (62, "switch-back-unproven")
    site.world.switch.answers, site.world.at = True, {}
    assert refusal(site).exit_status == 50
    assert serves_blue(site)


# ---- writes


def test_living_green_drains_everything_back(program: Kit) -> None:
    site = PairSite(program)
    site.world.replicates = False
    at(site, "health green", lambda: site.world.health.update(green="error"), times=4)

    error = refusal(site)

    assert site.world.two.files["green"]
    assert site.world.lacking("green") == []
    assert "came home" in error.message


def test_dead_green_has_its_pending_writes_counted_and_named(program: Kit) -> None:
    site = PairSite(program)
    site.world.replicates = False
    at(site, "health green", lambda: site.world.kill("green"), times=4)

    error = refusal(site)

    truth = site.world.lacking("green")
    assert truth
    assert (error.exit_status, error.facts["pending"], error.facts["pending_names"]) == (50, len(truth), truth)
    assert "pending recovery" in error.message
    assert site.world.switch.observe().active == "blue"
    seen = status_of(site.entries())
    assert (seen.state, seen.next.startswith("teraferry-installer rollback")) == ("pending recovery", True)


def test_dead_green_that_nobody_can_ask_is_never_called_nothing(program: Kit) -> None:
    site = PairSite(program)
    at(site, "health green", lambda: site.world.kill("green", told=False), times=4)

    error = refusal(site)

    assert (error.facts["pending"], error.facts["pending_known"]) == (None, False)
    assert "cannot be told" in error.message
    pending = pending_of(site.entries())
    assert pending is not None and pending.count is None


def test_next_install_does_not_touch_a_green_whose_disks_hold_pending_writes(program: Kit) -> None:
    site = PairSite(program)
    site.world.replicates = False
    at(site, "health green", lambda: site.world.kill("green"), times=4)
    refusal(site)
    site.world.at = {}
    starts = site.world.programs["green-1"].starts

    error = refusal(site)

    assert (error.exit_status, error.reference) == (40, "pending-recovery")
    assert site.world.programs["green-1"].starts == starts


def test_green_that_is_back_while_the_rollback_goes_on_drains_after_all(program: Kit) -> None:
    site = PairSite(program)
    site.world.replicates = False
    at(site, "health green", lambda: site.world.kill("green"), times=4)
    with pytest.raises(Killed):
        site.install(Life(at=(f"journal {PENDING}: after", 1)))
    site.world.revive("green")

    error = refusal(site)

    assert error.facts["pending"] == 0
    assert pending_of(site.entries()) is None
    assert serves_blue(site)


def test_what_a_blue_that_died_in_the_window_still_held_is_on_green_before_that_stands(program: Kit) -> None:
    site = PairSite(program)
    site.world.replicates = False

    def die_and_come_back() -> None:
        site.world.write("blue", "late")
        site.world.kill("blue")
        site.world.revive("blue")
        site.world.replicates = True

    at(site, "health green", die_and_come_back, times=3)

    site.install()

    assert "late" in site.world.two.files["green"]
    assert site.problems() == []


def test_write_on_both_sides_is_not_committed_and_both_are_kept(program: Kit) -> None:
    site = PairSite(program)

    def clash() -> None:
        site.world.write("blue", "same")
        site.world.write("green", "same")

    at(site, "health green", clash, times=3)

    error = refusal(site)

    assert (error.exit_status, error.facts["cause"], error.facts["conflicts"]) == (50, "write-conflict", ["same"])
    assert serves_blue(site)
    again = refusal(site)
    assert (again.exit_status, again.reference) == (40, "write-conflict")
    site.world.resolve("same")
    site.world.at = {}
    site.install()
    assert site.problems() == []


# ---- rollback by hand


def pending_site(program: Kit) -> PairSite:
    """Return a site whose green died with writes on it."""
    site = PairSite(program)
    site.world.replicates = False
    at(site, "health green", lambda: site.world.kill("green"), times=4)
    refusal(site)
    site.world.at = {}
    return site


def test_rollback_merges_what_waited_when_green_is_back(program: Kit) -> None:
    site = pending_site(program)
    waiting = site.world.lacking("green")
    site.world.revive("green")

    done = site.rollback()

    assert (done["did"], done["merged"]) == ("recovered", len(waiting))
    assert site.world.lacking("green") == []
    assert status_of(site.entries()).state == "rolled back"
    site.world.replicates = True
    site.install()
    assert site.problems() == []


def test_rollback_refuses_while_green_is_still_dead(program: Kit) -> None:
    site = pending_site(program)

    with pytest.raises(TeraFerryError) as caught:
        site.rollback()

    assert caught.value.exit_status == 40
    assert pending_of(site.entries()) is not None


def test_rollback_of_a_committed_release_cuts_over_to_the_one_before_once(program: Kit, later_program: Kit) -> None:
    site = PairSite(program)
    site.install()
    site.install(kit=later_program)

    done = site.rollback()

    assert (done["did"], done["standing"], done["version"]) == ("cut-back", "green", "4.2.0")
    assert site.problems(standing="green") == []
    assert status_of(site.entries()).release == "4.2.0"
    with pytest.raises(TeraFerryError) as caught:
        site.rollback()
    assert caught.value.reference == "nothing-to-roll-back"


def test_rollback_of_a_committed_release_waits_for_a_hold(program: Kit) -> None:
    site = PairSite(program)
    site.install()
    site.world.hold_running = True

    with pytest.raises(TeraFerryError) as caught:
        site.rollback()

    assert caught.value.exit_status == 41
    assert site.world.switch.observe().standing == "green"


def test_rollback_ends_an_install_that_was_interrupted_in_its_window(program: Kit) -> None:
    site = PairSite(program, has_dead_man=False)
    site.killed_at("renew: after", times=3)
    assert site.world.switch.observe().active == "green"

    done = site.rollback()

    assert (done["did"], done["pending"]) == ("rolled-back", 0)
    assert serves_blue(site)


def test_rollback_refuses_where_there_is_nothing(program: Kit) -> None:
    with pytest.raises(TeraFerryError) as caught:
        PairSite(program).rollback()

    assert (caught.value.exit_status, caught.value.reference) == (40, "nothing-to-roll-back")


# ---- one writer


def test_one_writer_is_promoted_with_writes_held_after_the_window(program: Kit) -> None:
    site = PairSite(program, writers="one")
    life = Life()

    site.install(life)

    held = life.touches.index("hold writes: after")
    assert (
        life.touches.index("promote green: after")
        > held
        > len(life.touches) - 1 - life.touches[::-1].index("health green")
    )
    assert site.world.one.first == "green"
    assert site.problems() == []


@pytest.mark.parametrize("touch", ["hold writes: after", "sync blue: marker written", "promote green: before"])
def test_one_writer_whose_standby_dies_on_the_way_stays_where_it_was(program: Kit, touch: str) -> None:
    site = PairSite(program, writers="one")
    at(site, touch, lambda: site.world.kill("green"), times=2 if touch.startswith("sync") else 1)

    error = refusal(site)

    assert error.exit_status == 50
    assert (site.world.one.first, site.world.one.is_held) == ("blue", False)
    assert site.world.switch.observe().active == "blue"
    assert site.world.violations == []


# ---- the next release, and the one after that


def test_next_release_goes_to_the_cluster_that_does_not_stand(program: Kit, later_program: Kit) -> None:
    site = PairSite(program)
    site.install()

    site.install(kit=later_program)

    assert site.problems(standing="blue", digest=later_program.program.digest) == []
    assert site.world.programs["green-1"].running == program.program.digest


def test_same_release_again_touches_nothing(program: Kit) -> None:
    site = PairSite(program)
    site.install()
    calls, life = list(site.world.switch.calls), Life()

    site.install(life)

    assert site.world.switch.calls == calls
    assert not [what for what in life.touches if what.startswith(("stop", "start", "select ", "stage "))]
    assert site.problems() == []


def test_other_release_waits_for_an_install_that_was_interrupted_in_its_window(
    program: Kit, later_program: Kit
) -> None:
    site = PairSite(program)
    site.killed_at("renew: after", times=2)
    written = site.written()

    error = refusal(site, kit=later_program)

    assert (error.exit_status, error.reference) == (40, "other-install-in-window")
    assert site.written() == written


def test_stop_before_the_cutover_halts_and_goes_on_later(program: Kit) -> None:
    site = PairSite(program)
    whole = Life()
    PairSite(program).install(whole)
    with pytest.raises(TeraFerryError) as caught:
        site.install(stop_after=whole.touches.index("start green-2: before"))
    assert caught.value.exit_status == 43
    assert site.world.switch.calls == []

    site.install()

    assert site.problems() == []


def test_stop_after_the_cutover_sees_the_window_to_its_end(program: Kit) -> None:
    site = PairSite(program)
    whole = Life()
    PairSite(program).install(whole)

    site.install(stop_after=whole.touches.index(AFTER_CUTOVER))

    assert site.problems() == []
