"""What PostgreSQL's tools say is read strictly: an unread end of a log is never taken for an empty one."""

from __future__ import annotations

import pytest

from teraferry.installer.adapters.replicator.pgbouncer import Bouncer
from teraferry.installer.adapters.replicator.postgresql_server import Place
from teraferry.installer.adapters.replicator.postgresql_wal import (
    MAX_NAMED,
    UnexpectedOutputError,
    lsn_text,
    parse_commits,
    parse_control,
    parse_fork,
    parse_lsn,
)

CONTROL = """pg_control version number:            1300
Database cluster state:               shut down
pg_control last modified:             Thu Nov 26 02:00:00 2026
Latest checkpoint location:           1/3000148
Latest checkpoint's TimeLineID:       3
"""
COMMIT = (
    "rmgr: Transaction len (rec/tot):     34/    34, tx:        735, lsn: 0/03000110, prev 0/030000D8, "
    "desc: COMMIT 2026-11-26 02:00:00.000000 UTC; inval msgs: catcache 51\n"
)
ABORT = COMMIT.replace("COMMIT", "ABORT")
END = "pg_waldump: error: error in WAL record at 0/30001B8: invalid record length at 0/30001F0: wanted 24, got 0\n"


def test_lsn_is_a_number_of_bytes() -> None:
    assert parse_lsn("1/3000148") == (1 << 32) + 0x3000148
    assert lsn_text(parse_lsn("1/3000148")) == "1/3000148"


@pytest.mark.parametrize("text", ["", "0", "0/", "3000148", "0/300014g", "0/3000148 ", "123456789/0"])
def test_anything_else_is_no_lsn(text: str) -> None:
    with pytest.raises(UnexpectedOutputError):
        parse_lsn(text)


def test_control_data_tell_state_end_and_timeline() -> None:
    control = parse_control(CONTROL)
    assert (control.is_shut_down, lsn_text(control.checkpoint), control.timeline) == (True, "1/3000148", 3)


@pytest.mark.parametrize("state", ["in production", "shutting down", "shut down in recovery", "in crash recovery"])
def test_no_other_state_is_a_primary_that_ended_well(state: str) -> None:
    assert not parse_control(CONTROL.replace("shut down\n", f"{state}\n")).is_shut_down


@pytest.mark.parametrize("line", [1, 3, 4])
def test_control_data_without_a_line_are_none(line: int) -> None:
    lines = CONTROL.splitlines(keepends=True)
    with pytest.raises(UnexpectedOutputError):
        parse_control("".join(lines[:line] + lines[line + 1 :]))


def test_fork_is_where_the_timeline_was_left() -> None:
    history = "1\t0/3000148\tno recovery target specified\n\n2\t0/5000000\tno recovery target specified\n"
    assert [lsn_text(parse_fork(history, timeline)) for timeline in (1, 2)] == ["0/3000148", "0/5000000"]
    with pytest.raises(UnexpectedOutputError):
        parse_fork(history, 3)


def test_commits_are_named_and_nothing_else() -> None:
    assert parse_commits(COMMIT + ABORT, END, status=1) == ["transaction 735 of 2026-11-26 02:00:00.000000 UTC"]
    assert parse_commits("", "", status=0) == []


@pytest.mark.parametrize(
    "errors",
    [
        "",
        'pg_waldump: error: could not find file "000000010000000000000003": No such file or directory',
        "pg_waldump: error: could not open directory: Permission denied",
        "pg_waldump: error: error in WAL record at 0/30001B8: incorrect resource manager data checksum in record",
        f"{END}pg_waldump: error: something else",
    ],
)
def test_log_that_ends_for_another_reason_has_no_known_end(errors: str) -> None:
    with pytest.raises(UnexpectedOutputError):
        parse_commits(COMMIT, errors, status=1)


def test_more_commits_than_are_named_are_counted() -> None:
    names = parse_commits(COMMIT * (MAX_NAMED + 5), END, status=1)
    assert (len(names), names[-1]) == (MAX_NAMED + 1, "and 5 more")


@pytest.mark.parametrize("host", ["", "a b", "x' password='y", "host\n"])
def test_words_of_a_connection_string_are_plain(host: str) -> None:
    with pytest.raises(ValueError, match="postgresql"):
        Place(cluster="blue", host=host, port=5432, data="/data", stop=("true",), start=("true",))


@pytest.mark.parametrize("name", ["", "App", "a b", "a;b", 'a"b'])
def test_databases_are_single_words_of_pgbouncer(name: str) -> None:
    with pytest.raises(ValueError, match="pgbouncer"):
        Bouncer(name="blue", databases=(name,))
    with pytest.raises(ValueError, match="pgbouncer"):
        Bouncer(name="blue", databases=())
