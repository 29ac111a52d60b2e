"""A primary that moves under four writers, and an installer that is killed before every single thing it does for that.

The kills are counted through: before the first call to a node, before the second, until a promotion comes through
whole. After each, another installer starts, as ``install`` typed again does. Not one of the writes may fail or be
missing on either server. The suite's short form is ``tests/integration/test_postgresql_pair.py``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from teraferry.bundles.digest import Buffer, Digest
from teraferry.bundles.system.process import Completed
from teraferry.installer.ports import NodeTransport
from tests.lab.db_clients import DbClient, Writers
from tests.lab.postgres_pair import OTHER, PostgresPair, postgres_pair
from tests.prove.record import Outcome, Record

SETTINGS: dict[str, int | str] = {}
HOLD_SECONDS = 120.0
PATIENT = 120.0
MARKER = "proof"
AFTER_EACH = 20
"""Writes that must be acknowledged before the next kill."""

GOOD_ROWS = "SELECT content FROM kept WHERE sum = encode(sha256(content::bytea), 'hex')"


class Killed(BaseException):
    """The installer is gone: nothing of it cleans up."""


class Countdown:
    """How many calls an installer makes before it is killed, on whatever node."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def count(self) -> None:
        """Count one call; the last is not made any more."""
        self.left -= 1
        if self.left == 0:
            raise Killed


class Counted:
    """A way to a node, each use of which is counted."""

    def __init__(self, way: NodeTransport, countdown: Countdown) -> None:
        self._way = way
        self._countdown = countdown

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
        """Run it, unless the installer is killed before."""
        self._countdown.count()
        return self._way.run(argv, stdin=stdin, timeout_seconds=timeout_seconds)

    def upload(self, pieces: Iterable[Buffer], path: str, *, mode: int, digest: Digest) -> None:
        """Upload it, unless the installer is killed before."""
        self._countdown.count()
        self._way.upload(pieces, path, mode=mode, digest=digest)


def prove(record: Record) -> Outcome:
    """Kill before each call in turn; one pair of servers for all of it, so it is one piece."""
    if "kills" not in record:
        with tempfile.TemporaryDirectory(prefix="teraferry-prove-") as folder, postgres_pair(Path(folder)) as pair:
            record.done("kills", _kill_before_each(pair, record))
    (counts,) = record.pieces().values()
    said = f"{counts['acknowledged']} acknowledged writes through {counts['kills']} kills, {counts['lost']} lost"
    held = counts["kills"] > 0 and counts["acknowledged"] > 0 and counts["lost"] == counts["failed"] == 0
    return Outcome(held, said, counts)


def _kill_before_each(pair: PostgresPair, record: Record) -> dict[str, Any]:
    pair.replicator().start()
    clients = [DbClient(pair.through(cluster), f"writer {cluster} {n}") for cluster in OTHER for n in range(2)]
    kills = 0
    with Writers(clients) as writers:
        while _was_killed(pair, kills + 1):
            kills += 1
            record.tell(f"kill {kills}")
            pair.replicator().start()
            pair.replicator().release_writes()
            writers.wait_for(AFTER_EACH)
        pair.replicator().release_writes()
        pair.replicator().start()
        writers.wait_for(AFTER_EACH)
        writers.stop()
        acknowledged, failed = set(writers.acknowledged), len(writers.failures)
    pair.replicator().sync_state(pair.replicator().primary(), marker=MARKER, stalled_after_seconds=PATIENT)
    lost = sum(len(acknowledged - set(pair.sql(cluster, GOOD_ROWS))) for cluster in OTHER)
    return {"kills": kills, "acknowledged": len(acknowledged), "lost": lost, "failed": failed}


def _was_killed(pair: PostgresPair, calls: int) -> bool:
    """Move the primary by an installer that is killed before that call; False when it came through whole."""
    adapter = pair.replicator()
    old = adapter.primary()
    adapter.hold_writes(seconds=HOLD_SECONDS)
    adapter.sync_state(old, marker=MARKER, stalled_after_seconds=PATIENT)
    countdown = Countdown(calls)
    try:
        pair.replicator(way=lambda cluster: Counted(pair.transport(cluster), countdown)).promote(OTHER[old])
    except Killed:
        return True
    return False
