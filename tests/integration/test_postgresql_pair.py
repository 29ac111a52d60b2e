"""A primary that moves under writers, among kills, lags and people: no acknowledged write is lost, none fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest

from teraferry.bundles.digest import Buffer, Digest
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.process import Completed
from teraferry.installer.ports import NodeTransport
from tests.fakes.one_writer import OTHER
from tests.lab.db_clients import DbClient, Writers
from tests.lab.nodes import wait_until
from tests.lab.postgres_pair import ADDRESSES, DATA, FOLDER, PostgresPair, postgres_pair

pytestmark = pytest.mark.real

LONG = 120.0


class Killed(BaseException):
    """The installer is gone: nothing of it cleans up."""


class Until:
    """The way to a node, on which the installer is killed before the first call that holds ``word``."""

    def __init__(self, way: NodeTransport, word: str) -> None:
        self._way = way
        self._word = word

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
        if self._word in " ".join(argv) + stdin.decode():
            raise Killed
        return self._way.run(argv, stdin=stdin, timeout_seconds=timeout_seconds)

    def upload(self, pieces: Iterable[Buffer], path: str, *, mode: int, digest: Digest) -> None:
        if self._word in f"upload {path}":
            raise Killed
        self._way.upload(pieces, path, mode=mode, digest=digest)


class Deaf(Until):
    """The way to a node, on which one command of pgbouncer's console does not arrive."""

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
        heard = ["SHOW VERSION" if each == self._word else each for each in argv]
        return self._way.run(heard, stdin=stdin, timeout_seconds=timeout_seconds)


@pytest.fixture(scope="module")
def whole_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresPair]:
    with postgres_pair(tmp_path_factory.mktemp("pair")) as pair:
        yield pair


@pytest.fixture
def pair(whole_pair: PostgresPair) -> PostgresPair:
    whole_pair.replicator().start()
    whole_pair.replicator().release_writes()
    return whole_pair


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(RefusedError) as caught:
        action()
    assert caught.value.exit_status == 40
    return caught.value.reference


def move(pair: PostgresPair) -> str:
    """Move the primary as a rollout does, and return the new one."""
    adapter = pair.replicator()
    old = adapter.primary()
    try:
        adapter.hold_writes(seconds=LONG)
        adapter.sync_state(old, marker="run-9", stalled_after_seconds=LONG)
        adapter.promote(OTHER[old])
    finally:
        adapter.release_writes()
    adapter.start()
    return OTHER[old]


def write(pair: PostgresPair, name: str, *, through: str = "blue") -> str:
    with DbClient(pair.through(through), name) as client:
        return client.write()


def rows(pair: PostgresPair, cluster: str) -> set[str]:
    """Return what a server has, each row's checksum compared by the server itself."""
    good = "SELECT content FROM kept WHERE sum = encode(sha256(content::bytea), 'hex')"
    return set(pair.sql(cluster, good))


def test_writers_through_promotion_and_back_lose_nothing_and_none_fails(pair: PostgresPair) -> None:
    clients = [DbClient(pair.through(cluster), f"writer {cluster} {n}") for cluster in OTHER for n in range(2)]
    with Writers(clients) as writers:
        for _ in range(2):
            writers.wait_for(50)
            new = move(pair)
        writers.wait_for(50)
        writers.stop()
        acknowledged, failures = writers.acknowledged, writers.failures
    assert failures == []
    assert set(acknowledged) <= rows(pair, new)
    pair.replicator().sync_state(new, marker="run-9", stalled_after_seconds=LONG)
    assert set(acknowledged) <= rows(pair, OTHER[new])


@pytest.mark.parametrize(
    "word",
    # Before the old primary is stopped, before the promotion, and before the first door is pointed to the new one.
    ["-m fast", "pg_promote", "RELOAD"],
)
def test_promotion_that_was_killed_is_settled_by_the_next_start(pair: PostgresPair, word: str) -> None:
    adapter = pair.replicator()
    old = adapter.primary()
    written = [write(pair, f"before {word}")]
    adapter.hold_writes(seconds=LONG)
    adapter.sync_state(old, marker="run-9", stalled_after_seconds=LONG)
    with pytest.raises(Killed):
        pair.replicator(way=lambda cluster: Until(pair.transport(cluster), word)).promote(OTHER[old])

    pair.replicator().start()
    pair.replicator().release_writes()

    primary = pair.replicator().primary()
    assert pair.node(primary).run("test", "-e", f"{DATA}/standby.signal", check=False).returncode == 1
    written.append(write(pair, f"after {word}"))
    pair.replicator().sync_state(primary, marker="run-9", stalled_after_seconds=LONG)
    for cluster in OTHER:
        assert set(written) <= rows(pair, cluster)


def test_reboot_of_the_old_primary_in_the_midst_brings_no_second_primary(pair: PostgresPair) -> None:
    adapter = pair.replicator()
    old = adapter.primary()
    adapter.hold_writes(seconds=LONG)
    with pytest.raises(Killed):
        pair.replicator(way=lambda cluster: Until(pair.transport(cluster), "pg_promote")).promote(OTHER[old])
    pair.start(old)
    assert pair.sql(old, "SELECT pg_is_in_recovery()") == ["t"]
    assert refused(pair.replicator().primary) == "replication-cannot-tell"
    pair.replicator().start()
    pair.replicator().release_writes()
    assert pair.replicator().primary() == old
    assert write(pair, "after the reboot") in rows(pair, old)


def test_standby_that_did_not_replay_all_is_not_promoted_and_the_old_primary_goes_on(pair: PostgresPair) -> None:
    adapter = pair.replicator(write_hold_seconds=1)
    old = adapter.primary()
    pair.sql(OTHER[old], "SELECT pg_wal_replay_pause()")
    content = write(pair, "not replayed")
    adapter.hold_writes(seconds=LONG)
    assert refused(lambda: adapter.promote(OTHER[old])) == "promotion-failed"
    adapter.release_writes()
    assert adapter.primary() == old
    later = write(pair, "goes on")
    pair.sql(OTHER[old], "SELECT pg_wal_replay_resume()")
    adapter.start()
    adapter.sync_state(old, marker="run-9", stalled_after_seconds=LONG)
    assert {content, later} <= rows(pair, OTHER[old])


def test_standby_that_does_not_stream_is_found_before_the_primary_is_stopped(pair: PostgresPair) -> None:
    adapter = pair.replicator()
    old = adapter.primary()
    started = pair.sql(old, "SELECT pg_postmaster_start_time()")
    pair.sql(OTHER[old], "ALTER SYSTEM SET primary_conninfo = ''")
    pair.sql(OTHER[old], "SELECT pg_reload_conf()")
    wait_until("the stream to end", lambda: pair.sql(OTHER[old], "SELECT * FROM pg_stat_wal_receiver") == [])
    adapter.hold_writes(seconds=LONG)
    assert refused(lambda: adapter.promote(OTHER[old])) == "promotion-failed"
    assert pair.sql(old, "SELECT pg_postmaster_start_time()") == started
    adapter.release_writes()
    adapter.start()
    adapter.sync_state(old, marker="run-9", stalled_after_seconds=LONG)


def test_door_that_does_not_close_is_no_hold(pair: PostgresPair) -> None:
    way = {"blue": pair.transport("blue"), "green": Deaf(pair.transport("green"), "PAUSE app")}
    assert refused(lambda: pair.replicator(way=way.__getitem__).hold_writes(seconds=LONG)) == "write-hold-failed"
    write(pair, "goes on")


def test_door_that_a_person_opened_keeps_the_primary_where_it_is(pair: PostgresPair) -> None:
    adapter = pair.replicator()
    old = adapter.primary()
    adapter.hold_writes(seconds=LONG)
    pair.admin("green", "RESUME app")
    assert refused(lambda: adapter.promote(OTHER[old])) == "write-hold-lapsed"
    adapter.release_writes()
    assert adapter.primary() == old


def test_write_past_the_gate_keeps_writes_from_being_held(pair: PostgresPair) -> None:
    adapter = pair.replicator()
    where = ["-h", FOLDER, "-U", "postgres", "-d", "app"]
    direct = [*pair.node(adapter.primary()).prefix, "psql", "-X", "-q", "-A", "-t", *where]
    with DbClient(direct, "direct") as client:
        client.ask("BEGIN; SELECT txid_current() > 0")
        assert refused(lambda: adapter.hold_writes(seconds=LONG)) == "write-hold-failed"
    write(pair, "goes on")


def test_transaction_that_does_not_end_keeps_writes_from_being_held_and_goes_on(pair: PostgresPair) -> None:
    with DbClient(pair.through("green"), "slow") as client:
        client.ask("BEGIN; SELECT 1")
        assert refused(lambda: pair.replicator().hold_writes(seconds=1)) == "write-hold-failed"
        write(pair, "goes on")
        client.ask("INSERT INTO kept (content, sum) VALUES ('slow', '') RETURNING id")
        client.ask("COMMIT; SELECT 1")


def test_door_that_leads_elsewhere_is_seen(pair: PostgresPair) -> None:
    adapter = pair.replicator()
    primary = adapter.primary()
    ini = f"{FOLDER}/teraferry.ini"
    pair.node("green").sh(f"cp {ini} {ini}.old; sed -i s/host=10.79.0.1/host=10.79.0.3/ {ini}")
    assert refused(adapter.primary) == "replication-cannot-tell"
    pair.node("green").sh(f"mv {ini}.old {ini}")
    assert adapter.primary() == primary


# The last one: afterwards the two have no common log any more.
def test_old_primary_with_writes_of_its_own_is_neither_rewound_nor_left_out(pair: PostgresPair) -> None:
    adapter = pair.replicator()
    old = adapter.primary()
    adapter.sync_state(old, marker="run-9", stalled_after_seconds=LONG)
    pair.part(old)
    lost = {write(pair, f"on {old} alone {n}", through=old) for n in range(3)}
    pair.kill(old)
    # A person promotes the other one by hand.
    pair.sql(OTHER[old], "SELECT pg_promote()")
    pending = adapter.pending(old)
    assert pending is not None and len(pending) == 3
    assert refused(adapter.start) == "replication-failed"
    # Writes were not pointed to a primary that lacks acknowledged ones.
    assert refused(adapter.primary) == "replication-cannot-tell"
    assert not lost & rows(pair, OTHER[old])
    # Pointed there by hand as well: the old one is not made a standby, which would end its own log.
    for cluster in OTHER:
        pair.node(cluster).sh(f"sed -i s/host=[0-9.]*/host={ADDRESSES[OTHER[old]]}/ {FOLDER}/teraferry.ini")
        pair.admin(cluster, "RELOAD")
    assert adapter.primary() == OTHER[old]
    assert refused(adapter.start) == "replication-failed"
    assert pair.node(old).run("test", "-e", f"{DATA}/standby.signal", check=False).returncode == 1
    assert adapter.pending(old) == pending
