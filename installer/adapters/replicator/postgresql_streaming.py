"""Two PostgreSQL servers and the stream of the log between them: made, waited for, judged, ended by a promotion."""

from __future__ import annotations

from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.clock import monotonic_seconds, sleep_seconds
from teraferry.installer.adapters.replicator.postgresql_refusals import failed
from teraferry.installer.adapters.replicator.postgresql_server import Seen, Server, ServerDownError, said
from teraferry.installer.adapters.replicator.postgresql_wal import lsn_text

REPLAY_SECONDS: Final = 10.0
STREAMING_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.05


def stream(primary: Server, standby: Server) -> None:
    """Have ``standby`` stream from ``primary``; a primary that was shut down well becomes one."""
    primary.keep_log_for(standby)
    try:
        seen = standby.look()
    except ServerDownError:
        _require_followable(primary, standby)
        standby.be_standby_next(standby=True)
        done = standby.start()
        if is_down(standby):
            raise failed(f"{standby.cluster} after its start command: {said(done)}") from None
        seen = standby.look()
    if not seen.is_standby:
        raise failed(f"{standby.cluster} is a primary as well")
    if not streams(seen, primary):
        standby.follow(primary)
        _wait_for_stream(primary, standby)
    standby.keep_no_log_for(primary)
    primary.follow(standby)


def _wait_for_stream(primary: Server, standby: Server) -> None:
    ends = monotonic_seconds() + STREAMING_SECONDS
    while not streams(standby.look(), primary):
        if monotonic_seconds() > ends:
            raise failed(f"{standby.cluster} does not stream from {primary.cluster}; its log says why")
        sleep_seconds(POLL_SECONDS)


def _require_followable(primary: Server, standby: Server) -> None:
    """Check that a server that is down has nothing of its own: its log ends before the primary's went elsewhere."""
    control = standby.control()
    was_standby = control.state in ("in archive recovery", "shut down in recovery") and standby.is_to_be_standby()
    if not control.is_shut_down and not was_standby:
        raise failed(f"{standby.cluster} does not answer, and is {control.state}, expected it shut down well")
    forked = primary.fork_of(standby.timeline())
    if forked is not None and control.checkpoint >= forked:
        at = f"{lsn_text(control.checkpoint)}, after {lsn_text(forked)}"
        raise failed(f"the log of {standby.cluster} ends at {at}, where that of {primary.cluster} left it")


def is_down(server: Server) -> bool:
    """Tell whether the server does not answer, on a node that does."""
    try:
        server.look()
    except ServerDownError:
        return True
    return False


def promote(server: Server) -> None:
    """Make a standby a primary, and wait until it is.

    Raises:
        ServerDownError: It is not, or nobody tells.
    """
    (promoted,) = server.ask(f"SELECT pg_promote(true, {REPLAY_SECONDS:.0f})", seconds=REPLAY_SECONDS * 2)
    if promoted != "t":
        raise ServerDownError(f"postgresql {server.cluster}: pg_promote: {promoted}, expected t")


def streams(seen: Seen, source: Server) -> bool:
    """Tell whether a standby receives from ``source``, and from nobody else."""
    return seen.is_standby and seen.receiver == "streaming" and seen.sender == source.address


def wait_for(standby: Server, lsn: int, *, stalled_after_seconds: float) -> None:
    """Return once ``standby`` replayed the log to ``lsn``; give up when nothing moved for so long."""
    seen, moved = standby.look().lsn, monotonic_seconds()
    while seen < lsn:
        if monotonic_seconds() - moved > stalled_after_seconds:
            raise RefusedError(
                "replication-stalled",
                f"replication to {standby.cluster}: at {lsn_text(seen)} for {stalled_after_seconds:g} s,"
                f" expected {lsn_text(lsn)}",
                hint=f"See the log of PostgreSQL on {standby.cluster}.",
                facts={"cluster": standby.cluster},
            )
        sleep_seconds(POLL_SECONDS)
        if (now := standby.look().lsn) != seen:
            seen, moved = now, monotonic_seconds()
