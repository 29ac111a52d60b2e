"""Replication by a program of the site's own: any storage, any way of keeping two clusters alike.

The installer runs it with one of these behind its arguments; clusters are "blue" and "green"::

    start                            have replication run, going on from where it was
    observe blue|green               where replication out of that cluster stands
    write-marker blue|green MARKER   write the marker on that cluster
    read-marker blue|green MARKER    was it read on the other, and is all there that was written before it?
    pending blue|green               what that cluster acknowledged and the other lacks
    conflicts MARKER                 what both wrote since, and nobody resolved yet; both versions are kept by then

To each it answers with exit status 0 and, on stdout::

    {"running": true}
    {"received": 10, "processed": 10, "in_flight": 0, "failed": 0}
    {"written": true}
    {"arrived": true}
    {"pending": ["...", ...]}        or null where that cannot be told
    {"conflicts": ["...", ...]}

Anything else, also silence, is "cannot tell", and that never passes. Each may be asked again. With one writer there are
more words: see ``command_primary``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.model import Model
from teraferry.bundles.system.clock import sleep_seconds
from teraferry.installer.adapters.replicator.watch import Watch
from teraferry.installer.blue_green_ports import ReplicationObservation
from teraferry.installer.ports import NodeTransport

ANSWER_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.25

MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""100,000 names of pending writes; who has more has no replication."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Started(Model, frozen=True):
    """What a program says to "start"."""

    running: Literal[True]


class Observed(Model, frozen=True):
    """What a program says to "observe"."""

    received: Count
    processed: Count
    in_flight: Count
    failed: Count


class Written(Model, frozen=True):
    """What a program says to "write-marker"."""

    written: Literal[True]


class Arrived(Model, frozen=True):
    """What a program says to "read-marker"."""

    arrived: bool


class Pending(Model, frozen=True):
    """What a program says to "pending"."""

    pending: tuple[str, ...] | None


class Conflicts(Model, frozen=True):
    """What a program says to "conflicts"."""

    conflicts: tuple[str, ...]


_Answer = TypeVar("_Answer", bound=Model)


class CommandReplicator:
    """``Replicator`` by a program of the site's own.

    Args:
        transport: Reaches the machine it runs on.
        argv: The program and its arguments.
        writers: "two" when both clusters take writes at once, else "one".
    """

    def __init__(self, transport: NodeTransport, argv: Sequence[str], *, writers: str) -> None:
        self.writers = writers
        self._transport = transport
        self._argv = tuple(argv)
        self._program = self._argv[0]

    def start(self) -> None:
        """Run "start"; see ``blue_green_ports.Replicator``."""
        try:
            self._ask(Started, "start")
        except RefusedError as error:
            raise RefusedError(
                "replication-failed", error.message, hint=error.hint, facts={"what": self._program}
            ) from error

    def observe(self, source: str) -> ReplicationObservation:
        """Run "observe"; see ``blue_green_ports.Replicator``."""
        said = self._ask(Observed, "observe", source)
        return ReplicationObservation(said.received, said.processed, said.in_flight, said.failed)

    def sync_state(self, source: str, *, marker: str, stalled_after_seconds: float) -> None:
        """Run "write-marker", then "read-marker" until it arrived; see ``blue_green_ports.Replicator``."""
        self._ask(Written, "write-marker", source, marker)
        watch = Watch(stalled_after_seconds)
        while True:
            arrived = self._ask(Arrived, "read-marker", source, marker).arrived
            now = self.observe(source)
            if now.failed:
                raise self._refused(
                    "replication-failed", f"{now.failed} changes out of {source} failed", "none to fail"
                )
            if arrived and now.received == now.processed and not now.in_flight:
                return
            watch.see(now.processed)
            watch.require_moving(f"{'changes' if arrived else f'marker {marker}'} of {source}")
            sleep_seconds(POLL_SECONDS)

    def pending(self, source: str) -> Sequence[str] | None:
        """Run "pending"; a program that gives no answer cannot tell. See ``blue_green_ports.Replicator``."""
        try:
            return self._ask(Pending, "pending", source).pending
        except RefusedError:
            return None

    def conflicts(self, *, marker: str) -> Sequence[str]:
        """Run "conflicts"; see ``blue_green_ports.Replicator``."""
        return self._ask(Conflicts, "conflicts", marker).conflicts

    def _ask(self, kind: type[_Answer], *words: str) -> _Answer:
        try:
            done = self._transport.run([*self._argv, *words], timeout_seconds=ANSWER_SECONDS)
        except RefusedError as error:
            raise self._cannot_tell(words[0], error.message) from error
        if done.status:
            raise self._cannot_tell(words[0], f"status {done.status}")
        if len(done.stdout) > MAX_ANSWER_BYTES:
            raise self._cannot_tell(words[0], "an answer that is too long")
        try:
            return msgspec.json.decode(done.stdout, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            # What it printed is not shown: nobody knows what it is.
            raise self._cannot_tell(words[0], "something that is no answer to that") from error

    def _cannot_tell(self, word: str, found: str) -> RefusedError:
        return self._refused("replication-cannot-tell", f"to `{word}` it gave {found}", "an answer")

    def _refused(self, reference: str, found: str, expected: str) -> RefusedError:
        return RefusedError(
            reference,
            f"replication by {self._program}: {found}, expected {expected}",
            hint="Mend what [replication] in site.toml names, then type the same command again.",
            facts={"what": self._program, "found": found},
        )
