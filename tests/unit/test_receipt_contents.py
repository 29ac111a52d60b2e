"""What a receipt says is what the journal says: of good installs, bad ones, two clusters, lost keys."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from teraferry.bundles.errors import OperatorNeededError, TeraFerryError
from teraferry.bundles.limits import MAX_EARLIER_RECEIPTS, MAX_RECEIPT_KEYS, MAX_RECEIPT_RUNS
from teraferry.bundles.receipt import JournalHead, Receipt, ReceiptSite, digest_of_receipt
from teraferry.installer.ports import Journal
from teraferry.installer.receipt.contents import MADE, facts_of_made, receipt_of
from teraferry.installer.rollout.journal import head_of
from tests.fakes.journal import MemoryJournal
from tests.fakes.receipts import BUNDLE, site_key
from tests.fakes.rollout_run import Kit, Site, broken_site, make_kit

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
TIME = "2026-05-04T03:02:01.123456Z"
Note = tuple[str, str, str, dict[str, object]]  # run, event, step, facts


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return make_kit(tmp_path_factory.mktemp("kit"), "4.2.0")


def receipt_from(journal: Journal) -> Receipt:
    return receipt_of(journal.replay(), site=ReceiptSite(name="hanoi", key=site_key("site").public_pem), now=NOW)


def made_from(journal: Journal) -> Receipt:
    """Return the receipt of ``journal``, and note there that it was made."""
    receipt = receipt_from(journal)
    facts = facts_of_made(receipt.number, digest_of_receipt(receipt), "k")
    journal.append(time_utc=TIME, run="", event=MADE, facts=facts)
    return receipt


def journal_with(*notes: Note) -> MemoryJournal:
    journal = MemoryJournal(bytearray())
    for run, event, step, facts in notes:
        journal.append(time_utc=TIME, run=run, event=event, step=step, facts=facts)
    return journal


def started(run: str, version: str = "4.2.0", product: str = "terachat", **facts: object) -> Note:
    named = {"product": product, "version": version, "sequence": 7, "bundle": BUNDLE}
    return run, "run-started", "", {**named, **facts}


def ended(run: str, outcome: str = "done") -> Note:
    return run, "run-ended", "", {"outcome": outcome}


def test_good_install_says_what_is_installed_and_that_it_was_done(kit: Kit) -> None:
    site = Site(None, kit)
    site.install()
    receipt = receipt_from(site.journal())

    (row,), (run,) = receipt.installed, receipt.runs
    assert (row.version, row.bundle, row.cluster, row.stands) == ("4.2.0", kit.bundle.release.bundle.digest, None, True)
    assert (run.kind, run.version, run.outcome, run.trouble) == ("install", "4.2.0", "done", None)
    assert receipt.state == "installed"
    assert receipt.journal == JournalHead(entries=len(site.entries()), head=head_of(site.entries()))
    assert (receipt.number, receipt.earlier, receipt.made_utc) == (1, (), "2026-05-04T03:02:01Z")


def test_install_that_halted_is_half_done_and_names_the_trouble(kit: Kit) -> None:
    site = broken_site(None, kit, node="vol-2", fault="start_fails")
    with pytest.raises(TeraFerryError):
        site.install()
    receipt = receipt_from(site.journal())

    (run,) = receipt.runs
    assert (run.outcome, run.ended_utc, run.trouble) == ("half-done", None, "node-command-failed")
    assert (receipt.state, receipt.installed) == ("half done", ())


def test_install_that_was_rolled_back_leaves_the_old_release(kit: Kit) -> None:
    notes = (started("a", "4.1.0"), ended("a"), started("b"), ended("b", "rolled-back"))
    receipt = receipt_from(journal_with(*notes))

    assert [row.version for row in receipt.installed] == ["4.1.0"]
    assert [run.outcome for run in receipt.runs] == ["done", "rolled-back"]
    assert receipt.state == "rolled back"


def test_each_product_of_a_site_has_a_row() -> None:
    notes = (started("a"), ended("a"), started("b", "1.0", "other"), ended("b"), started("c", "4.3.0"), ended("c"))
    rows = receipt_from(journal_with(*notes)).installed

    assert {(row.product, row.version) for row in rows} == {("terachat", "4.3.0"), ("other", "1.0")}


def test_two_clusters_have_a_row_each_and_one_stands() -> None:
    first, second = {"standby": "green", "active": "blue"}, {"standby": "blue", "active": "green"}
    notes = (started("a", "4.1.0", **first), ended("a"), started("b", **second), ended("b"))
    rows = receipt_from(journal_with(*notes)).installed

    assert {(row.cluster, row.version, row.stands) for row in rows} == {
        ("blue", "4.2.0", True),
        ("green", "4.1.0", False),
    }


def test_cutover_back_to_what_was_there_before_the_first_install_has_no_release() -> None:
    back: Note = ("rollback-3", "run-started", "", {"standby": "blue", "active": "green"})
    notes = (started("a", standby="green"), ended("a"), back, ended("rollback-3"))
    receipt = receipt_from(journal_with(*notes))

    assert [(row.cluster, row.stands) for row in receipt.installed] == [("green", False)]
    assert (receipt.runs[-1].kind, receipt.runs[-1].product) == ("rollback", None)


def test_load_is_told_and_installs_nothing() -> None:
    facts: dict[str, object] = {"product": "terachat", "version": "4.2.0", "bundle": BUNDLE}
    journal = journal_with(("load-x", "load-started", "", facts))
    assert [run.outcome for run in receipt_from(journal).runs] == ["half-done"]
    journal.append(time_utc=TIME, run="load-x", event="loaded", facts={})
    receipt = receipt_from(journal)

    assert [(run.kind, run.outcome) for run in receipt.runs] == [("load", "done")]
    assert receipt.installed == ()


def test_run_that_was_given_up_for_another_is_superseded() -> None:
    given_up: Note = ("b", "run-superseded", "", {"superseded": "a"})
    journal = journal_with(started("a", "4.1.0"))
    made_from(journal)
    for run, event, step, facts in (given_up, started("b"), ended("b")):
        journal.append(time_utc=TIME, run=run, event=event, step=step, facts=facts)

    assert [run.outcome for run in receipt_from(journal).runs] == ["superseded", "done"]


@pytest.mark.parametrize("count", [3, None])
def test_writes_that_wait_are_counted_and_never_called_nothing(count: int | None) -> None:
    waiting: Note = ("a", "pending-recovery", "", {"cluster": "green", "count": count, "names": None})
    pending = receipt_from(journal_with(started("a"), waiting)).pending

    assert pending is not None
    assert (pending.cluster, pending.count) == ("green", count)


def test_conflict_is_told_until_a_release_is_in() -> None:
    conflict: Note = ("a", "write-conflicts", "", {"marker": "m", "count": 1, "names": ["/secret/path"]})

    assert receipt_from(journal_with(started("a"), conflict)).conflicts
    assert not receipt_from(journal_with(started("a"), conflict, ended("a"))).conflicts


def test_lost_key_is_named_with_its_node(kit: Kit, tmp_path: Path) -> None:
    site = Site(None, kit, keys=tmp_path / "key-backups")
    site.install()
    site.keys["Company_Key"].is_there = False
    with pytest.raises(OperatorNeededError):
        site.install(kit=make_kit(tmp_path, "4.3.0"))
    receipt = receipt_from(site.journal())

    assert [(key.key, key.node) for key in receipt.keys_lost] == [("Company_Key", "vol-2")]
    assert receipt.state == "key continuity lost"


def test_only_so_many_lost_keys_are_named() -> None:
    lost = [{"key": f"k{number}", "node": "n", "found": "gone"} for number in range(MAX_RECEIPT_KEYS + 1)]
    receipt = receipt_from(journal_with(("", "keys-lost", "", {"lost": lost})))

    assert len(receipt.keys_lost) == MAX_RECEIPT_KEYS


def test_next_receipt_tells_only_what_happened_since_and_what_ended_since() -> None:
    journal = journal_with(started("a", "4.1.0"), ended("a"), started("b"))
    made_from(journal)
    assert receipt_from(journal).runs == ()
    journal.append(time_utc=TIME, run="b", event="run-ended", facts={"outcome": "done"})

    assert [(run.run, run.outcome) for run in receipt_from(journal).runs] == [("b", "done")]


def test_next_receipt_names_the_ones_before_and_the_heads_they_quoted() -> None:
    journal = journal_with(started("a"))
    first, second = made_from(journal), made_from(journal)
    third = receipt_from(journal)

    assert [each.receipt for each in third.earlier] == [digest_of_receipt(first), digest_of_receipt(second)]
    assert [each.journal for each in third.earlier] == [first.journal, second.journal]
    assert third.number == 3


def test_only_the_newest_receipts_and_runs_are_named() -> None:
    journal = journal_with()
    for _ in range(MAX_EARLIER_RECEIPTS + 1):
        last = made_from(journal)
    receipt = receipt_from(journal)
    assert len(receipt.earlier) == MAX_EARLIER_RECEIPTS
    assert receipt.earlier[-1].receipt == digest_of_receipt(last)

    runs = [started(f"r{number}") for number in range(MAX_RECEIPT_RUNS + 1)]
    receipt = receipt_from(journal_with(*runs))
    assert (len(receipt.runs), receipt.runs_left_out) == (MAX_RECEIPT_RUNS, 1)
    assert receipt.runs[-1].run == f"r{MAX_RECEIPT_RUNS}"


@pytest.mark.parametrize(
    "note",
    [
        ("a", "run-started", "", {"product": "../x", "version": "1", "bundle": BUNDLE}),
        ("a\x1b[2J", "run-started", "", {"product": "x", "version": "1", "bundle": BUNDLE}),
        ("", MADE, "", {}),
    ],
)
def test_journal_that_no_receipt_can_quote_is_called_corrupt(note: Note) -> None:
    with pytest.raises(OperatorNeededError) as caught:
        receipt_from(journal_with(note))
    assert (caught.value.reference, caught.value.exit_status) == ("journal-corrupt", 62)


def test_free_text_of_the_journal_stays_at_the_site() -> None:
    failed: Note = ("a", "failed", "x", {"reference": "smoke-failed", "message": "free text"})
    receipt = receipt_from(journal_with(started("a", nodes=["node-of-the-site"]), failed))

    assert "free text" not in repr(receipt)
    assert "node-of-the-site" not in repr(receipt)
