"""An installer is killed at every touch of its site, and typed again: it always ends well.

Ends well means: every node runs the signed digest and would start it, health is 100 %, the
journal's chain holds, every step of a run has exactly one "done", nothing was tagged before all
bytes were there, and at no moment a shard was on line nowhere (safe) or shards of more than one
node were missing (quick). A kill also tears a line of the
journal, which is the real one on disk but where every touch of an install is tried in turn.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teraferry.bundles.errors import RefusedError, RolledBackError, TeraFerryError
from teraferry.installer.rollout.execute import STARTED
from tests.fakes import typed
from tests.fakes.rollout_run import MODES, Kit, Site, broken_site, mended
from tests.fakes.rollout_site import OLD, Life, address_of

SHARES = 8
LOOKS = (*typed.LOOKS, "observe", "serves")


@pytest.fixture(scope="module")
def touches(kit: Kit) -> dict[str, list[str]]:
    """Every touch of an install that nobody disturbs, by mode."""
    found = {}
    for mode in MODES:
        site = Site(None, kit, mode=mode)
        life = Life()
        site.install(life)
        assert site.problems() == []
        found[mode] = life.touches
    return found


def kill_points(touches: list[str]) -> list[int]:
    return typed.kill_points(touches, looks=LOOKS)


@pytest.mark.parametrize("mode", MODES)
def test_kill_points_are_every_effect_of_an_install(touches: dict[str, list[str]], mode: str) -> None:
    tried = {touches[mode][number - 1] for number in kill_points(touches[mode])}

    effects = ["stop vol-3", "select vol-3", "start vol-3", f"leave {address_of('vol-3')}", "push_blob", "rebalance"]
    effects += ["journal run-started", "journal done load_registry", "journal intent patch_binary vol-3"]
    assert {f"{effect}: after" for effect in effects} <= tried
    assert {what for what in tried if what.startswith("journal")} >= {f"{effects[-1]}: torn", f"{effects[-2]}: torn"}
    assert mode == "quick" or any(what.startswith(f"drain {address_of('vol-3')}: copied 1.") for what in tried)
    assert len(kill_points(touches[mode])) > 200


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("mode", MODES)
def test_install_killed_anywhere_ends_well_when_typed_again(
    kit: Kit, touches: dict[str, list[str]], mode: str, share: int
) -> None:
    failures = {}
    for kill_at in kill_points(touches[mode])[share::SHARES]:
        site = Site(None, kit, mode=mode)
        site.killed(kill_at)
        try:
            site.install()
            problems = site.problems()
        except TeraFerryError as error:
            problems = [f"{error.exit_status} {error.reference}: {error.message}"]
        if problems:
            failures[f"{kill_at} {touches[mode][kill_at - 1]}"] = problems

    assert failures == {}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mode=st.sampled_from(MODES), lives=st.lists(st.integers(1, 420), min_size=2, max_size=6))
def test_install_killed_again_and_again_ends_well(
    tmp_path_factory: pytest.TempPathFactory, kit: Kit, mode: str, lives: list[int]
) -> None:
    site = Site(tmp_path_factory.mktemp("killed") / "journal.jsonl", kit, mode=mode)

    for kill_at in lives:
        site.killed(kill_at)
    site.install()

    assert site.problems() == []


# ---- the way back


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize(("node", "on_failure"), [("vol-1", "stop"), ("vol-3", "rollback")])
def test_way_back_killed_anywhere_ends_with_every_node_on_its_old_version(
    kit: Kit, node: str, on_failure: str, share: int
) -> None:
    def make() -> Site:
        return broken_site(None, kit, node=node, fault="start_fails", on_failure=on_failure)

    life = Life()
    with pytest.raises(RolledBackError):
        make().install(life)
    first = life.touches.index(f"start {node}: before")
    failures = {}
    for kill_at in [number for number in kill_points(life.touches) if number > first][share::SHARES]:
        site, status = make(), 0
        site.killed(kill_at)
        try:
            site.install()
        except TeraFerryError as error:
            status = error.exit_status
        problems = site.problems(digest=OLD)
        if status != 50 or problems:
            failures[f"{kill_at} {life.touches[kill_at - 1]}"] = [status, *problems]

    assert failures == {}


def test_rollback_goes_on_even_when_the_node_that_failed_would_work_now(tmp_path: Path, kit: Kit) -> None:
    site = broken_site(tmp_path / "journal.jsonl", kit, node="vol-3", fault="start_fails", on_failure="rollback")
    site.killed_at("stop vol-2: after", times=2)

    life = Life()
    with pytest.raises(RolledBackError):
        mended(site, "vol-3", "start_fails").install(life)

    assert site.problems(digest=OLD) == []
    assert not [what for what in life.touches if what.startswith(("has_blob", "push_blob", "put_manifest"))]


# ---- what is true decides


def test_node_put_back_by_hand_after_its_turn_is_rolled_again(tmp_path: Path, kit: Kit) -> None:
    site = Site(tmp_path / "journal.jsonl", kit)
    site.killed_at("journal done wait_for_rebalance vol-3: after")
    site.world.stop("vol-1")
    site.world.violations.clear()
    site.world.programs["vol-1"].selected = OLD
    site.world.start("vol-1")

    site.install()

    assert site.problems() == []


def test_node_that_went_down_after_its_turn_is_started(tmp_path: Path, kit: Kit) -> None:
    site = Site(tmp_path / "journal.jsonl", kit)
    site.killed_at("journal done wait_for_rebalance vol-3: after")
    site.world.lose("vol-2")

    site.install()

    assert site.problems() == []


def test_node_that_was_restarted_on_its_old_version_while_nobody_looked_is_rolled(tmp_path: Path, kit: Kit) -> None:
    site = Site(tmp_path / "journal.jsonl", kit)
    site.killed_at("stop vol-2: after")
    site.world.start("vol-2")

    site.install()

    assert site.problems() == []


def test_install_touches_no_node_where_all_run_the_signed_version(tmp_path: Path, kit: Kit) -> None:
    site = Site(tmp_path / "journal.jsonl", kit)
    site.install()
    starts = {node: program.starts for node, program in site.world.programs.items()}
    life = Life()

    site.install(life)

    assert {node: program.starts for node, program in site.world.programs.items()} == starts
    assert not [what for what in life.touches if what.startswith(("drain", "leave", "stop", "select ", "rebalance"))]
    assert site.problems() == []


def test_later_bundle_supersedes_an_install_that_was_left_half_done(tmp_path: Path, kit: Kit, later_kit: Kit) -> None:
    site = Site(tmp_path / "journal.jsonl", kit)
    site.killed_at("journal done wait_for_rebalance vol-2: after")

    report = site.install(kit=later_kit)

    assert not report.resumed
    site.kit = later_kit
    assert site.problems() == []
    assert [entry.event for entry in site.entries() if entry.event in (STARTED, "run-superseded")] == [
        STARTED,
        "run-superseded",
        STARTED,
    ]


def test_later_bundle_waits_for_the_node_that_a_killed_install_has_in_hand(
    tmp_path: Path, kit: Kit, later_kit: Kit
) -> None:
    site = Site(tmp_path / "journal.jsonl", kit)
    site.killed_at("stop vol-2: after")
    written = site.written()

    with pytest.raises(RefusedError) as caught:
        site.install(kit=later_kit)

    assert (caught.value.exit_status, caught.value.reference) == (40, "cluster-degraded")
    assert "4.2.0" in caught.value.hint
    assert site.written() == written
    site.install()
    site.install(kit=later_kit)
    site.kit = later_kit
    assert site.problems() == []
