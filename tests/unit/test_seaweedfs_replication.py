"""What filer.sync and the filers say, read strictly; and who is ahead when a path differs."""

from __future__ import annotations

import json

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.cluster.seaweedfs_rpc import CallFailedError
from teraferry.installer.adapters.replicator import seaweedfs_filer_pb2 as pb
from teraferry.installer.adapters.replicator.seaweedfs_comparing import named, parse_differences
from teraferry.installer.adapters.replicator.seaweedfs_filer import changes_of, version_of
from teraferry.installer.adapters.replicator.seaweedfs_judging import Change, Side, Verdict, Version, judge
from teraferry.installer.adapters.replicator.seaweedfs_metrics import MetricsUnclearError, parse_metrics
from teraferry.installer.adapters.replicator.watch import Watch
from teraferry.installer.blue_green_ports import ReplicationObservation

SINCE = 1000
BLUE, GREEN = "10.0.1.1:8888", "10.0.2.1:8888"


def sample(name: str, value: str, *, source: str = BLUE, target: str = GREEN, path: str = "/data") -> str:
    labels = f'clientName="c",path="{path}",sourceFiler="{source}",targetFiler="{target}"'
    return f"SeaweedFS_filerSync_{name}{{{labels}}} {value}"


WHOLE = [
    sample("events_received_total", "1.2e+06"),
    sample("events_processed_total", "7"),
    sample("in_flight_jobs", "3"),
    sample("events_failed_total", "0"),
]


def counts(lines: list[str]) -> ReplicationObservation:
    return parse_metrics("\n".join(lines), source=BLUE, target=GREEN, path="/data")


def test_counts_of_one_direction_are_read() -> None:
    other = sample("events_failed_total", "9", source=GREEN, target=BLUE)
    elsewhere = sample("events_failed_total", "9", path="/other")
    assert counts([*WHOLE, other, elsewhere, "# HELP x"]) == ReplicationObservation(1_200_000, 7, 3, 0)


@pytest.mark.parametrize("lacking", range(4))
def test_count_that_is_not_there_is_not_nought(lacking: int) -> None:
    with pytest.raises(MetricsUnclearError):
        counts([line for number, line in enumerate(WHOLE) if number != lacking])


@pytest.mark.parametrize("value", ["NaN", "-1", "0.5", "+Inf", "many", "1e300"])
def test_count_that_is_no_count_is_refused(value: str) -> None:
    with pytest.raises(MetricsUnclearError):
        counts([*WHOLE[:3], sample("events_failed_total", value)])


def test_count_that_is_there_twice_is_refused() -> None:
    with pytest.raises(MetricsUnclearError):
        counts([*WHOLE, WHOLE[3]])


def summary(**found: int) -> dict[str, object]:
    return {"type": "SUMMARY", "missing": 0, "sizeMismatch": 0, "etagMismatch": 0, **found}


def printed(*lines: dict[str, object]) -> bytes:
    return "\n".join(json.dumps(line) for line in lines).encode()


def test_differences_are_the_paths_that_were_printed() -> None:
    output = printed(
        {"type": "MISSING", "path": "/data/new", "isDirectory": True},
        {"type": "MISSING", "path": "/data/new/1"},
        {"type": "SIZE_MISMATCH", "path": "/data/2"},
        summary(missing=2, sizeMismatch=1),
    )
    assert parse_differences(output) == {"/data/new", "/data/new/1", "/data/2"}
    assert parse_differences(printed(summary())) == frozenset()


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"verify sync: connection refused\n",
        printed({"type": "MISSING", "path": "/data/1"}),
        printed({"type": "MISSING", "path": "/data/1"}, summary(missing=2)),
        printed(summary(missing=1)),
        printed(summary()) + b"\n{",
        printed({"type": "MISSING", "path": "/data/1"}, {"type": "SUMMARY"}),
        b"[]",
    ],
)
def test_comparison_that_is_not_whole_tells_nothing(output: bytes) -> None:
    with pytest.raises(CallFailedError):
        parse_differences(output)


def version(content: str, at: int = SINCE + 1) -> Version:
    return Version(len(content), content, at)


def own(content: str | None) -> Change:
    return Change(None if content is None else version(content), replicated=False)


def came(content: str | None) -> Change:
    return Change(None if content is None else version(content), replicated=True)


def side(content: str | None, *log: Change, old: bool = False) -> Side:
    return Side(None if content is None else version(content, SINCE - 1 if old else SINCE + 1), log)


STORIES = {
    "new on the source": (side("s", own("s")), side(None), Verdict.SOURCE_AHEAD),
    "new on the source, its log lost": (side("s"), side(None), Verdict.SOURCE_AHEAD),
    "new on the other": (side(None), side("o", own("o")), Verdict.OTHER_AHEAD),
    "new on the other, its log lost": (side(None), side("o"), Verdict.OTHER_AHEAD),
    "written over what was there before": (side("s", own("s")), side("x", old=True), Verdict.SOURCE_AHEAD),
    "written over, its log lost": (side("s"), side("x", old=True), Verdict.SOURCE_AHEAD),
    "written twice, the first arrived, the log lost": (side("s2"), side("s1", came("s1")), Verdict.SOURCE_AHEAD),
    "written over what came": (side("s", came("o"), own("s")), side("o", own("o")), Verdict.SOURCE_AHEAD),
    "written over by the other": (side("s", own("s")), side("o", came("s"), own("o")), Verdict.OTHER_AHEAD),
    "deleted on the source": (side(None, own(None)), side("x", old=True), Verdict.SOURCE_AHEAD),
    "deleted on the source, its log lost": (side(None), side("x", old=True), Verdict.SOURCE_AHEAD),
    "deleted what had gone over, its log lost": (side(None), side("s", came("s")), Verdict.SOURCE_AHEAD),
    "deleted on the other": (side("x", old=True), side(None, own(None)), Verdict.OTHER_AHEAD),
    "both wrote": (side("s", own("s")), side("o", own("o")), Verdict.CONFLICT),
    "both wrote, the source's log lost": (side("s"), side("o", own("o")), Verdict.CONFLICT),
    "versions crossed": (side("o", own("s"), came("o")), side("s", own("o"), came("s")), Verdict.CONFLICT),
    "a deletion and a write crossed": (
        side("o", own(None), came("o")),
        side(None, own("o"), came(None)),
        Verdict.CONFLICT,
    ),
    "both older than the logs": (side("s", old=True), side("o", old=True), Verdict.UNKNOWN),
    "the same by now": (side("x", own("x")), side("x", came("x")), Verdict.SAME),
    "on neither": (side(None, own(None)), side(None), Verdict.SAME),
}
MIRRORED = {Verdict.SOURCE_AHEAD: Verdict.OTHER_AHEAD, Verdict.OTHER_AHEAD: Verdict.SOURCE_AHEAD}


@pytest.mark.parametrize("story", STORIES)
def test_who_is_ahead_is_told_from_what_is_there_and_both_logs(story: str) -> None:
    source, other, verdict = STORIES[story]
    assert judge(source, other, since_ns=SINCE) is verdict
    assert judge(other, source, since_ns=SINCE) is MIRRORED.get(verdict, verdict)


def test_deletion_is_named_as_one_and_a_folder_only_when_it_is_empty() -> None:
    ahead, nothing = side("s", own("s")), side(None)
    verdicts = {
        "/data/folder": (Verdict.SOURCE_AHEAD, ahead, nothing),
        "/data/folder/1": (Verdict.SOURCE_AHEAD, ahead, nothing),
        "/data/gone": (Verdict.SOURCE_AHEAD, nothing, ahead),
        "/data/theirs": (Verdict.OTHER_AHEAD, nothing, ahead),
        "/data/folders": (Verdict.UNKNOWN, ahead, ahead),
    }
    told = named(verdicts, Verdict.SOURCE_AHEAD, Verdict.UNKNOWN)
    assert told == ["/data/folder/1", "/data/gone (deleted)", "/data/folders"]


def test_move_is_a_deletion_there_and_a_write_here() -> None:
    event = pb.SubscribeMetadataResponse(
        directory="/data/a",
        event_notification=pb.EventNotification(
            old_entry=pb.Entry(name="1"), new_entry=pb.Entry(name="2"), new_parent_path="/data/b", signatures=[5]
        ),
    )
    moved = [(path, change.version is None, change.replicated) for path, change in changes_of(event)]
    assert moved == [("/data/a/1", True, False), ("/data/b/2", False, False)]


@pytest.mark.parametrize(
    ("signatures", "said", "replicated"), [([5], False, False), ([5, 6], False, True), ([5], True, True)]
)
def test_change_that_another_filer_signed_was_replicated(signatures: list[int], said: bool, replicated: bool) -> None:
    event = pb.SubscribeMetadataResponse(
        directory="/data",
        event_notification=pb.EventNotification(
            new_entry=pb.Entry(name="1"), signatures=signatures, is_from_other_cluster=said
        ),
    )
    ((path, change),) = changes_of(event)
    assert (path, change.replicated) == ("/data/1", replicated)


def test_file_written_in_pieces_is_told_by_its_pieces_in_any_order() -> None:
    pieces = [pb.FileChunk(offset=at, size=4, e_tag=f"e{at}") for at in (0, 4, 8)]
    assert version_of(pb.Entry(chunks=pieces)).same_bytes(version_of(pb.Entry(chunks=reversed(pieces))))
    assert not version_of(pb.Entry(chunks=pieces)).same_bytes(version_of(pb.Entry(chunks=pieces[:2])))


def test_watch_gives_up_when_nothing_moves_and_not_before() -> None:
    watch = Watch(0)
    watch.see(1)
    patient = Watch(3600)
    patient.require_moving("a write")
    with pytest.raises(RefusedError) as refused:
        while True:
            watch.see(1)
            watch.require_moving("a write")
    assert refused.value.reference == "replication-stalled"
