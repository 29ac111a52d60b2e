"""A node runs what was signed, is in the cluster, and is not well: the smoke tests see it, and it is put back.

What is no answer, comes too late, or was never asked counts as little as a wrong one.
"""

from __future__ import annotations

import pytest

from teraferry.bundles.errors import RefusedError, RolledBackError, TeraFerryError
from teraferry.installer.rollout.execute import DONE
from tests.fakes.rollout_run import NODES, Kit, Site, broken_site, mended
from tests.fakes.rollout_site import OLD, Life, refused


def test_every_node_is_asked_when_it_is_back_and_before_the_next_one_is_touched(kit: Kit) -> None:
    site, life = Site(None, kit, smoke=True), Life()

    site.install(life)

    assert site.problems() == []
    order = [
        what for what in life.touches if what.startswith(("smoke", "start ", "stop ")) and not what.endswith(": after")
    ]
    assert order == [
        what for node in NODES for what in (f"stop {node}: before", f"start {node}: before", f"smoke {node}")
    ]
    passed = [entry.facts["passed"] for entry in site.entries() if entry.event == DONE and "smoke" in entry.step]
    assert len(passed) == len(NODES)


def test_node_that_becomes_well_within_its_time_passes(kit: Kit) -> None:
    site = broken_site(None, kit, node="vol-2", fault="silent_smoke")
    asked = []

    def become_well() -> None:
        asked.append(site.world.seconds)
        if len(asked) == 5:
            mended(site, "vol-2", "silent_smoke")

    site.world.at = {"smoke vol-2": become_well}

    site.install()

    assert (len(asked), site.problems()) == (5, [])


def test_right_answer_that_comes_too_late_is_a_failure(kit: Kit) -> None:
    site = Site(None, kit, smoke=True)

    def take_long() -> None:
        site.world.seconds += 21

    site.world.at = {"smoke vol-1": take_long}

    with pytest.raises(RolledBackError) as caught:
        site.install()

    assert caught.value.facts["cause"] == "smoke-cannot-answer"
    assert site.problems(digest=OLD) == []


@pytest.mark.parametrize("fault", ["fails_smoke", "silent_smoke"])
def test_failure_names_the_smoke_test_as_its_cause(kit: Kit, fault: str) -> None:
    site = broken_site(None, kit, node="vol-1", fault=fault)

    with pytest.raises(RolledBackError) as caught:
        site.install()

    wanted = {"fails_smoke": "smoke-failed", "silent_smoke": "smoke-cannot-answer"}[fault]
    assert (caught.value.facts["node"], caught.value.facts["cause"]) == ("vol-1", wanted)


def test_tests_that_the_plan_names_and_nobody_can_ask_are_no_pass(kit: Kit) -> None:
    site = Site(None, kit, smoke=True)
    site.unasked = frozenset({"vol-1"})

    with pytest.raises(RolledBackError) as caught:
        site.install()

    assert caught.value.facts["cause"] == "smoke-missing"
    assert site.problems(digest=OLD) == []


def test_node_that_cannot_even_be_asked_is_put_back(kit: Kit) -> None:
    site = Site(None, kit, smoke=True)

    def refuse() -> None:
        raise refused("egress-refused", "connection")

    site.world.at = {"smoke vol-1": refuse}

    with pytest.raises(RolledBackError) as caught:
        site.install()

    assert caught.value.facts["cause"] == "smoke-cannot-answer"
    assert site.problems(digest=OLD) == []


def test_node_that_ran_the_signed_version_before_is_asked_all_the_same_and_not_touched(kit: Kit) -> None:
    site = broken_site(None, kit, node="vol-1", fault="fails_smoke")
    for program in site.world.programs.values():
        program.files.add(kit.program.digest)
        program.selected = program.running = kit.program.digest

    with pytest.raises(RefusedError) as caught:
        site.install()

    assert (caught.value.exit_status, caught.value.reference) == (40, "smoke-failed")
    assert {program.starts for program in site.world.programs.values()} == {0}


def test_way_back_is_not_asked_what_only_the_new_version_can_answer(kit: Kit) -> None:
    site = broken_site(None, kit, node="vol-3", fault="fails_smoke", on_failure="rollback")
    for program in site.world.programs.values():
        program.fails_smoke.add(OLD)

    with pytest.raises(RolledBackError):
        site.install()

    assert site.problems(digest=OLD) == []


def test_install_killed_anywhere_after_a_failed_test_still_puts_the_node_back(kit: Kit) -> None:
    life = Life()
    with pytest.raises(RolledBackError):
        broken_site(None, kit, node="vol-1", fault="fails_smoke").install(life)
    first = life.touches.index("smoke vol-1")
    failures = {}
    for kill_at in range(first, len(life.touches) + 1):
        what = life.touches[kill_at - 1]
        if what.startswith(("observe", "running", "selected", "staged")) or what.endswith(": before"):
            continue  # what it leaves, the call before left too
        site, status = broken_site(None, kit, node="vol-1", fault="fails_smoke"), 0
        site.killed(kill_at)
        try:
            site.install()
        except TeraFerryError as error:
            status = error.exit_status
        if status != 50 or site.problems(digest=OLD):
            failures[f"{kill_at} {what}"] = [str(status), *site.problems(digest=OLD)]

    assert failures == {}
