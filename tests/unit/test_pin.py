"""Pinning a root is journaled, and a broken journal refuses before anything is pinned."""

from __future__ import annotations

from pathlib import Path

import pytest

from teraferry.bundles.errors import OperatorNeededError, TrustError, UsageError
from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.trust.accepted import shown_trust
from teraferry.installer.trust.pin import pin_root
from teraferry.keys.trust_store import TrustStore
from teraferry.keys.tuf_metadata import Root, fingerprint_of, parse_metadata
from tests.lab.house import NOW, House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house").open()


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    return TrustStore(tmp_path / "trust")


@pytest.fixture
def journal(tmp_path: Path) -> FileJournal:
    return FileJournal(tmp_path / "journal.jsonl")


def fingerprint(house: House) -> str:
    return fingerprint_of(parse_metadata(Root, house.root, what="root"))


def pin(house: House, store: TrustStore, journal: FileJournal, typed: str = "") -> dict[str, object]:
    root = house.folder / "trust" / "1.root.json"
    return pin_root(root, typed or fingerprint(house), store=store, journal=journal, now=NOW)


def test_pin_is_stored_and_journaled(house: House, store: TrustStore, journal: FileJournal) -> None:
    shown = pin(house, store, journal)

    (entry,) = journal.replay()
    assert (shown["product"], shown["fingerprint"]) == ("demo", fingerprint(house))
    assert (entry.event, entry.facts["fingerprint"]) == ("root-pinned", fingerprint(house))
    assert shown_trust(store, journal) == shown


def test_wrong_fingerprint_pins_and_journals_nothing(house: House, store: TrustStore, journal: FileJournal) -> None:
    with pytest.raises(TrustError) as refused:
        pin(house, store, journal, "0" * 64)

    assert refused.value.reference == "fingerprint-differs"
    assert (store.products(), list(journal.replay())) == ([], [])


def test_root_that_is_not_there_is_a_usage_error(tmp_path: Path, store: TrustStore, journal: FileJournal) -> None:
    with pytest.raises(UsageError) as refused:
        pin_root(tmp_path / "none.json", "0" * 64, store=store, journal=journal, now=NOW)

    assert refused.value.reference == "root-missing"


def test_broken_journal_refuses_before_anything_is_pinned(
    house: House, store: TrustStore, journal: FileJournal, tmp_path: Path
) -> None:
    (tmp_path / "journal.jsonl").write_bytes(b"{}\n")

    with pytest.raises(OperatorNeededError) as refused:
        pin(house, store, journal)

    assert refused.value.reference == "journal-corrupt"
    assert store.products() == []


def test_second_product_is_pinned_and_shown_beside_the_first(
    house: House, store: TrustStore, journal: FileJournal, tmp_path: Path
) -> None:
    other = House(tmp_path / "other", product="billing").open()
    pin(house, store, journal)

    shown = pin(other, store, journal)

    assert shown["product"] == "billing"
    rows = shown_trust(store, journal)["products"]
    assert [row["product"] for row in rows] == ["billing", "demo"]  # type: ignore[attr-defined]


def test_empty_store_shows_nothing_and_says_what_to_type(store: TrustStore, journal: FileJournal) -> None:
    with pytest.raises(TrustError) as refused:
        shown_trust(store, journal)

    assert (refused.value.exit_status, refused.value.reference) == (24, "site-not-pinned")
