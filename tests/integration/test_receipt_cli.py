"""A receipt from a site's journal to home and back again, typed as people type it; and a journal that was forged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.ports import Entry
from teraferry.installer.rollout.journal import encode_entry, next_entry
from tests.fakes.rollout_run import Kit, Site, make_kit
from tests.lab.admin import SOURCE
from tests.lab.secops import Answer, parse_answer
from tests.unit.test_lock import held_elsewhere

HOME = (sys.executable, "-m", "teraferry.builder.cli")


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return make_kit(tmp_path_factory.mktemp("kit"), "4.2.0")


class Two:
    """A site where a release was rolled out, and home."""

    def __init__(self, folder: Path, kit: Kit) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir(mode=0o700)
        self.journal = self.state / "journal.jsonl"
        self.site_file = folder / "site.toml"
        # Nothing but the name is looked at: evidence is given whatever else is wrong.
        self.site_file.write_text('[site]\nname = "hanoi-dc1"\n\n[registry]\nurl = 7\n')
        self.site_file.chmod(0o644)
        self.stick = folder / "stick"
        self.stick.mkdir()
        self.site = Site(self.journal, kit)
        self.site.install()

    def at_the_site(self, *words: str | Path) -> Answer:
        return self._type([*SOURCE, "--site", str(self.site_file), "--state", str(self.state)], *words)

    def at_home(self, *words: str | Path) -> Answer:
        return self._type(list(HOME), *words)

    def make(self, name: str) -> Path:
        """Make a receipt at the site and carry it home."""
        answer = self.at_the_site("receipt", "-o", self.stick / name)
        assert answer.status == 0, answer.stderr
        return self.stick / name

    def rewrite(self, sequence: int, **facts: object) -> None:
        """Write the journal anew from entry ``sequence`` on, with a chain that holds: what root can do."""
        entries: list[Entry] = []
        for entry in FileJournal(self.journal).replay():
            changed = {**entry.facts, **facts} if entry.sequence == sequence else entry.facts
            entries.append(
                next_entry(
                    entries,
                    time_utc=entry.time_utc,
                    run=entry.run,
                    event=entry.event,
                    step=entry.step,
                    facts=changed,
                )
            )
        self.journal.write_bytes(b"".join(encode_entry(entry) + b"\n" for entry in entries))

    def _type(self, argv: list[str], *words: str | Path) -> Answer:
        done = subprocess.run(
            [*argv, *map(str, words), "--json"],
            env={**os.environ, "XDG_DATA_HOME": str(self.folder / "data")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        return parse_answer(done)


@pytest.fixture
def two(tmp_path: Path, kit: Kit) -> Two:
    return Two(tmp_path, kit)


def test_receipt_goes_home_is_enrolled_and_the_next_one_continues(two: Two, kit: Kit) -> None:
    made = two.at_the_site("receipt", "-o", two.stick / "first")
    enrolled = two.at_home("receipt", "enroll", two.stick / "first")
    two.make("second")
    shown = two.at_home("receipt", "show", two.stick / "second")

    assert made.result["fingerprint"] == enrolled.result["fingerprint"] == shown.result["fingerprint"]
    assert made.result["fingerprint"] in made.stderr  # read out over the telephone
    assert made.result["fingerprint"] in enrolled.stderr
    assert (shown.status, shown.result["compared_with"]) == (0, [1])
    (installed,) = enrolled.result["installed"]
    assert (installed["version"], installed["bundle"]) == ("4.2.0", kit.bundle.release.bundle.digest)
    assert "install of terachat 4.2.0: done" in enrolled.stderr
    kept = two.folder / "data/teraferry/sites/hanoi-dc1/receipts/2.json"
    assert kept.read_bytes() == (two.stick / "second").read_bytes()


def test_receipt_is_noted_in_the_journal_and_quotes_the_head_before_that(two: Two) -> None:
    head = two.at_the_site("journal", "verify").result["head"]
    made = two.at_the_site("receipt", "-o", two.stick / "first")
    last = FileJournal(two.journal).replay()[-1]

    assert made.result["head"] == head == last.previous
    assert last.event == "receipt-made"
    assert last.facts == {"number": 1, "receipt": made.result["receipt"], "key": made.result["fingerprint"]}
    # The line of docs/receipt.md that holds a journal against a receipt.
    line = f"sed -n {made.result['entries']}p {two.journal} | tr -d '\\n' | sha256sum"
    said = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout
    assert f"sha256:{said.split()[0]}" == head


def test_journal_that_was_written_anew_is_refused_at_home(two: Two) -> None:
    two.at_home("receipt", "enroll", two.make("first"))
    two.rewrite(1, version="4.1.9")
    assert two.at_the_site("journal", "verify").status == 0  # at the site nobody can see it
    shown = two.at_home("receipt", "show", two.make("second"))

    assert (shown.status, shown.result["reference"]) == (24, "receipt-chain-broken")
    assert "WRITTEN ANEW" in shown.result["message"]


def test_file_that_was_changed_on_its_way_is_refused(two: Two) -> None:
    two.at_home("receipt", "enroll", two.make("first"))
    second = two.make("second")
    second.write_bytes(second.read_bytes().replace(b'"state":"installed"', b'"state":"half done"'))
    shown = two.at_home("receipt", "show", second)

    assert (shown.status, shown.result["reference"]) == (24, "receipt-signature-wrong")


def test_receipt_waits_for_whoever_holds_the_site(two: Two) -> None:
    with held_elsewhere(two.state):
        answer = two.at_the_site("receipt", "-o", two.stick / "first")

    assert (answer.status, answer.result["reference"]) == (42, "locked")


def test_site_without_a_name_has_no_receipt(two: Two) -> None:
    two.site_file.write_text("[registry]\n")
    answer = two.at_the_site("receipt", "-o", two.stick / "first")

    assert (answer.status, answer.result["reference"]) == (2, "site-missing-field")
