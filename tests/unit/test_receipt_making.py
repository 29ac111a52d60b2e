"""A receipt is seen once the journal says it was made, and is signed by the key that signed the last one."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import TeraFerryError
from teraferry.bundles.receipt import Receipt, parse_receipt
from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.receipt.making import make_receipt
from teraferry.keys.site_key import SITE_KEY_NAME

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


class Place:
    """A state folder, and a stick."""

    def __init__(self, folder: Path) -> None:
        self.state, self.stick = folder / "state", folder / "stick"
        self.state.mkdir()
        self.stick.mkdir()
        self.key = self.state / SITE_KEY_NAME
        self.path = self.state / "journal.jsonl"
        self.journal.append(time_utc="2026-05-04T03:02:01Z", run="", event="root-pinned", facts={})

    @property
    def journal(self) -> FileJournal:
        return FileJournal(self.path)

    def make(self, name: str, *, new_key: bool = False) -> dict[str, Any]:
        output = self.stick / name
        made = make_receipt(output, site="s", state=self.state, journal=self.journal, now=NOW, new_key=new_key)
        return dict(made)

    def read(self, name: str) -> Receipt:
        return parse_receipt((self.stick / name).read_bytes(), name=name).signed

    def refusal(self, name: str, *, new_key: bool = False) -> tuple[int, str]:
        """Return how it is refused; nothing is on the stick then."""
        with pytest.raises(TeraFerryError) as caught:
            self.make(name, new_key=new_key)
        assert name not in [path.name for path in self.stick.rglob("*")]
        return caught.value.exit_status, caught.value.reference


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_receipt_is_named_in_the_journal_by_what_was_signed(place: Place) -> None:
    made = place.make("a")
    signed = json.loads((place.stick / "a").read_bytes())["signed"]
    text = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    last = place.journal.replay()[-1]

    assert made["receipt"] == digest_of(text.encode())
    assert (last.event, last.facts["receipt"], last.facts["key"]) == (
        "receipt-made",
        made["receipt"],
        made["fingerprint"],
    )
    assert made["head"] == last.previous


def test_one_key_signs_all_and_each_receipt_names_the_one_before(place: Place) -> None:
    first, second = place.make("a"), place.make("b")

    assert first["fingerprint"] == second["fingerprint"]
    assert [each.receipt for each in place.read("b").earlier] == [first["receipt"]]


def test_no_word_of_the_key_is_in_receipt_or_journal(place: Place) -> None:
    place.make("a")
    secret = place.key.read_text().splitlines()[1]

    assert secret not in (place.stick / "a").read_text()
    assert secret not in place.path.read_text()


def test_lost_key_is_not_silently_made_anew(place: Place) -> None:
    first = place.make("a")
    place.key.unlink()

    assert place.refusal("b") == (24, "site-key-lost")
    assert not place.key.exists()
    assert place.make("b", new_key=True)["fingerprint"] != first["fingerprint"]
    assert place.read("b").number == 2


def test_new_key_beside_a_living_one_is_refused(place: Place) -> None:
    place.make("a")

    assert place.refusal("b", new_key=True) == (2, "site-key-not-lost")


def test_exchanged_key_is_refused(place: Place) -> None:
    place.make("a")
    old = place.key.read_bytes()
    place.key.unlink()
    place.make("b", new_key=True)
    place.key.write_bytes(old)

    assert place.refusal("c") == (24, "site-key-changed")


def test_receipt_that_cannot_be_written_is_not_noted(place: Place) -> None:
    before = place.path.read_bytes()

    assert place.refusal("nowhere/a") == (2, "receipt-not-written")
    assert place.path.read_bytes() == before


def test_receipt_that_finds_no_room_on_a_full_medium_is_not_noted(place: Place) -> None:
    before = place.path.read_bytes()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", place.stick], check=True)
    try:
        (place.stick / "full").write_bytes(b"x" * 4096)
        assert place.refusal("a") == (2, "receipt-not-written")
        assert [path.name for path in place.stick.iterdir()] == ["full"]
    finally:
        subprocess.run(["umount", place.stick], check=True)
    assert place.path.read_bytes() == before


def test_receipt_that_cannot_be_noted_is_not_written(place: Place) -> None:
    moved = place.path.rename(place.stick.parent / "journal")
    place.path.symlink_to(moved)  # read as before, and never written through

    assert place.refusal("a") == (44, "journal-not-writable")
    assert list(place.stick.iterdir()) == []


def test_key_that_finds_no_place_is_told(place: Place) -> None:
    gone = place.state.rename(place.stick.parent / "gone")
    place.path = gone / "journal.jsonl"
    assert place.refusal("a") == (44, "site-key-not-kept")


def test_broken_journal_gives_no_receipt_and_no_key(place: Place) -> None:
    place.make("a")
    place.key.unlink()
    place.path.write_bytes(place.path.read_bytes().replace(b"root-pinned", b"root-pinnet"))

    assert place.refusal("b", new_key=True) == (62, "journal-corrupt")
    assert not place.key.exists()
