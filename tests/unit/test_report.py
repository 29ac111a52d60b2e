"""The report says what the journal says: of a good install, of a failed one, of a lost key; and it runs nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import unescape
from pathlib import Path

import pytest

from teraferry.bundles.errors import OperatorNeededError, TeraFerryError
from teraferry.installer.ports import Entry
from teraferry.installer.report.page import render_report
from teraferry.installer.report.story import Story, story_of
from teraferry.installer.rollout.journal import head_of
from tests.fakes.journal import MemoryJournal
from tests.fakes.rollout_run import NODES, Kit, Site, broken_site, make_kit

Note = tuple[str, str, dict[str, object]]  # event, step, facts
TIME = "2026-11-26T01:02:03.456789Z"


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return make_kit(tmp_path_factory.mktemp("kit"), "4.2.0")


def page_of(entries: Sequence[Entry]) -> str:
    return render_report(story_of(entries)).decode()


def text_of(page: str) -> str:
    """Return what a reader sees, on one line."""
    body = page[page.index("<body>") :]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def story_after(*notes: Note) -> Story:
    journal = MemoryJournal(bytearray())
    for event, step, facts in notes:
        journal.append(time_utc=TIME, run="r", event=event, step=step, facts=facts)
    return story_of(journal.replay())


def test_good_install_is_told_with_every_node_and_the_digest_to_write_down(kit: Kit) -> None:
    site = Site(None, kit)
    site.install()
    story = story_of(site.entries())
    text = text_of(page_of(site.entries()))

    assert [(run.version, run.outcome, run.is_good) for run in story.runs] == [("4.2.0", "done", True)]
    assert {node.name: node.outcome for node in story.runs[0].nodes} == dict.fromkeys(NODES, "done")
    assert story.runs[0].troubles == ()
    assert "4.2.0: installed" in text
    assert head_of(site.entries()) in text
    assert f"{len(site.entries())} entries" in text


def test_node_that_failed_is_named_with_the_reason_and_the_next_command(kit: Kit) -> None:
    site = broken_site(None, kit, node="vol-2", fault="start_fails")
    with pytest.raises(TeraFerryError) as caught:
        site.install()
    story = story_of(site.entries())
    text = text_of(page_of(site.entries()))

    assert "start of vol-2: failed" in caught.value.message
    assert "start of vol-2: failed" in text
    assert "What did not go as planned" in text
    assert story.status.next in text
    outcomes = {node.name: node.outcome for node in story.runs[0].nodes}
    assert (outcomes["vol-1"], outcomes["vol-3"]) == ("done", "not touched")


def test_rolled_back_install_is_told_as_that(kit: Kit) -> None:
    site = broken_site(None, kit, node="vol-2", fault="start_fails", on_failure="rollback")
    with pytest.raises(TeraFerryError):
        site.install()
    (run,) = story_of(site.entries()).runs

    assert not run.is_good
    assert run.outcome == "rolled back: the old release serves"
    outcomes = {node.name: node.outcome for node in run.nodes}
    assert outcomes["vol-1"] == outcomes["vol-2"] == "brought back to the old release"


def test_lost_key_stands_above_everything_and_names_key_and_node(kit: Kit, tmp_path: Path) -> None:
    site = Site(None, kit, keys=tmp_path / "key-backups")
    site.install()
    site.keys["Company_Key"].is_there = False
    with pytest.raises(OperatorNeededError):
        site.install(kit=make_kit(tmp_path, "4.3.0"))
    page = page_of(site.entries())
    text = text_of(page)

    assert text.index("CRITICAL: key continuity lost") < text.index("4.2.0")
    assert "Company_Key on vol-2" in text
    assert "keys check" in text
    assert re.search(r'<tr class="critical">.*KEY LOST', page)


def test_same_journal_gives_the_same_page(kit: Kit) -> None:
    site = Site(None, kit)
    site.install()

    assert page_of(site.entries()) == page_of(site.entries())


def test_page_asks_nobody_for_anything(kit: Kit) -> None:
    site = Site(None, kit)
    site.install()
    page = page_of(site.entries())

    assert "default-src 'none'" in page
    assert not re.search(r"<script|\bsrc=|\bhref=|url\(|@import|https?://", page)


def test_what_a_journal_holds_is_shown_and_never_run() -> None:
    hostile = "<script>alert('x')</script><img src=x onerror=y>"
    page = render_report(story_after(("run-started", hostile, {"version": hostile, hostile: hostile}))).decode()

    assert not re.search("<script|<img", page)
    assert hostile in text_of(page)


def test_event_without_words_of_ours_is_told_by_its_name() -> None:
    story = story_after(("run-started", "", {}), ("moon-landed", "", {"place": "Tranquillity"}))

    assert ("moon landed", (("place", "Tranquillity"),)) in [(line.words, line.facts) for line in story.runs[0].lines]


def test_long_fact_is_cut_and_says_so() -> None:
    story = story_after(("run-started", "", {"version": "x" * 5000}))

    assert "5000 characters" in dict(story.runs[0].facts)["version"]


def test_site_where_nothing_happened_has_a_report_as_well() -> None:
    text = text_of(render_report(story_after()).decode())

    assert "No install yet" in text
    assert "nothing installed" in text


@pytest.mark.parametrize(
    ("count", "told"), [(3, "3 writes on green"), (None, "writes on green, how many cannot be told")]
)
def test_writes_that_wait_are_counted_and_never_called_nothing(count: int | None, told: str) -> None:
    waiting: Note = ("pending-recovery", "", {"cluster": "green", "count": count, "names": None})
    story = story_after(("run-started", "", {"version": "4.3.0"}), waiting)
    text = text_of(render_report(story).decode())

    assert f"Pending recovery: {told}" in text
    assert dict(story.runs[0].troubles[0].facts)["count"] == ("3" if count else "cannot be told")


def test_writes_that_came_home_wait_no_longer() -> None:
    story = story_after(
        ("run-started", "", {"version": "4.3.0"}),
        ("pending-recovery", "", {"cluster": "green", "count": 3, "names": ["a"]}),
        ("pending-recovered", "", {"cluster": "green"}),
    )

    assert story.pending == ""


def test_conflict_stays_on_the_page_until_a_release_is_in() -> None:
    conflict: Note = ("write-conflicts", "", {"marker": "m-1", "count": 1, "names": ["/a"]})
    story = story_after(("run-started", "", {"version": "4.3.0"}), conflict)
    assert "Written on both clusters" in text_of(render_report(story).decode())

    later = story_after(("run-started", "", {}), conflict, ("run-ended", "", {"outcome": "done"}))
    assert later.conflicts_since == ""
