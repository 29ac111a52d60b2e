"""Two writes of which neither knew the other: told from the change logs of both clusters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from teraferry.installer.adapters.replicator.seaweedfs_crossing import last_crossing
from teraferry.installer.adapters.replicator.seaweedfs_judging import Change, Version


def version(content: str) -> Version:
    return Version(len(content), content, 0)


def own(content: str | None) -> Change:
    return Change(None if content is None else version(content), replicated=False)


def came(content: str | None) -> Change:
    return Change(None if content is None else version(content), replicated=True)


def test_versions_that_crossed_are_a_conflict() -> None:
    assert last_crossing([own("b"), came("g")], [own("g"), came("b")]) == (own("b"), own("g"))


def test_version_that_replaced_another_unseen_is_a_conflict() -> None:
    # Green's is younger: replication takes it to blue, and leaves blue's behind.
    assert last_crossing([own("b"), came("g")], [own("g")]) == (own("b"), own("g"))


def test_version_written_over_one_that_had_come_is_no_conflict() -> None:
    assert last_crossing([own("b"), came("g")], [came("b"), own("g")]) is None
    assert last_crossing([came("g"), own("b")], [own("g"), came("b")]) is None


def test_version_whose_forerunner_never_came_is_no_conflict() -> None:
    # Replication skips a version that was replaced while it was on its way.
    assert last_crossing([own("b1"), own("b2"), came("g")], [came("b2"), own("g")]) is None


def test_path_written_on_one_cluster_alone_is_no_conflict() -> None:
    assert last_crossing([own("b1"), own("b2")], [came("b1"), came("b2")]) is None
    assert last_crossing([], [own("g")]) is None


def test_conflict_stays_one_when_somebody_writes_on() -> None:
    blue = [own("b"), came("g"), own("b2")]
    assert last_crossing(blue, [own("g"), came("b2")]) == (own("b"), own("g"))


def test_same_bytes_on_both_are_no_conflict() -> None:
    assert last_crossing([own("x"), came("x")], [own("x")]) is None


def test_deletion_against_a_write_is_a_conflict_unless_it_was_known() -> None:
    assert last_crossing([own(None), came("g")], [own("g")]) == (own(None), own("g"))
    assert last_crossing([own("b"), own(None)], [came("b"), came(None), own("g")]) is None
    assert last_crossing([own(None)], [own(None)]) is None


@given(st.lists(st.tuples(st.sampled_from(["blue", "green"]), st.booleans()), max_size=20))
def test_agrees_with_who_knew_what(story: list[tuple[str, bool]]) -> None:
    """A model of two clusters: a write on one, or replication of all that waits there, in any order."""
    logs: dict[str, list[Change]] = {"blue": [], "green": []}
    knows: dict[str, set[str]] = {"blue": set(), "green": set()}
    waiting: dict[str, list[str]] = {"blue": [], "green": []}
    seen_by: dict[str, set[str]] = {}
    for number, (cluster, writes) in enumerate(story):
        other = {"blue": "green", "green": "blue"}[cluster]
        if writes:
            name = f"{cluster}-{number}"
            logs[cluster].append(own(name))
            seen_by[name] = set(knows[cluster])
            knows[cluster].add(name)
            waiting[cluster].append(name)
        else:
            for name in waiting[cluster]:
                logs[other].append(came(name))
                knows[other].add(name)
            waiting[cluster].clear()
    names = list(seen_by)
    crossed = any(
        blue not in seen_by[green] and green not in seen_by[blue]
        for blue in names
        for green in names
        if blue.startswith("blue") and green.startswith("green")
    )
    assert (last_crossing(logs["blue"], logs["green"]) is not None) == crossed
