"""One PostgreSQL on its node: asked in SQL over its own socket, stopped and started by the site's commands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.system.process import Completed
from teraferry.installer.adapters.replicator.postgresql_wal import (
    Control,
    UnexpectedOutputError,
    lsn_text,
    parse_commits,
    parse_control,
    parse_fork,
    parse_lsn,
)
from teraferry.installer.ports import NodeTransport

ASK_SECONDS: Final = 15.0
"""A question takes some 30 ms; longer than the connection's own limit below."""

CONNECT_SECONDS: Final = 5

_LOOK = """
SELECT pg_is_in_recovery(),
  CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END,
  (SELECT status FROM pg_stat_wal_receiver),
  (SELECT sender_host || ':' || sender_port FROM pg_stat_wal_receiver);
"""

_SCHEMA = """
SET client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS teraferry;
CREATE TABLE IF NOT EXISTS teraferry.marker (name text PRIMARY KEY, written uuid NOT NULL);
"""

_MARK = """
SET synchronous_commit = local;
INSERT INTO teraferry.marker VALUES ('{name}', gen_random_uuid())
  ON CONFLICT (name) DO UPDATE SET written = excluded.written RETURNING written;
SELECT pg_current_wal_flush_lsn();
"""
# Local: whether the standby has it is what we are about to find out, not what we wait for here without end.

_WAIT_AS_STANDBY = 'set -eu; : >"$1/standby.signal"; sync "$1/standby.signal" "$1"'
_NO_STANDBY = 'set -eu; rm -f "$1/standby.signal"; sync "$1"'


@dataclass(frozen=True, slots=True)
class Place:
    """Where one cluster's PostgreSQL is, and how the site handles it."""

    cluster: str  # "blue" or "green"
    host: str  # where the other one, and every pgbouncer, reaches it
    port: int
    data: str  # its data directory
    stop: tuple[str, ...]  # ends it well, and returns when it is gone
    start: tuple[str, ...]  # starts it, never as a child of ours
    socket: str = "/var/run/postgresql"
    bin: str = "/usr/lib/postgresql/15/bin"
    account: str = "postgres"  # of the system; a superuser of the same name lets it in over the socket
    database: str = "postgres"  # where the marker's table is
    replication_user: str = "replicator"

    def __post_init__(self) -> None:
        for word in (self.host, self.account, self.database, self.replication_user):
            # They become part of a connection string.
            if not re.fullmatch(r"[\w.:-]+", word, re.ASCII):
                raise ValueError(
                    f"postgresql {self.cluster}: {word!r}, expected letters, digits, '.', ':', '_' and '-'"
                )


@dataclass(frozen=True, slots=True)
class Seen:
    """What a server says of itself."""

    is_standby: bool
    lsn: int  # replayed, by a standby; flushed, by a primary
    receiver: str  # "streaming" when it receives; "" when it does not
    sender: str  # host:port that it receives from


class ServerDownError(Exception):
    """The server does not answer; the message says what was said instead."""


class Server:
    """One PostgreSQL.

    Args:
        transport: Reaches its node, as root or as ``place.account``.
        place: Where it is.
    """

    def __init__(self, transport: NodeTransport, place: Place) -> None:
        self._transport = transport
        self.place = place

    @property
    def cluster(self) -> str:
        """Whose it is."""
        return self.place.cluster

    @property
    def address(self) -> str:
        """Where others reach it."""
        return f"{self.place.host}:{self.place.port}"

    def look(self) -> Seen:
        """Return what it says, now.

        Raises:
            ServerDownError: It does not answer.
            RefusedError: ``node-unreachable``, 40.
        """
        (row,) = self.ask(_LOOK)
        standby, lsn, receiver, sender = row.split("|")
        return Seen(standby == "t", parse_lsn(lsn), receiver, sender)

    def ask(self, sql: str, *, seconds: float = ASK_SECONDS) -> list[str]:
        """Return the rows that ``sql`` gives, fields joined by ``|``.

        Raises:
            ServerDownError: It does not answer, or refuses.
            RefusedError: ``node-unreachable``, 40.
        """
        place = self.place
        where = ["-h", place.socket, "-p", str(place.port), "-U", place.account, "-d", place.database]
        psql = [f"{place.bin}/psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *where]
        done = self._run(["env", f"PGCONNECT_TIMEOUT={CONNECT_SECONDS}", *psql], stdin=sql.encode(), seconds=seconds)
        if done.status:
            raise ServerDownError(f"postgresql {self.cluster}: {said(done)}")
        return [line for line in done.text().splitlines() if line]

    def mark(self, name: str) -> tuple[str, int]:
        """Write the marker ``name`` anew; return what was written, and the LSN after it."""
        written, lsn = self.ask(_SCHEMA + _MARK.format(name=name))
        return written, parse_lsn(lsn)

    def read_mark(self, name: str) -> str:
        """Return what is written under the marker ``name``; "" when it is not there yet."""
        try:
            return "".join(self.ask(f"SELECT written FROM teraferry.marker WHERE name = '{name}'"))  # noqa: S608
        except ServerDownError as error:
            if "does not exist" in str(error):
                return ""
            raise

    def control(self) -> Control:
        """Return what its data directory says, whether it is up or not.

        Raises:
            UnexpectedOutputError: Nothing.
            RefusedError: ``node-unreachable``, 40.
        """
        done = self._run(["env", "LC_ALL=C", f"{self.place.bin}/pg_controldata", self.place.data])
        if done.status:
            raise UnexpectedOutputError(f"pg_controldata: {said(done)}")
        return parse_control(done.text())

    def timeline(self) -> int:
        """Return the newest timeline of its log, whether it is up or not.

        A promotion writes a file for it at once; the last checkpoint, which the control data tell of, may be older.

        Raises:
            UnexpectedOutputError: Nothing tells it.
            RefusedError: ``node-unreachable``, 40.
        """
        done = self._run(["ls", f"{self.place.data}/pg_wal"])
        if done.status:
            raise UnexpectedOutputError(f"pg_wal: {said(done)}")
        promoted = re.findall(r"^([0-9A-F]{8})\.history$", done.text(), re.MULTILINE)
        return max([self.control().timeline, *(int(number, 16) for number in promoted)])

    def commits_after(self, lsn: int, timeline: int) -> Sequence[str]:
        """Name what its log commits from ``lsn`` to its end; the server need not be up.

        Raises:
            UnexpectedOutputError: The log cannot be read to its end.
            RefusedError: ``node-unreachable``, 40.
        """
        waldump = [f"{self.place.bin}/pg_waldump", "--rmgr=Transaction", f"--path={self.place.data}/pg_wal"]
        done = self._run(["env", "LC_ALL=C", *waldump, f"--timeline={timeline}", f"--start={lsn_text(lsn)}"])
        return parse_commits(done.text(), done.stderr.decode("utf-8", "replace"), status=done.status)

    def fork_of(self, timeline: int) -> int | None:
        """Return where this primary left ``timeline``; None when it is on that one still.

        Raises:
            ServerDownError, UnexpectedOutputError: It cannot be told.
        """
        own = self.timeline()
        if own == timeline:
            return None
        return parse_fork("\n".join(self.ask(f"SELECT pg_read_file('pg_wal/{own:08X}.history')")), timeline)

    def follow(self, other: Server) -> None:
        """Have it receive from ``other`` whenever it is a standby; a primary takes no notice."""
        place = other.place
        source = f"host={place.host} port={place.port} user={place.replication_user} application_name=teraferry"
        self.ask(
            f"ALTER SYSTEM SET primary_conninfo = '{source}';\n"
            f"ALTER SYSTEM SET primary_slot_name = 'teraferry_{self.cluster}';\n"
            "SELECT pg_reload_conf();"
        )

    def keep_log_for(self, other: Server) -> None:
        """Keep the log that ``other`` has not received yet."""
        slot = f"teraferry_{other.cluster}"
        self.ask(
            f"SELECT pg_create_physical_replication_slot('{slot}', true) WHERE NOT EXISTS"  # noqa: S608
            f" (SELECT FROM pg_replication_slots WHERE slot_name = '{slot}');"
        )

    def keep_no_log_for(self, other: Server) -> None:
        """Keep the log for nobody: ``other`` does not receive from here, and it would fill the disk."""
        slot = f"teraferry_{other.cluster}"
        self.ask(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"  # noqa: S608
            f" WHERE slot_name = '{slot}' AND NOT active;"
        )

    def is_to_be_standby(self) -> bool:
        """Tell whether its next start makes it a standby."""
        return self._run(["test", "-e", f"{self.place.data}/standby.signal"]).status == 0

    def be_standby_next(self, *, standby: bool) -> None:
        """Say durably what its next start makes it, whoever starts it: a reboot must not bring a second primary."""
        script = _WAIT_AS_STANDBY if standby else _NO_STANDBY
        done = self._run(["sh", "-c", script, "sh", self.place.data])
        if done.status:
            raise ServerDownError(f"postgresql {self.cluster}: standby.signal in {self.place.data}: {said(done)}")

    def stop(self, *, seconds: float) -> Completed:
        """Run the site's stop command; what it did is seen by ``control``."""
        return self._transport.run(self.place.stop, timeout_seconds=seconds)

    def start(self, *, seconds: float = 60.0) -> Completed:
        """Run the site's start command; what it did is seen by ``look``."""
        return self._transport.run(self.place.start, timeout_seconds=seconds)

    def _run(self, argv: Sequence[str], *, stdin: bytes = b"", seconds: float = ASK_SECONDS) -> Completed:
        return self._transport.run(as_account(self.place.account, argv), stdin=stdin, timeout_seconds=seconds)


def as_account(account: str, argv: Sequence[str]) -> list[str]:
    """Return ``argv`` run as ``account`` where we are root, and as it is where we are that account already."""
    script = 'if [ -O / ]; then exec runuser -u "$0" -- "$@"; fi; exec "$@"'
    return ["sh", "-c", script, account, *argv]


def said(done: Completed) -> str:
    """Return the status of a command and its last words."""
    words = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return f"status {done.status}" + (f", {words[-1][:200]}" if words else "")
