"""SeaweedFS clusters kept alike by ``weed filer.sync``, both ways: two writers.

Replication is asynchronous, and its own word is not enough (``seaweedfs_comparing``). So ``sync_state`` goes on after
its marker arrived and the counters were even: whatever both clusters hold differently is followed until it is the same,
or was written anew, or is known to be the other's news. What replication dropped, it brings over itself
(``seaweedfs_sending``): that also merges what a green that died had acknowledged, once it is back.

A path that both sides wrote without knowing of each other may end with the versions crossed, each cluster serving what
the other's client wrote. Which one is right only a person knows: both are kept beside (``seaweedfs_keeping``), and
``conflicts`` names them until somebody took the kept ones away.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.clock import monotonic_seconds, sleep_seconds
from teraferry.installer.adapters.cluster.seaweedfs_rpc import CallFailedError
from teraferry.installer.adapters.replicator import seaweedfs_keeping as keeping
from teraferry.installer.adapters.replicator.seaweedfs_comparing import Comparing, named
from teraferry.installer.adapters.replicator.seaweedfs_conflicts import keep_crossed_versions, keep_crossed_writes
from teraferry.installer.adapters.replicator.seaweedfs_filer import Filer
from teraferry.installer.adapters.replicator.seaweedfs_judging import Verdict
from teraferry.installer.adapters.replicator.seaweedfs_sending import send
from teraferry.installer.adapters.replicator.seaweedfs_service import (
    CANNOT_TELL,
    SeaweedfsReplication,
    SyncService,
    cannot_tell,
    failed,
    other_of,
)
from teraferry.installer.adapters.replicator.watch import Watch
from teraferry.installer.blue_green_ports import ReplicationObservation
from teraferry.installer.ports import NodeTransport

SLACK_NS: Final = 60 * 1_000_000_000
"""The logs are read from so long before a marker: clocks differ, and more history only tells more."""

SETTLED_SECONDS: Final = 1.0
"""Replication of a small file takes milliseconds; what does not move for so long, with nothing in flight, is stuck."""

UNDER_WAY_SECONDS: Final = 60.0
"""How long ``conflicts`` waits for what is in flight, and does not move, before it cannot tell."""

ALL_BEFORE: Final = 1024
"""``filer.sync`` works on no more changes at once; so many after the marker, only what is large may be left."""

POLL_SECONDS: Final = 0.1
MARKER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


class ChangesFailedError(Exception):
    """``filer.sync`` gave some changes up; it tries them again when it is restarted. Never leaves the adapter."""


class SeaweedfsReplicator:
    """``Replicator`` by ``filer.sync``. Constructed without effect.

    Args:
        settings: As site.toml names them.
        node: Reaches the node where ``filer.sync`` runs.
    """

    writers = "two"

    def __init__(self, settings: SeaweedfsReplication, node: NodeTransport) -> None:
        self._filers = {name: Filer(settings.address(name), settings.path) for name in ("blue", "green")}
        self._comparing = Comparing(node, settings.weed, settings.path)
        self._service = SyncService(settings, node)

    def start(self) -> None:
        """Have ``filer.sync`` run; see ``blue_green_ports.Replicator``."""
        self._service.start()

    def observe(self, source: str) -> ReplicationObservation:
        """Return what ``filer.sync`` counts out of ``source``; see ``blue_green_ports.Replicator``."""
        return self._service.observe(source)

    def sync_state(self, source: str, *, marker: str, stalled_after_seconds: float) -> None:
        """Return once all that was on ``source`` is on the other; see ``blue_green_ports.Replicator``.

        A path in conflict counts as over there once both its versions are kept; ``conflicts`` names it.

        What failed is tried again, once, by restarting ``filer.sync``. A cluster that was away for half a minute makes
        some changes fail as late as when it is back.
        """
        watch = Watch(stalled_after_seconds)
        try:
            try:
                self._sync_once(source, marker, watch)
            except ChangesFailedError:
                self._service.start()
                self._sync_once(source, marker, watch)
        except ChangesFailedError as error:
            raise failed(f"replication out of {source}", f"{error}, after a restart as well") from error
        except CallFailedError as error:
            raise cannot_tell(f"replication out of {source}", str(error)) from error

    def pending(self, source: str) -> Sequence[str] | None:
        """Name what ``source`` acknowledged and the other lacks; None while a filer is down.

        A filer that is down took its answer with it: replication itself does not know what it never received.
        """
        here, there = self._filers[source], self._filers[other_of(source)]
        try:
            since_ns = self._since_ns(there)
            paths = self._open_differences(here, there)
            verdicts = self._comparing.judge(paths, here, there, since_ns=since_ns) if paths else {}
        except (CallFailedError, RefusedError):
            return None
        return named(verdicts, Verdict.SOURCE_AHEAD, Verdict.CONFLICT, Verdict.UNKNOWN)

    def conflicts(self, *, marker: str) -> Sequence[str]:
        """Name what is in conflict, and where both versions are kept; see ``blue_green_ports.Replicator``."""
        blue, green = self._filers["blue"], self._filers["green"]
        try:
            begun = blue.lookup(self._marker_file(marker, "begun"))
            if begun is None:
                raise cannot_tell(f"marker {marker}", "it is not on blue")
            since_ns = begun.modified_ns - SLACK_NS
            remaining = self._settle(self._open_differences(blue, green), blue, green, Watch(UNDER_WAY_SECONDS))
            keep_crossed_writes(self._comparing, self._filers, since_ns=since_ns)
            if remaining:
                verdicts = self._comparing.judge(remaining, blue, green, since_ns=since_ns)
                keep_crossed_versions(self._comparing, self._filers, verdicts, "blue")
            return keeping.kept_conflicts(self._comparing, blue, green)
        except CallFailedError as error:
            raise cannot_tell("conflicts between blue and green", str(error)) from error
        except RefusedError as error:
            if error.reference == CANNOT_TELL:
                raise
            # What stays under way may still turn out to be one.
            raise cannot_tell("conflicts between blue and green", error.message) from error

    def _sync_once(self, source: str, marker: str, watch: Watch) -> None:
        written_ns = self._write_marker(source, marker, watch)
        self._wait_until_even(source, watch)
        self._follow_differences(source, written_ns, watch)
        self._require_none_failed(source)

    def _marker_file(self, marker: str, name: str) -> str:
        if not MARKER_NAME.match(marker):
            raise ValueError(f"marker {marker!r}: expected letters, digits, '.', '_' and '-'")
        return f"{self._comparing.own_folder}/markers/{marker}/{name}"

    def _write_marker(self, source: str, marker: str, watch: Watch) -> int:
        """Write the marker and return when, by the clock of ``source``, once the other has it."""
        here, there = self._filers[source], self._filers[other_of(source)]
        begun, latest = self._marker_file(marker, "begun"), self._marker_file(marker, "latest")
        content = json.dumps({"source": source, "token": secrets.token_hex(8)}).encode()
        if here.lookup(begun) is None:
            # Written once: a conflict of before a kill is one afterwards as well.
            here.write(begun, content)
        here.write(latest, content)
        written = here.lookup(latest)
        if written is None:
            raise CallFailedError(f"{here.address}: the marker is not there after it was written")
        while there.read(latest) != content:
            self._pause(source, watch, f"marker {marker} of {source}")
        return written.modified_ns

    def _wait_until_even(self, source: str, watch: Watch) -> None:
        first = self._service.observe(source)
        while True:
            now = self._service.observe(source)
            if (now.received == now.processed and not now.in_flight) or now.processed >= first.received + ALL_BEFORE:
                return
            self._pause(source, watch, f"changes of {source}")

    def _follow_differences(self, source: str, written_ns: int, watch: Watch) -> None:
        here, there = self._filers[source], self._filers[other_of(source)]
        remaining = self._settle(self._open_differences(here, there), here, there, watch, before_ns=written_ns)
        if not remaining:
            return
        sent = self._bring_over(source, remaining, watch)
        left = self._settle(sent, here, there, watch, before_ns=written_ns)
        if left:
            found = f"{len(left)} of its writes were brought over and differ still, the first {min(left)}"
            raise failed(f"replication out of {source}", found, paths=sorted(left))

    def _settle(
        self, paths: frozenset[str], here: Filer, there: Filer, watch: Watch, *, before_ns: int | None = None
    ) -> frozenset[str]:
        """Wait while the paths become the same one by one; return those that stay, with nothing in flight."""
        quiet_since = monotonic_seconds()
        while paths:
            left = frozenset(path for path in paths if self._differs(path, here, there, before_ns))
            if left != paths:
                paths, quiet_since = left, monotonic_seconds()
                watch.moved()
                continue
            in_flight = sum(self._service.observe(source).in_flight for source in ("blue", "green"))
            if not in_flight and monotonic_seconds() > quiet_since + SETTLED_SECONDS:
                return paths
            if in_flight:
                watch.require_moving(f"{len(paths)} differences")
            sleep_seconds(POLL_SECONDS)
        return paths

    @staticmethod
    def _differs(path: str, here: Filer, there: Filer, before_ns: int | None) -> bool:
        """Tell whether the path differs, by what was on ``here`` before that moment."""
        version, other = here.lookup(path), there.lookup(path)
        if version is None:
            return other is not None
        if before_ns is not None and version.modified_ns > before_ns:
            return False
        return not version.same_bytes(other)

    def _bring_over(self, source: str, paths: frozenset[str], watch: Watch) -> frozenset[str]:
        """Send what is stuck, keep what is in conflict; return what was sent.

        Raises:
            RefusedError: ``replication-failed``, 40: something stays that nobody can bring over.
        """
        here, there = self._filers[source], self._filers[other_of(source)]
        verdicts = self._comparing.judge(paths, here, there, since_ns=self._since_ns(there))
        keep_crossed_versions(self._comparing, self._filers, verdicts, source)
        sendable = [
            path
            for path, (verdict, side, _) in verdicts.items()
            if verdict is Verdict.SOURCE_AHEAD and side.version is not None
        ]
        stuck = [name for name in named(verdicts, Verdict.SOURCE_AHEAD, Verdict.UNKNOWN) if name not in sendable]
        if stuck:
            found = f"{len(stuck)} of its writes are not on {other_of(source)}, the first {stuck[0]}"
            raise failed(f"replication out of {source}", found, paths=stuck)
        watch.moved()
        send(
            sendable,
            (here, there),
            folder=f"{self._comparing.own_folder}/sending",
            pause=lambda path: self._pause(source, watch, f"a copy of {path}"),
        )
        return frozenset(sendable)

    def _open_differences(self, here: Filer, there: Filer) -> frozenset[str]:
        """Return the paths that differ, but for conflicts whose versions are kept on both: these wait for a person."""
        found = self._comparing.differences(here, there)
        return found - keeping.kept_among(self._comparing, (here, there), found)

    def _since_ns(self, filer: Filer) -> int:
        """Return where the window begins: at the older of the last two markers, which are one each way."""
        markers = f"{self._comparing.own_folder}/markers"
        begun = [filer.lookup(f"{markers}/{name}/begun") for name, _ in filer.names(markers)]
        times = sorted((version.modified_ns for version in begun if version is not None), reverse=True)
        return times[:2][-1] - SLACK_NS if times else 0

    def _pause(self, source: str, watch: Watch, what: str) -> None:
        now = self._require_none_failed(source)
        watch.see(now.processed)
        watch.require_moving(what)
        sleep_seconds(POLL_SECONDS)

    def _require_none_failed(self, source: str) -> ReplicationObservation:
        now = self._service.observe(source)
        if now.failed:
            raise ChangesFailedError(f"{now.failed} changes failed")
        return now
