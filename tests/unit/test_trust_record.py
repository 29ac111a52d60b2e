"""Store and journal watch each other: what is lost, put back or damaged is loud, and the way back is deliberate.

Whole sites on disk: a store, a journal, real kits, and what happens to files in the wrong hands.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from teraferry.bundles.errors import OperatorNeededError, TeraFerryError
from teraferry.bundles.progress import Silent
from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.ports import Entry
from teraferry.installer.trust.accepted import accept_release, shown_trust
from teraferry.installer.trust.judge import trust_kit
from teraferry.installer.trust.pin import Replacement, pin_root
from teraferry.installer.trust.record import remembered, require_store_current
from teraferry.keys.trust_store import TrustStore
from teraferry.keys.trusted import EPOCH, TrustedRelease
from teraferry.keys.tuf_metadata import Root, fingerprint_of, parse_metadata
from tests.lab.house import NOW, House


@dataclass
class Site:
    """One state folder; a new process every time, so nothing is remembered in memory."""

    house: House
    folder: Path

    @property
    def store(self) -> TrustStore:
        return TrustStore(self.folder / "trust")

    @property
    def journal(self) -> FileJournal:
        return FileJournal(self.folder / "journal.jsonl")

    @property
    def store_file(self) -> Path:
        return self.folder / "trust" / "demo.json"

    @property
    def journal_file(self) -> Path:
        return self.folder / "journal.jsonl"

    def pin(
        self, house: House | None = None, *, version: int = 1, replace: str | None = None, sequence: int | None = None
    ) -> dict[str, Any]:
        house = house or self.house
        root = house.folder / "trust" / f"{version}.root.json"
        replacing = None if replace is None else Replacement(replace, sequence)
        typed = fingerprint(house, version)
        return pin_root(root, typed, store=self.store, journal=self.journal, now=NOW, replacing=replacing)

    def accept(self, version: str) -> None:
        release = self.house.judge(self.house.kit(version), floor=self.store.load().floor)
        accept_release(release, store=self.store, journal=self.journal, now=NOW)

    def events(self) -> list[str]:
        return [entry.event for entry in self.journal.replay()]

    def last(self) -> Entry:
        return self.journal.replay()[-1]

    def show(self) -> dict[str, Any]:
        return shown_trust(self.store, self.journal)


def fingerprint(house: House, version: int = 1) -> str:
    content = (house.folder / "trust" / f"{version}.root.json").read_bytes()
    return fingerprint_of(parse_metadata(Root, content, what="root"))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(House(tmp_path / "house").open(), tmp_path / "state")
    made.pin()
    return made


@pytest.fixture
def stranger(tmp_path: Path) -> House:
    return House(tmp_path / "stranger").open()


def refused(do: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(TeraFerryError) as caught:
        do()
    assert caught.value.hint
    return caught.value.exit_status, caught.value.reference


def test_accepted_release_is_journaled_once_with_the_floor_it_set(site: Site) -> None:
    kit = site.house.kit("1.0.0")
    for _ in range(2):
        release = site.house.judge(kit, floor=site.store.load().floor)
        accept_release(release, store=site.store, journal=site.journal, now=NOW)

    memory = remembered(site.journal.replay(), "demo")
    assert site.events() == ["root-pinned", "release-accepted"]
    assert site.last().facts["version"] == "1.0.0"
    assert memory is not None
    assert memory.floor == site.store.load().floor


def test_shown_trust_names_roles_keys_versions_and_dates(site: Site) -> None:
    site.accept("1.0.0")

    shown = site.show()

    assert shown["versions"] == {"root": 1, "targets": 1, "snapshot": 1, "timestamp": 1}
    assert set(shown["expires"]) == {"root", "targets", "snapshot", "timestamp"}
    assert shown["expires"]["timestamp"] == f"{NOW + timedelta(days=365):%Y-%m-%dT%H:%M:%SZ}"
    assert shown["roles"]["targets"]["threshold"] == 2
    assert {key["id"] for key in shown["keys"]} >= set(shown["roles"]["targets"]["keys"])
    assert all(len(key["fingerprint"]) == 64 for key in shown["keys"])


# ---- put back, or lost


def test_store_put_back_to_an_older_day_is_loud(site: Site) -> None:
    site.accept("1.0.0")
    older = site.store_file.read_bytes()
    site.accept("1.1.0")
    site.store_file.write_bytes(older)

    assert refused(site.show) == (24, "trust-store-rolled-back")
    assert refused(lambda: site.accept("1.2.0")) == (24, "trust-store-rolled-back")
    assert refused(site.pin) == (24, "trust-store-rolled-back")


def test_store_put_back_to_the_day_before_a_replacement_is_loud(site: Site, stranger: House) -> None:
    older = site.store_file.read_bytes()
    site.pin(stranger, replace=fingerprint(site.house))
    site.store_file.write_bytes(older)

    assert refused(site.show) == (24, "trust-store-rolled-back")


@pytest.mark.parametrize("lines", [0, 1])
def test_journal_that_lost_entries_is_loud(site: Site, lines: int) -> None:
    site.accept("1.0.0")
    site.accept("1.1.0")
    kept = site.journal_file.read_bytes().splitlines(keepends=True)[:lines]
    site.journal_file.write_bytes(b"".join(kept))

    assert refused(site.show) == (24, "journal-rolled-back")
    assert refused(lambda: site.accept("1.2.0")) == (24, "journal-rolled-back")


def test_journal_that_is_gone_is_loud(site: Site) -> None:
    site.accept("1.0.0")
    site.journal_file.unlink()

    assert refused(site.show) == (24, "journal-rolled-back")


def test_journal_that_was_written_anew_is_loud(site: Site) -> None:
    site.accept("1.0.0")
    site.journal_file.unlink()
    for _ in range(3):
        site.journal.append(time_utc="2026-01-01T00:00:00.000000Z", run="", event="run-started", facts={})

    assert refused(site.show) == (24, "journal-rolled-back")


def test_store_and_journal_put_back_together_cannot_be_seen(site: Site) -> None:
    """Said in docs/attack-model.md; this test is for the day that it changes."""
    older = site.store_file.read_bytes(), site.journal_file.read_bytes()
    site.accept("1.0.0")
    site.store_file.write_bytes(older[0])
    site.journal_file.write_bytes(older[1])

    assert site.show()["sequence"] == 0


def test_power_cut_between_store_and_journal_is_no_fault_and_heals(site: Site) -> None:
    site.accept("0.9.0")
    kit = site.house.kit("1.0.0")
    before = site.journal_file.read_bytes()
    release = site.house.judge(kit, floor=site.store.load().floor)
    accept_release(release, store=site.store, journal=site.journal, now=NOW)
    site.journal_file.write_bytes(before)

    assert site.show()["versions"]["targets"] == 2
    again = site.house.judge(kit, floor=site.store.load().floor)
    accept_release(again, store=site.store, journal=site.journal, now=NOW)
    assert site.events() == ["root-pinned", "release-accepted", "release-accepted"]


def test_power_cut_in_a_first_pin_heals_when_it_is_typed_again(tmp_path: Path) -> None:
    site = Site(House(tmp_path / "house").open(), tmp_path / "state")
    site.pin()
    site.journal_file.unlink()

    site.pin()

    assert site.events() == ["root-pinned"]
    site.show()


def test_journal_entry_that_lost_its_numbers_is_a_broken_journal(site: Site) -> None:
    facts = {**site.last().facts, "sequence": "many"}
    site.journal.append(time_utc="2026-01-01T00:00:00.000000Z", run="", event="release-accepted", facts=facts)

    with pytest.raises(OperatorNeededError) as caught:
        require_store_current(site.store.load(), site.journal.replay())
    assert caught.value.reference == "journal-corrupt"


# ---- the way back


def test_pinning_what_is_pinned_changes_and_journals_nothing(site: Site) -> None:
    site.accept("1.0.0")
    before = site.store_file.read_bytes()

    site.pin()

    assert site.store_file.read_bytes() == before
    assert site.events() == ["root-pinned", "release-accepted"]


def test_wiped_store_refuses_until_the_root_is_pinned_again_and_then_has_its_floor_back(site: Site) -> None:
    site.accept("1.0.0")
    site.accept("1.1.0")
    floor = site.store.load().floor
    shutil.rmtree(site.folder / "trust")

    assert refused(site.show) == (24, "site-not-pinned")
    site.pin()

    assert site.store.load().floor == floor
    assert (site.last().event, site.last().facts["again"]) == ("root-pinned", True)


def test_wiped_store_is_no_way_to_another_root(site: Site, stranger: House) -> None:
    site.accept("1.0.0")
    shutil.rmtree(site.folder / "trust")

    assert refused(lambda: site.pin(stranger)) == (24, "already-pinned")


def test_another_root_needs_the_fingerprint_of_the_old_one(site: Site, stranger: House) -> None:
    assert refused(lambda: site.pin(stranger)) == (24, "already-pinned")
    assert refused(lambda: site.pin(stranger, replace=fingerprint(stranger))) == (24, "replaced-root-differs")
    assert refused(lambda: site.pin(stranger, replace="12")) == (2, "fingerprint-malformed")
    assert site.store.load().fingerprint == fingerprint(site.house)
    assert site.events() == ["root-pinned"]


def test_replacement_is_journaled_with_both_roots_and_what_it_gave_up(site: Site, stranger: House) -> None:
    site.accept("1.0.0")
    dates = site.store.load().floor.newest_signed_at

    shown = site.pin(stranger, replace=fingerprint(site.house))

    floor, entry = site.store.load().floor, site.last()
    assert (shown["fingerprint"], shown["sequence"]) == (fingerprint(stranger), 1)
    assert (floor.targets_version, floor.newest_signed_at) == (0, dates)
    assert (entry.event, entry.facts["fingerprint"]) == ("root-replaced", fingerprint(stranger))
    assert entry.facts["replaced"] == fingerprint(site.house)
    assert entry.facts["given_up"] == {"targets_version": 1, "snapshot_version": 1, "timestamp_version": 1}
    site.show()


def test_sequence_falls_only_to_what_a_person_typed_and_that_is_journaled(site: Site, stranger: House) -> None:
    site.accept("1.0.0")
    old = fingerprint(site.house)

    assert refused(lambda: site.pin(stranger, replace=old, sequence=2)) == (2, "sequence-not-lower")
    site.pin(stranger, replace=old, sequence=0)

    assert site.store.load().floor.sequence == 0
    assert dict(site.last().facts)["given_up"] == {
        **dict.fromkeys(("targets_version", "snapshot_version", "timestamp_version"), 1),
        "sequence": 1,
    }


def test_sequence_of_the_root_that_stays_never_falls(site: Site) -> None:
    site.accept("1.0.0")

    site.pin(replace=fingerprint(site.house), sequence=0)

    assert site.store.load().floor.sequence == 1


def test_lost_journal_is_mended_by_naming_the_pinned_root_again(site: Site) -> None:
    site.accept("1.0.0")
    floor = site.store.load().floor
    site.journal_file.unlink()

    site.pin(replace=fingerprint(site.house))

    assert site.store.load().floor == floor
    assert (site.last().event, site.last().facts["given_up"]) == ("root-replaced", {})
    site.show()
    site.accept("1.1.0")


def test_store_put_back_is_mended_from_the_journal(site: Site) -> None:
    older = site.store_file.read_bytes()
    site.accept("1.0.0")
    floor = site.store.load().floor
    site.store_file.write_bytes(older)

    site.pin(replace=fingerprint(site.house))

    assert site.store.load().floor == floor
    site.show()


def test_damaged_store_is_kept_as_evidence_and_mended_from_the_journal(site: Site) -> None:
    site.accept("1.0.0")
    floor = site.store.load().floor
    site.store_file.write_bytes(b"{}")

    assert refused(site.show) == (24, "trust-store-corrupt")
    assert refused(site.pin) == (24, "trust-store-corrupt")
    assert refused(lambda: site.pin(replace="0" * 64)) == (24, "replaced-root-differs")
    site.pin(replace=fingerprint(site.house))

    assert site.store.load().floor == floor
    assert (site.folder / "trust" / "demo.damaged").read_bytes() == b"{}"


def test_damaged_store_without_a_journal_is_mended_by_nobody_but_root(site: Site) -> None:
    site.store_file.write_bytes(b"{}")
    site.journal_file.unlink()

    assert refused(lambda: site.pin(replace=fingerprint(site.house))) == (2, "nothing-to-replace")


def test_first_visit_has_nothing_to_replace(tmp_path: Path) -> None:
    site = Site(House(tmp_path / "house").open(), tmp_path / "state")

    assert refused(lambda: site.pin(replace="0" * 64)) == (2, "nothing-to-replace")
    assert not site.folder.exists()


def test_root_older_than_the_one_that_was_trusted_is_not_pinned_again(site: Site) -> None:
    """Keys that were revoked since would count again."""
    site.house.change(None, "root-1", "root-2")
    site.accept("1.0.0")
    assert site.store.load().floor.root_version == 2
    shutil.rmtree(site.folder / "trust")

    assert refused(site.pin) == (22, "older-than-installed")
    assert refused(site.store.load) == (24, "site-not-pinned")
    site.pin(version=2)

    assert site.store.load().fingerprint == fingerprint(site.house, 2)
    assert site.store.load().first_fingerprint == fingerprint(site.house)
    site.show()


def test_other_products_are_looked_at_by_nobody(site: Site, tmp_path: Path) -> None:
    (site.folder / "trust" / "other.json").write_bytes(b"damaged")
    other = House(tmp_path / "billing", product="billing").open()

    assert site.pin(other)["product"] == "billing"


def test_file_of_another_product_is_no_pin_of_this_one(site: Site) -> None:
    site.store_file.rename(site.store_file.with_name("billing.json"))

    assert refused(site.store.load) == (24, "trust-store-corrupt")


# ---- what every command asks before it believes a kit


def judge(site: Site, kit: Path, site_file: Path) -> TrustedRelease:
    place: dict[str, Any] = {"store": site.store, "journal": site.journal, "site_file": site_file}
    return trust_kit(kit, **place, built_at=EPOCH, now=NOW, progress=Silent())


def test_kit_is_judged_by_no_store_that_was_put_back(site: Site, tmp_path: Path) -> None:
    older = site.store_file.read_bytes()
    kit = site.house.kit("1.0.0").folder
    site.accept("1.1.0")
    site.store_file.write_bytes(older)

    # By the store alone this kit would be new.
    assert refused(lambda: judge(site, kit, tmp_path / "none.toml")) == (24, "trust-store-rolled-back")


def test_kit_is_judged_by_the_demand_of_the_site_file(site: Site, tmp_path: Path) -> None:
    kit = site.house.kit("1.0.0").folder
    site_file = tmp_path / "site.toml"
    site_file.write_text(f'[trust]\nrequire_openpgp = "{"A" * 40}"\nopenpgp_key = "{tmp_path}/none.asc"\n')

    assert judge(site, kit, tmp_path / "none.toml").openpgp is None
    assert refused(lambda: judge(site, kit, site_file)) == (23, "openpgp-key-missing")


def test_kit_is_judged_by_no_site_file_that_cannot_be_read(site: Site, tmp_path: Path) -> None:
    kit = site.house.kit("1.0.0").folder
    (tmp_path / "site.toml").write_text("[trust")

    assert refused(lambda: judge(site, kit, tmp_path / "site.toml")) == (2, "site-syntax")
