"""A node comes back wrong, or the cluster falls below 100 % on the way: nothing worse follows from it.

The node in hand goes back to its old version; no further one is touched; and the exit status
tells the truth: 40 while nothing changed, 50 when all is as before, 60 half-way.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from teraferry.bundles.errors import OperatorNeededError, RefusedError, RolledBackError
from teraferry.installer.rollout.execute import DONE, INTENT, UNDONE
from tests.fakes.rollout_run import MODES, NODES, Kit, Site, broken_site, mended
from tests.fakes.rollout_site import FILER, OLD, VOLUME_NODES, address_of, refused

FAULTS = ("never_comes_back", "wrong_runs", "start_fails", "fails_smoke", "silent_smoke")


def fail(reference: str) -> None:
    raise refused(reference, "the node")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", FAULTS)
def test_first_node_that_fails_is_put_back_and_nothing_else_is_touched(
    tmp_path: Path, kit: Kit, fault: str, mode: str
) -> None:
    site = broken_site(tmp_path / "journal.jsonl", kit, node="vol-1", fault=fault, mode=mode)

    with pytest.raises(RolledBackError) as caught:
        site.install()

    assert (caught.value.exit_status, caught.value.reference) == (50, "node-failed-rolled-back")
    assert caught.value.facts["node"] == "vol-1"
    assert site.problems(digest=OLD) == []
    assert [site.world.programs[node].starts for node in NODES if node != "vol-1"] == [0] * 5


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("node", ["vol-3", FILER])
def test_later_node_that_fails_is_put_back_and_the_rollout_halts(
    tmp_path: Path, kit: Kit, fault: str, node: str
) -> None:
    site = broken_site(tmp_path / "journal.jsonl", kit, node=node, fault=fault)

    with pytest.raises(OperatorNeededError) as caught:
        site.install()

    before = NODES[: NODES.index(node)]
    assert (caught.value.exit_status, caught.value.reference) == (60, "halted-half-way")
    assert (caught.value.facts["cluster"], caught.value.facts["patched"]) == ("healthy", sorted(before))
    assert site.running() == {each: kit.program.digest if each in before else OLD for each in NODES}


@pytest.mark.parametrize("fault", FAULTS)
def test_install_goes_on_when_the_node_that_failed_is_mended(tmp_path: Path, kit: Kit, fault: str) -> None:
    site = broken_site(tmp_path / "journal.jsonl", kit, node="vol-3", fault=fault)
    with pytest.raises(OperatorNeededError):
        site.install()

    report = mended(site, "vol-3", fault).install()

    assert report.resumed
    assert site.problems() == []
    patched = [entry.event for entry in site.entries() if entry.step == "patch_binary vol-3"]
    assert patched == [INTENT, DONE, UNDONE, INTENT, DONE]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("node", ["vol-1", "vol-3", FILER])
def test_failing_node_rolls_every_node_back_where_the_site_says_so(
    tmp_path: Path, kit: Kit, node: str, mode: str
) -> None:
    site = broken_site(
        tmp_path / "journal.jsonl", kit, node=node, fault="start_fails", on_failure="rollback", mode=mode
    )

    with pytest.raises(RolledBackError) as caught:
        site.install()

    assert caught.value.exit_status == 50
    assert site.problems(digest=OLD) == []


def test_node_that_can_not_even_be_put_back_halts_the_rollout(tmp_path: Path, kit: Kit) -> None:
    site = broken_site(tmp_path / "journal.jsonl", kit, node="vol-1", fault="never_comes_back")
    site.world.programs["vol-1"].start_fails.add(OLD)

    with pytest.raises(OperatorNeededError) as caught:
        site.install()

    assert (caught.value.exit_status, caught.value.facts["cluster"]) == (60, "degraded")
    assert [site.world.programs[node].starts for node in NODES if node != "vol-1"] == [0] * 5


def test_node_that_serves_something_else_when_it_was_put_back_halts_the_rollout(tmp_path: Path, kit: Kit) -> None:
    site = broken_site(tmp_path / "journal.jsonl", kit, node="vol-1", fault="wrong_runs")
    site.world.programs["vol-1"].wrong_runs.add(OLD)

    with pytest.raises(OperatorNeededError) as caught:
        site.install()

    assert (caught.value.exit_status, caught.value.reference) == (60, "halted-half-way")
    assert [site.world.programs[node].starts for node in NODES if node != "vol-1"] == [0] * 5
    mended(site, "vol-1", "wrong_runs").install()
    assert site.problems() == []


def test_first_drain_that_fails_while_nothing_is_lost_refuses_with_40(tmp_path: Path, kit: Kit) -> None:
    site = Site(tmp_path / "journal.jsonl", kit)
    site.world.at = {f"drain {address_of('vol-1')}: before": lambda: fail("cannot-drain")}

    with pytest.raises(RefusedError) as caught:
        site.install()

    assert (caught.value.exit_status, caught.value.reference) == (40, "cannot-drain")


def test_first_node_that_left_and_then_can_not_be_seen_to_halts_with_60(tmp_path: Path, kit: Kit) -> None:
    site = Site(tmp_path / "journal.jsonl", kit, mode="quick")
    site.world.at = {f"leave {address_of('vol-1')}: after": lambda: fail("cannot-tell")}

    with pytest.raises(OperatorNeededError) as caught:
        site.install()

    assert (caught.value.exit_status, caught.value.facts["cluster"]) == (60, "degraded")
    site.world.at = {}
    site.install()
    assert site.problems() == []


def test_node_that_can_not_be_stopped_is_left_as_it_was(tmp_path: Path, kit: Kit) -> None:
    site = Site(tmp_path / "journal.jsonl", kit)
    site.world.at = {f"stop {FILER}: before": lambda: fail("still-running")}

    with pytest.raises(OperatorNeededError) as caught:
        site.install()

    assert (caught.value.exit_status, caught.value.facts["cluster"]) == (60, "healthy")
    assert (site.world.programs[FILER].starts, site.running()[FILER]) == (0, OLD)
    assert caught.value.facts["patched"] == list(VOLUME_NODES)
    site.world.at = {}
    site.install()
    assert site.problems() == []


# ---- a cluster below 100 %


def test_degraded_cluster_refuses_and_nothing_is_written(tmp_path: Path, kit: Kit) -> None:
    site = Site(tmp_path / "journal.jsonl", kit)
    site.world.lose("vol-4")

    with pytest.raises(RefusedError) as caught:
        site.install()

    assert (caught.value.exit_status, caught.value.reference) == (40, "cluster-degraded")
    assert site.written() == b""
    assert site.world.registry.manifests == {}
    assert all(OLD in program.files and len(program.files) == 1 for program in site.world.programs.values())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "moment", ["journal done wait_for_rebalance vol-2: after", "journal intent patch_binary vol-2: after"]
)
def test_cluster_degraded_in_the_middle_halts_and_no_further_node_is_touched(
    tmp_path: Path, kit: Kit, mode: str, moment: str
) -> None:
    site = Site(tmp_path / "journal.jsonl", kit, mode=mode)
    site.world.at = {moment: lambda: site.world.lose("vol-5")}

    with pytest.raises(OperatorNeededError) as caught:
        site.install()

    assert (caught.value.exit_status, caught.value.facts["cluster"]) == (60, "degraded")
    assert [site.world.programs[node].starts for node in ("vol-3", "vol-4", "vol-5", FILER)] == [0] * 4


@pytest.mark.parametrize("mode", MODES)
def test_install_typed_again_after_a_kill_halts_while_another_node_is_away(tmp_path: Path, kit: Kit, mode: str) -> None:
    site = Site(tmp_path / "journal.jsonl", kit, mode=mode)
    site.killed_at("journal done wait_for_rebalance vol-2: after")
    site.world.lose("vol-5")

    with pytest.raises(OperatorNeededError) as caught:
        site.install()

    assert caught.value.exit_status == 60
    assert [site.world.programs[node].starts for node in ("vol-3", "vol-4", FILER)] == [0] * 3


def test_cluster_degraded_after_the_last_node_ends_with_60(tmp_path: Path, kit: Kit) -> None:
    site = Site(tmp_path / "journal.jsonl", kit)
    site.killed_at(f"journal done wait_for_rebalance {FILER}: after")
    lost = min(site.world.disks[address_of("vol-5")])
    site.world.disks[address_of("vol-5")].discard(lost)
    site.world.on_line[address_of("vol-5")].discard(lost)

    with pytest.raises(OperatorNeededError) as caught:
        site.install()

    assert (caught.value.exit_status, caught.value.reference) == (60, "final-health-degraded")
    assert set(site.running().values()) == {kit.program.digest}


# ---- a master that was just started and has not been told yet


@pytest.mark.parametrize("untold", [["vol-3"], VOLUME_NODES])
def test_node_that_only_a_new_master_calls_empty_is_drained_before_it_is_stopped(
    tmp_path: Path, kit: Kit, untold: list[str]
) -> None:
    site = Site(tmp_path / "journal.jsonl", kit)
    site.world.at = {
        "journal intent drain_node vol-3: after": lambda: site.world.untold.update(map(address_of, untold)),
        f"drain {address_of('vol-3')}: before": site.world.untold.clear,
    }

    site.install()

    assert site.problems() == []


@pytest.mark.parametrize(("step", "looks_before"), [("check_cluster_health", 0), ("wait_for_rebalance", 1)])
def test_time_in_which_no_master_answered_is_taken_from_no_deadline(
    tmp_path: Path, kit: Kit, step: str, looks_before: int
) -> None:
    site = Site(tmp_path / "journal.jsonl", kit)
    world = site.world
    looks = itertools.count()

    def look() -> None:
        number = next(looks)
        world.untold.clear()
        if number == looks_before:
            world.seconds += 60
            world.untold.update(map(address_of, VOLUME_NODES))

    world.at = {f"journal intent {step} vol-3: after": lambda: setattr(world, "at", {"observe": look})}

    site.install()

    assert site.problems() == []
    assert world.seconds >= 60
