"""A key is lost, replaced or cannot be asked at every moment of a rollout: it stops there, and says which and where.

Stops means: no further node is touched, none is put back, a stopped node does not rejoin without its
key, the alarm is in the journal, and no install begins while it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from teraferry.bundles.errors import OperatorNeededError, RefusedError, TeraFerryError
from teraferry.installer.key_commands import check_keys, record_keys
from teraferry.installer.rollout import key_journal
from teraferry.installer.rollout.execute import ENDED, FAILED, RunRecord
from teraferry.installer.status import status_of
from teraferry.keys.continuity.recovery import Recovery
from tests.fakes.journal import MemoryJournal
from tests.fakes.rollout_run import NODES, NOW, Kit, Site, broken_site
from tests.fakes.rollout_site import FILER, OLD, Life

KEY, NODE = "Company_Key", "vol-2"
PATCHES = ("stop ", "select ", "start ", "drain ", "leave ")


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    return tmp_path / "key-backups"


@pytest.fixture
def site(kit: Kit, backups: Path) -> Site:
    return Site(None, kit, keys=backups)


def lose(site: Site, key: str = KEY) -> Callable[[], None]:
    return lambda: setattr(site.keys[key], "is_there", False)


def cut_off(site: Site, key: str = KEY) -> Callable[[], None]:
    return lambda: setattr(site.keys[key], "can_be_asked", False)


def fails(site: Site) -> TeraFerryError:
    with pytest.raises(TeraFerryError) as caught:
        site.install()
    return caught.value


def nodes_touched(touches: list[str]) -> list[str]:
    """Return the nodes that were drained, stopped, linked or started, in order."""
    found = [node for what in touches for node in NODES if what.startswith(PATCHES) and node in what.split()[1]]
    return list(dict.fromkeys(found))


def test_site_with_keys_is_rolled_out_and_every_look_is_journaled(site: Site) -> None:
    life = Life()
    site.install(life)
    looks = [entry.step for entry in site.entries() if entry.event == key_journal.KEPT]

    assert site.problems() == []
    assert [look for look in looks if look.startswith("before")] == [
        look for node in NODES for look in (f"before {node}", *([f"before {node} rejoins"] * (node in (NODE, FILER))))
    ]
    assert [look for look in looks if look.startswith("after")] == [f"after {node}" for node in NODES]
    assert looks[-1] == "at the end"
    assert [entry.event for entry in site.entries() if entry.event == key_journal.RECORDED] == [key_journal.RECORDED]
    assert f"key {KEY}: answer" in life.touches


# ---- before anything is begun


def test_key_that_was_never_there_refuses_with_40_and_nothing_is_written(site: Site) -> None:
    lose(site)()
    error = fails(site)

    assert (error.exit_status, error.reference, site.written()) == (40, "key-absent", b"")


def test_key_that_cannot_be_asked_refuses_with_40_and_nothing_is_written(site: Site) -> None:
    cut_off(site)()
    error = fails(site)

    assert (error.exit_status, error.reference, site.written()) == (40, "key-store-silent", b"")


def test_key_lost_since_the_last_install_refuses_with_61_before_any_byte_is_moved(site: Site, later_kit: Kit) -> None:
    site.install()
    lose(site)()
    life = Life()
    with pytest.raises(OperatorNeededError) as caught:
        site.install(life, kit=later_kit)

    assert (caught.value.exit_status, caught.value.reference) == (61, "key-continuity-lost")
    assert not [what for what in life.touches if what.startswith((*PATCHES, "push", "put", "stage"))]


def test_recorded_key_that_nobody_declares_any_more_refuses(site: Site, later_kit: Kit) -> None:
    site.install()
    del site.keys[KEY]
    with pytest.raises(RefusedError) as caught:
        site.install(kit=later_kit)

    assert (caught.value.exit_status, caught.value.facts["undecided"]) == (40, [KEY])


def test_key_that_nobody_could_bring_back_refuses_with_40_and_nothing_is_written(site: Site) -> None:
    site.recovery = Recovery()
    error = fails(site)

    assert (error.exit_status, error.reference, site.written()) == (40, "key-recovery-unproven", b"")


def test_wrapped_blobs_are_copied_away_before_the_first_file_is_brought_to_a_node(site: Site, tmp_path: Path) -> None:
    blob = tmp_path / "company.key.wrapped"
    blob.write_bytes(b"wrapped")
    site.blobs = [str(blob)]
    copied: list[bytes] = []
    site.world.at = {
        "stage vol-1: before": lambda: copied.extend(each.read_bytes() for each in (site.backups or tmp_path).iterdir())
    }
    site.install()

    assert copied == [b"wrapped"]


def test_wrapped_blobs_that_cannot_be_copied_away_begin_nothing(site: Site, tmp_path: Path) -> None:
    blob = tmp_path / "company.key.wrapped"
    blob.write_bytes(b"wrapped")
    site.blobs = [str(blob)]
    (site.backups or tmp_path).write_bytes(b"in the way")
    life = Life()
    with pytest.raises(RefusedError) as caught:
        site.install(life)

    assert (caught.value.exit_status, caught.value.reference) == (44, "key-backup-failed")
    assert site.written() == b""
    assert not [what for what in life.touches if what.startswith((*PATCHES, "stage ", "accept trust"))]


@pytest.mark.parametrize("harm", ["removed", "changed"])
def test_wrapped_blob_that_is_harmed_on_the_way_is_a_lost_key(site: Site, tmp_path: Path, harm: str) -> None:
    blob = tmp_path / "company.key.wrapped"
    blob.write_bytes(b"wrapped")
    site.blobs = [str(blob)]
    site.world.at = {f"stop {NODE}: after": blob.unlink if harm == "removed" else lambda: _overwrite(blob)}

    assert fails(site).exit_status == 61


def _overwrite(path: Path) -> None:
    path.write_bytes(b"other")


# ---- at every moment


def undisturbed(kit: Kit, backups: Path, *, mode: str) -> list[str]:
    life = Life()
    Site(None, kit, mode=mode, keys=backups).install(life)
    return life.touches


@pytest.mark.parametrize(("mode", "harm"), [("safe", lose), ("safe", cut_off), ("quick", lose)])
def test_key_lost_at_any_moment_stops_the_rollout_there(
    kit: Kit, backups: Path, mode: str, harm: Callable[[Site], Callable[[], None]]
) -> None:
    touches = undisturbed(kit, backups, mode=mode)
    first = touches.index("journal run-started: after")
    effects = ("journal", "start ", "stop ", "select ", "rebalance") if mode == "safe" else ("stop ", "start ")
    # What is true after an effect is true before the next one.
    moments = dict.fromkeys(what for what in touches[first:] if what.startswith(effects) and what.endswith(": after"))
    failures = {}
    for moment in moments:
        site, life = Site(None, kit, mode=mode, keys=backups), Life()
        site.world.at = {moment: harm(site)}
        try:
            site.install(life)
            outcome = "done"
        except TeraFerryError as error:
            outcome = f"{error.exit_status} {error.facts.get('key')} {error.facts.get('node')}"
        wanted = {f"61 {KEY} {NODE}"} if harm is lose else {f"60 {KEY} {NODE}", f"40 {KEY} {NODE}"}
        problems = [] if outcome in wanted or _is_over(moment) else [outcome]
        allowed = _allowed(touches, moment)
        problems += [f"touched {node}" for node in nodes_touched(life.touches) if node not in allowed]
        if problems:
            failures[moment] = problems

    assert len(moments) >= (80 if mode == "safe" else 12)
    assert failures == {}


def _is_over(moment: str) -> bool:
    """Tell whether nothing is looked at after this moment."""
    return "at the end" in moment or "run-ended" in moment


def _allowed(touches: list[str], moment: str) -> list[str]:
    """Return the nodes that may have been touched: those before the moment, and the one in hand after its gate."""
    at = touches.index(moment)
    before = nodes_touched(touches[: at + 1])
    gates = [what for what in touches[: at + 1] if what.startswith("journal keys-kept before ")]
    in_hand = [gates[-1].split("before ")[1].split(":")[0].split(" ")[0]] if gates else []
    return [*before, *in_hand]


def test_node_whose_key_is_lost_while_it_is_stopped_does_not_rejoin(site: Site) -> None:
    site.world.at = {f"stop {NODE}: after": lose(site)}
    error = fails(site)

    assert (error.exit_status, error.facts["key"], error.facts["node"]) == (61, KEY, NODE)
    assert (site.world.programs[NODE].starts, site.world.programs[NODE].running) == (0, None)
    assert [site.world.programs[node].starts for node in NODES if node not in ("vol-1", NODE)] == [0] * 4
    assert site.world.violations == []


def test_replaced_key_is_as_bad_as_a_lost_one(site: Site) -> None:
    site.world.at = {f"stop {NODE}: after": site.keys[KEY].replace}
    error = fails(site)

    assert (error.exit_status, error.facts["changed"], error.facts["lost"]) == (61, [KEY], [])


def test_key_of_another_node_is_not_asked_before_a_node_rejoins(site: Site) -> None:
    life = Life()
    site.install(life)
    at = life.touches.index("start vol-3: before")

    assert not life.touches[at - 1].startswith("key ")


@pytest.mark.parametrize("on_failure", ["stop", "rollback"])
def test_lost_key_puts_nothing_back_and_rolls_nothing_back(kit: Kit, backups: Path, on_failure: str) -> None:
    site = Site(None, kit, on_failure=on_failure, keys=backups)
    site.world.at = {"start vol-3: after": lose(site)}
    error = fails(site)

    assert error.exit_status == 61
    assert site.running() == {each: kit.program.digest if each in NODES[:3] else OLD for each in NODES}
    assert [entry.event for entry in site.entries() if entry.event in (ENDED, "rollback-started")] == []


# ---- after something else went wrong


def test_node_that_is_put_back_is_gated_before_it_starts(kit: Kit, backups: Path) -> None:
    site = broken_site(None, kit, node=NODE, fault="start_fails", keys=backups)
    site.world.at = {f"start {NODE}: before": lose(site)}
    error = fails(site)

    assert (error.exit_status, site.world.programs[NODE].running) == (61, None)
    assert site.world.programs[NODE].starts == 1  # the start that failed


def test_keys_are_looked_at_after_a_rollback(kit: Kit, backups: Path) -> None:
    site = broken_site(None, kit, node="vol-3", fault="start_fails", on_failure="rollback", keys=backups)
    assert fails(site).exit_status == 50
    looks = [entry.step for entry in site.entries() if entry.event == key_journal.KEPT]

    assert {"before vol-3 is put back", "after vol-3 was put back", "after the rollback"} - {*looks} == {
        "before vol-3 is put back"  # no key is on that node
    }


def test_key_lost_in_a_rollback_stops_the_rollback(kit: Kit, backups: Path) -> None:
    site = broken_site(None, kit, node="vol-3", fault="start_fails", on_failure="rollback", keys=backups)
    site.world.at = {"journal rollback-started: after": lose(site)}
    error = fails(site)

    assert error.exit_status == 61
    assert site.world.programs["vol-1"].running == kit.program.digest


def test_key_lost_after_the_last_node_is_found_at_the_end(site: Site) -> None:
    site.world.at = {f"journal done wait_for_rebalance {FILER}: after": lose(site)}

    assert fails(site).exit_status == 61
    assert not [entry for entry in site.entries() if entry.event == ENDED]


# ---- the alarm stands


def by_hand(site: Site, command: str, *accept: str) -> object:
    journal = site.journal()
    record = RunRecord(journal, run="", clock=lambda: NOW)
    watch = site.key_gate(Life(), journal).watch
    if command == "check":
        return check_keys(watch, journal, record)
    reason = "the spare was enrolled" if accept else ""
    return record_keys(watch, journal, record, backups=site.backups or Path(), accept=accept, reason=reason)


def stopped(site: Site) -> Site:
    """The site after its key was lost while its node was stopped."""
    site.world.at = {f"stop {NODE}: after": lose(site)}
    assert fails(site).exit_status == 61
    site.world.at = {}
    return site


def test_alarm_is_in_journal_and_status(site: Site) -> None:
    status = status_of(stopped(site).entries())

    assert status.state == "key continuity lost"
    assert KEY in status.keys_lost[0]
    assert NODE in status.keys_lost[0]
    assert "keys check" in status.next
    assert (status.node_in_hand, status.finished_nodes) == (NODE, ("vol-1",))
    failed = [entry.facts["reference"] for entry in site.entries() if entry.event == FAILED]
    assert failed == ["key-continuity-lost"]


def test_install_refuses_while_the_alarm_stands_even_if_the_key_is_back(site: Site) -> None:
    stopped(site)
    site.keys[KEY].is_there = True
    life = Life()
    with pytest.raises(OperatorNeededError) as caught:
        site.install(life)

    assert (caught.value.exit_status, caught.value.facts["lost"]) == (61, [KEY])
    assert nodes_touched(life.touches) == []


def test_good_check_settles_the_alarm_and_install_goes_on(site: Site) -> None:
    stopped(site)
    site.keys[KEY].is_there = True
    by_hand(site, "check")
    report = site.install()

    assert report.resumed
    assert site.problems() == []


def test_bad_check_says_61_again_and_settles_nothing(site: Site) -> None:
    stopped(site)
    with pytest.raises(OperatorNeededError) as caught:
        by_hand(site, "check")

    assert caught.value.exit_status == 61
    assert status_of(site.entries()).keys_lost


def test_check_that_could_not_decide_settles_nothing(site: Site) -> None:
    stopped(site)
    cut_off(site)()
    with pytest.raises(RefusedError) as caught:
        by_hand(site, "check")

    assert (caught.value.exit_status, caught.value.reference) == (40, "key-continuity-undecided")
    assert status_of(site.entries()).keys_lost


def test_snapshot_does_not_record_a_changed_key_unless_it_is_named(site: Site) -> None:
    stopped(site)
    site.keys[KEY].is_there = True
    site.keys[KEY].replace()

    for accept in ((), ("Audit_Key",)):
        with pytest.raises(OperatorNeededError) as caught:
            by_hand(site, "snapshot", *accept)
        assert caught.value.exit_status == 61
    by_hand(site, "snapshot", KEY)
    recorded = [entry for entry in site.entries() if entry.event == key_journal.RECORDED][-1]
    assert (recorded.facts["accepted"], recorded.facts["reason"]) == ([KEY], "the spare was enrolled")
    site.install()
    assert site.problems() == []


def test_key_that_is_accepted_must_be_there(site: Site) -> None:
    stopped(site)
    with pytest.raises(RefusedError) as caught:
        by_hand(site, "snapshot", KEY)

    assert caught.value.reference == "key-absent"
    assert status_of(site.entries()).keys_lost


def test_halt_because_nobody_could_decide_is_no_alarm_and_the_next_install_asks_again(site: Site) -> None:
    site.world.at = {f"stop {NODE}: after": cut_off(site)}
    error = fails(site)
    site.world.at = {}

    assert (error.exit_status, error.reference) == (60, "key-continuity-undecided")
    assert status_of(site.entries()).keys_lost == ()
    assert site.world.programs[NODE].running is None
    assert fails(site).exit_status == 60
    site.keys[KEY].can_be_asked = True
    site.install()
    assert site.problems() == []


def test_gate_without_a_record_passes_nobody(site: Site) -> None:
    journal = MemoryJournal(bytearray())
    record = RunRecord(journal, run="r", clock=lambda: NOW)
    with pytest.raises(RefusedError) as caught:
        site.key_gate(Life(), journal).require_kept(record, "after vol-1")

    assert caught.value.facts["undecided"] == ["Audit_Key", KEY]


# ---- killed on the way


def test_install_killed_at_any_look_ends_well_when_typed_again(kit: Kit, backups: Path) -> None:
    touches = undisturbed(kit, backups, mode="safe")
    first = touches.index("journal run-started: before")
    points = [
        n
        for n, what in enumerate(touches, start=1)
        if n > first and what.startswith("journal key") and not what.endswith(": before")
    ]
    failures = {}
    for kill_at in points:
        site = Site(None, kit, keys=backups)
        site.killed(kill_at)
        try:
            site.install()
            problems = site.problems()
        except TeraFerryError as error:
            problems = [f"{error.exit_status} {error.reference}: {error.message}"]
        if problems:
            failures[f"{kill_at} {touches[kill_at - 1]}"] = problems

    assert len(points) > 30
    assert failures == {}
