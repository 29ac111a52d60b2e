"""Attack: somebody with an account at the site, and what root can do that nobody notices there.

Each test says which it is: without root, refused; with root, noticed; with root, not noticed by the site alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from teraferry.bundles.errors import OperatorNeededError, TeraFerryError, TrustError, UsageError
from teraferry.installer.ports import Entry
from teraferry.installer.rollout.journal import encode_entry, head_of, next_entry, parse_chain
from teraferry.installer.site.load import load_site
from teraferry.installer.trust.accepted import accept_release
from tests.fakes.journal import MemoryJournal
from tests.fakes.site_toml import SITE
from tests.fakes.small_repository import NOW
from tests.fakes.small_site import SmallSite, medium, root

NOBODY = 65534


@pytest.fixture
def site(tmp_path: Path) -> SmallSite:
    made = SmallSite(tmp_path / "state").pin()
    made.install(medium(5))
    return made


def pin_file(site: SmallSite) -> Path:
    return site.folder / "trust" / "demo.json"


def chain(*events: str) -> list[Entry]:
    entries: list[Entry] = []
    for event in events:
        facts = {"outcome": "done"}
        entries.append(next_entry(entries, time_utc="2026-05-04T03:02:01Z", run="r", event=event, step="", facts=facts))
    return entries


def refusal(action: Callable[[], object]) -> TeraFerryError:
    with pytest.raises(TeraFerryError) as caught:
        action()
    return caught.value


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_without_root_a_site_file_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    assert load_site(path, kit=None).name == "hanoi-dc1"
    path.chmod(mode)

    error = refusal(lambda: load_site(path, kit=None))

    assert isinstance(error, UsageError)
    assert error.reference == "site-writable"


@pytest.mark.parametrize("what", ["the folder", "the file"])
def test_without_root_a_trust_store_that_others_may_write_is_refused(site: SmallSite, what: str) -> None:
    path = pin_file(site) if what == "the file" else pin_file(site).parent
    path.chmod(path.stat().st_mode | 0o022)

    assert refusal(site.store.load).reference == "trust-store-exposed"


def test_without_root_a_trust_store_of_another_owner_is_refused(site: SmallSite) -> None:
    if os.geteuid() != 0:
        pytest.fail("this test needs root: the suite runs as root")
    os.chown(pin_file(site), NOBODY, NOBODY)

    assert refusal(site.store.load).reference == "trust-store-exposed"


def test_a_link_in_place_of_the_trust_store_is_refused(site: SmallSite, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.json"
    shutil.move(pin_file(site), moved)
    pin_file(site).symlink_to(moved)

    assert refusal(site.store.load).reference == "trust-store-exposed"


@pytest.mark.parametrize("field", [b'"sequence":5', b'"targets_version":5', b'"timestamp_version":5'])
def test_with_root_a_floor_that_is_lowered_by_hand_is_noticed(site: SmallSite, field: bytes) -> None:
    content = pin_file(site).read_bytes()
    assert field in content
    pin_file(site).write_bytes(content.replace(field, field[:-1] + b"1"))

    assert refusal(site.store.load).reference == "trust-store-corrupt"


def test_with_root_a_store_that_is_wiped_refuses_until_a_person_pins_again(site: SmallSite) -> None:
    shutil.rmtree(pin_file(site).parent)

    error = refusal(lambda: site.install(medium(1)))

    assert isinstance(error, TrustError)
    assert (error.exit_status, error.reference) == (24, "site-not-pinned")


def test_with_root_an_older_copy_of_the_store_is_not_noticed_by_the_store_alone(site: SmallSite) -> None:
    # The journal notices it: below.
    copy = pin_file(site).read_bytes()
    site.install(medium(6))
    pin_file(site).write_bytes(copy)

    assert site.install(medium(5)).bundle.sequence == 5
    # What no copy of the store gives an insider is another root: that takes the root keys.
    mine = medium(9, signers=("mine-1", "mine-2"), roots={2: root(2, release=["mine-1", "mine-2"], signers=["mine-1"])})
    assert refusal(lambda: site.install(mine)).reference == "threshold-not-met"


def test_with_root_an_older_copy_of_the_store_is_noticed_by_the_journal(site: SmallSite) -> None:
    journal = MemoryJournal(bytearray())
    accept_release(site.judge(medium(5)), store=site.store, journal=journal, now=NOW)
    copy = pin_file(site).read_bytes()
    accept_release(site.judge(medium(6)), store=site.store, journal=journal, now=NOW)
    pin_file(site).write_bytes(copy)

    error = refusal(lambda: accept_release(site.judge(medium(5)), store=site.store, journal=journal, now=NOW))

    assert (error.exit_status, error.reference) == (24, "trust-store-rolled-back")


def test_with_root_an_older_copy_of_the_journal_is_noticed_by_the_store(site: SmallSite) -> None:
    content = bytearray()
    accept_release(site.judge(medium(5)), store=site.store, journal=MemoryJournal(content), now=NOW)
    copy = bytearray(content)
    for number in (6, 7):
        accept_release(site.judge(medium(number)), store=site.store, journal=MemoryJournal(content), now=NOW)

    error = refusal(
        lambda: accept_release(site.judge(medium(8)), store=site.store, journal=MemoryJournal(copy), now=NOW)
    )

    assert (error.exit_status, error.reference) == (24, "journal-rolled-back")


def test_with_root_both_put_back_together_are_not_noticed(site: SmallSite) -> None:
    # As by the snapshot of a virtual machine: docs/attack-model.md says so under "What is not defended".
    content = bytearray()
    accept_release(site.judge(medium(5)), store=site.store, journal=MemoryJournal(content), now=NOW)
    store, journal = pin_file(site).read_bytes(), bytearray(content)
    accept_release(site.judge(medium(6)), store=site.store, journal=MemoryJournal(content), now=NOW)
    pin_file(site).write_bytes(store)

    accept_release(site.judge(medium(5)), store=site.store, journal=MemoryJournal(journal), now=NOW)

    assert site.store.load().floor.sequence == 5


@pytest.mark.parametrize("line", [0, 1, 2])
def test_with_root_one_line_of_the_journal_that_is_changed_is_noticed(line: int) -> None:
    lines = [encode_entry(entry) for entry in chain("run-started", "step", "run-ended", "run-started")]
    lines[line] = lines[line].replace(b"done", b"fine")

    error = refusal(lambda: parse_chain(lines))

    assert isinstance(error, OperatorNeededError)
    assert (error.reference, error.facts["line"]) == ("journal-corrupt", line + 2)


@pytest.mark.parametrize("line", [0, 1, 2])
def test_with_root_one_line_of_the_journal_that_is_taken_out_is_noticed(line: int) -> None:
    lines = [encode_entry(entry) for entry in chain("run-started", "step", "run-ended", "run-started")]
    del lines[line]

    assert refusal(lambda: parse_chain(lines)).reference == "journal-corrupt"


def test_with_root_a_journal_written_anew_is_whole_and_only_an_earlier_head_tells(site: SmallSite) -> None:
    true, false = chain("run-started", "gate-refused", "run-ended"), chain("run-started", "run-ended")

    # A chain alone proves nothing against root; somebody outside who noted the head does.
    assert len(parse_chain([encode_entry(entry) for entry in false])) == 2
    assert head_of(true) not in {head_of(false[: count + 1]) for count in range(len(false))}
