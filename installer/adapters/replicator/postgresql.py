"""PostgreSQL 15: one primary that both clusters' applications write to, streaming to the other cluster's server.

There is one writer, so nothing is ever written on both sides. What moves is the primary, in this order, and every step
leaves a state that ``start`` can go on from, whoever is killed:

1. writes wait (``hold_writes``), and the standby is level (``sync_state``);
2. the old primary is told what to be when it starts next: a standby. From here on nobody, not even a reboot, brings
   a second primary;
3. the old primary is shut down, well. It sends its log to the last byte before it goes, and its own files say where
   that log ends;
4. the standby has replayed the log to that end, or nothing is promoted: the old primary starts again as what it was;
5. the standby is promoted; writes are pointed to it, and go on (``release_writes``);
6. the old primary starts as its standby (``start``), and can be promoted back the same way.

What is guaranteed: every acknowledged write is on the new primary, since nothing is promoted before step 4 said so.
No write fails as long as steps 3 to 5 take less than the hold lasts. A primary that died is not replaced: what it
acknowledged and had not sent is on its disk alone, and this adapter neither promotes over it nor rewinds it. It says
which commits these are, where its disk can be read. When it is started again, nothing was lost.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.replicator.postgresql_refusals import cannot_tell, failed, promotion_failed
from teraferry.installer.adapters.replicator.postgresql_server import Server, ServerDownError, said
from teraferry.installer.adapters.replicator.postgresql_streaming import (
    REPLAY_SECONDS,
    is_down,
    promote,
    stream,
    streams,
    wait_for,
)
from teraferry.installer.adapters.replicator.postgresql_wal import UnexpectedOutputError, lsn_text
from teraferry.installer.adapters.replicator.write_gate import WriteGate, hold_failed
from teraferry.installer.blue_green_ports import ReplicationObservation

PROMOTION_SECONDS: Final = 2.0
"""Steps 2 to 5 took 0.6 s on an idle machine. With less left of the hold, they are not begun."""

RECOVERING: Final = ("in archive recovery", "shut down in recovery")
"""What a standby's control data say, up or down."""

STOP_SECONDS: Final = 30.0
"""A shutdown that waits for longer waits for a standby that does not take the log."""

_UNDER_WAY = """
SELECT count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND backend_xid IS NOT NULL;
"""


class PostgresqlReplicator:
    """``Replicator`` and ``Promotion`` of two servers.

    Args:
        blue: The server of blue.
        green: The server of green.
        gate: Every way that clients have to the primary.
        replay_seconds: How long a standby may replay nothing while the end of the log is waited for.
    """

    def __init__(self, blue: Server, green: Server, gate: WriteGate, *, replay_seconds: float = REPLAY_SECONDS) -> None:
        self._servers = {"blue": blue, "green": green}
        self._gate = gate
        self._replay_seconds = replay_seconds

    @property
    def writers(self) -> str:
        """Tell that there is one primary."""
        return "one"

    def start(self) -> None:
        """Have the other one stream from the primary; see ``blue_green_ports.Replicator``.

        A promotion that was cut short is finished when the new primary is there, and taken back when not.
        """
        try:
            primary = self._settle_primary()
            stream(primary, self._other(primary))
        except (ServerDownError, UnexpectedOutputError) as error:
            raise failed(str(error)) from error

    def observe(self, source: str) -> ReplicationObservation:
        """Return the log in bytes: written on the primary, and replayed on the other."""
        primary, standby = self._servers[source], self._other(self._servers[source])
        try:
            here, there = primary.look(), standby.look()
        except ServerDownError as error:
            raise cannot_tell(str(error)) from error
        if here.is_standby or not there.is_standby or not streams(there, primary):
            raise cannot_tell(f"{source} does not stream to {standby.cluster}")
        return ReplicationObservation(here.lsn, there.lsn, max(0, here.lsn - there.lsn), 0)

    def sync_state(self, source: str, *, marker: str, stalled_after_seconds: float) -> None:
        """Write the marker's row on the primary, and wait until the standby shows it; see ``Replicator``."""
        if not re.fullmatch(r"[\w.:-]{1,200}", marker, re.ASCII):
            raise ValueError(f"marker {marker!r}: expected letters, digits, '.', ':', '_' and '-'")
        primary, standby = self._servers[source], self._other(self._servers[source])
        try:
            if primary.look().is_standby or not standby.look().is_standby:
                raise failed(f"{source} is not the primary, or {standby.cluster} no standby")
            written, wanted = primary.mark(marker)
            wait_for(standby, wanted, stalled_after_seconds=stalled_after_seconds)
            found = standby.read_mark(marker)
        except ServerDownError as error:
            raise cannot_tell(str(error)) from error
        if found != written:
            raise failed(f"marker {marker} on {standby.cluster}: {found or 'nothing'}, expected {written}")

    def pending(self, source: str) -> Sequence[str] | None:
        """Name the commits in the log of ``source`` that the other did not replay; its server may be down.

        A standby acknowledged nothing by itself. None where its log cannot be read to the end, or where the other
        does not tell how far it came.
        """
        server, other = self._servers[source], self._other(self._servers[source])
        try:
            there = other.look()
            if self._follows(server, other):
                return []
            timeline = server.timeline()
            if there.is_standby:
                return server.commits_after(there.lsn, timeline)
            forked = other.fork_of(timeline)
            control = server.control()
            if forked is None:
                # On one timeline with the primary, what is in recovery has nothing of its own.
                return [] if control.state in RECOVERING else None
            if control.is_shut_down and control.checkpoint < forked:
                # The last record of a log that ended well is its checkpoint, and the other has replayed that.
                return []
            return server.commits_after(forked, timeline)
        except (ServerDownError, UnexpectedOutputError, RefusedError):
            return None

    def conflicts(self, *, marker: str) -> Sequence[str]:  # noqa: ARG002
        """Return none: there is one primary."""
        return ()

    def primary(self) -> str:
        """Return the one server that takes writes, and that all ways lead to; see ``Promotion``."""
        live = self._live_primaries()
        if len(live) != 1:
            raise cannot_tell(f"primaries: {', '.join(live) or 'none'}")
        if (pointed := self._gate.points_to()) != live[0]:
            raise cannot_tell(f"{live[0]} is the primary, and writes go to {pointed}")
        return live[0]

    def hold_writes(self, *, seconds: float) -> None:
        """Let writes wait, and see that none is under way past the gate; see ``Promotion``."""
        primary = self._servers[self.primary()]
        self._gate.hold(seconds=seconds)
        try:
            (under_way,) = primary.ask(_UNDER_WAY)
        except ServerDownError as error:
            self._gate.release()
            raise hold_failed(f"postgresql {primary.cluster}", str(error)) from error
        if under_way != "0":
            self._gate.release()
            found = f"{under_way} transactions write that did not come through the gate"
            raise hold_failed(f"postgresql {primary.cluster}", found)

    def promote(self, cluster: str) -> None:
        """Move the primary to ``cluster``, steps 2 to 5 of the module; see ``Promotion``."""
        new, old = self._servers[cluster], self._other(self._servers[cluster])
        live = self._live_primaries()
        if live == [cluster]:
            self._gate.point_to(cluster)
            return
        if live != [old.cluster]:
            raise promotion_failed(f"primaries: {', '.join(live) or 'none'}", f"{old.cluster} alone")
        self._gate.require_held(seconds=PROMOTION_SECONDS)
        try:
            if not streams(new.look(), old):
                raise promotion_failed(f"{cluster} does not stream from {old.cluster}", "a standby that is level")
            new.keep_log_for(old)
            old.follow(new)
            old.be_standby_next(standby=True)
            self._shut_down(old, new)
            promote(new)
        except (ServerDownError, UnexpectedOutputError, RefusedError) as error:
            self._keep(old, new)
            if isinstance(error, RefusedError) and error.reference == "promotion-failed":
                raise
            raise promotion_failed(str(error), f"{cluster} promoted") from error
        self._gate.point_to(cluster)

    def release_writes(self) -> None:
        """Let writes go on; see ``Promotion``."""
        self._gate.release()

    def _shut_down(self, old: Server, new: Server) -> None:
        """Shut the old primary down, and see its whole log replayed on the new one; else start it as it was."""
        done = old.stop(seconds=STOP_SECONDS)
        control = old.control()
        if not control.is_shut_down:
            self._put_back(old)
            raise promotion_failed(f"{old.cluster} after its stop command: {control.state}, {said(done)}", "shut down")
        try:
            # Its last record is the checkpoint of the shutdown; what is replayed lies behind it then.
            wait_for(new, control.checkpoint + 1, stalled_after_seconds=self._replay_seconds)
        except (RefusedError, ServerDownError) as error:
            self._put_back(old)
            wanted = f"the log of {old.cluster} to its end at {lsn_text(control.checkpoint)}"
            raise promotion_failed(f"{new.cluster}: {error}", wanted) from error

    def _put_back(self, old: Server) -> None:
        """Start the old primary as the primary: nothing was promoted."""
        old.be_standby_next(standby=False)
        old.start()

    def _keep(self, old: Server, new: Server) -> None:
        """Where nothing was shut down or promoted, have the next start of the old primary bring it as what it is."""
        with suppress(ServerDownError, RefusedError):
            if new.look().is_standby and not old.look().is_standby:
                old.be_standby_next(standby=False)

    def _settle_primary(self) -> Server:
        """Return the one primary; finish or take back a promotion that was cut short.

        Raises:
            RefusedError: ``replication-failed``, 40.
        """
        live = self._live_primaries()
        if len(live) == 1:
            primary = self._servers[live[0]]
            self._point_to(live[0])
            if primary.is_to_be_standby():
                # Killed before it was shut down: its next start must bring it as what it is.
                primary.be_standby_next(standby=False)
            return primary
        if live:
            raise failed("both are primaries; nobody must write until one of them is gone")
        old = self._servers[self._gate.points_to()]
        # A look at the other first: one that was promoted and died since would be a second primary when it is back.
        there = self._other(old).look()
        if is_down(old):
            if not old.control().is_shut_down:
                raise failed(f"no primary, and {old.cluster}, that writes go to, was not shut down well")
            self._put_back(old)
        elif old.look().lsn >= there.lsn:
            # A reboot brought it between its stop and the promotion; the other has nothing that it lacks.
            promote(old)
        if old.look().is_standby:
            raise failed(f"no primary, and {old.cluster}, that writes go to, does not become one")
        return old

    def _point_to(self, primary: str) -> None:
        """Have writes go to the one primary, unless the other has acknowledged some that it lacks."""
        try:
            pointed = self._gate.points_to()
        except RefusedError:
            pointed = "some here, some there"
        if pointed == primary:
            return
        other = self._other(self._servers[primary]).cluster
        lacking = self.pending(other)
        if lacking is None or lacking:
            count = "nobody can tell how many" if lacking is None else str(len(lacking))
            raise failed(f"{primary} is the primary, writes go to {pointed}; {other} has {count} that {primary} lacks")
        self._gate.point_to(primary)

    def _live_primaries(self) -> list[str]:
        live = []
        for cluster, server in self._servers.items():
            try:
                if not server.look().is_standby:
                    live.append(cluster)
            except (ServerDownError, RefusedError):
                continue
        return live

    def _follows(self, server: Server, other: Server) -> bool:
        try:
            seen = server.look()
        except (ServerDownError, RefusedError):
            return False
        return seen.is_standby and streams(seen, other)

    def _other(self, server: Server) -> Server:
        return self._servers["green" if server.cluster == "blue" else "blue"]
