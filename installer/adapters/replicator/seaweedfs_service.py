"""``weed filer.sync`` on its node: a service of the site's, started by the site's own command, never our child.

It keeps where it was in the filers themselves, so it goes on from there, whoever restarts it. What failed it holds
back in that record and tries again only when it is restarted.
"""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.clock import monotonic_seconds, sleep_seconds
from teraferry.installer.adapters.replicator.seaweedfs_metrics import MetricsUnclearError, parse_metrics
from teraferry.installer.blue_green_ports import ReplicationObservation
from teraferry.installer.ports import NodeTransport

METRICS_SECONDS: Final = 5.0
MAX_METRICS_BYTES: Final = 4 * 1024 * 1024
COMMAND_SECONDS: Final = 60.0
UP_SECONDS: Final = 30.0
"""It asks both filers first, and answers for both directions within a second."""


@dataclass(frozen=True, slots=True)
class SeaweedfsReplication:
    """What site.toml says of the replication.

    Args:
        blue: HTTP address of blue's filer, as ``filer.sync`` was told it.
        green: Of green's.
        path: What is replicated; the same on both, and ``filer.sync`` was told just this.
        metrics: Where ``filer.sync`` serves its metrics, ``host:port``.
        weed: Path of ``weed`` on its node.
        start: Starts it there, in a session of its own.
        stop: Stops it.
    """

    blue: str
    green: str
    path: str
    metrics: str
    weed: str
    start: Sequence[str]
    stop: Sequence[str]

    def address(self, cluster: str) -> str:
        """Return the filer of "blue" or "green"."""
        return {"blue": self.blue, "green": self.green}[cluster]


class SyncService:
    """The service and what it counts. Constructed without effect."""

    def __init__(self, settings: SeaweedfsReplication, node: NodeTransport) -> None:
        self._settings = settings
        self._node = node

    def observe(self, source: str) -> ReplicationObservation:
        """Return its counts out of ``source``.

        Raises:
            RefusedError: ``replication-cannot-tell``, 40.
        """
        settings = self._settings
        target = other_of(source)
        try:
            text = self._read_metrics()
            return parse_metrics(
                text, source=settings.address(source), target=settings.address(target), path=settings.path
            )
        except (OSError, http.client.HTTPException, MetricsUnclearError) as error:
            raise cannot_tell(f"filer.sync at {settings.metrics}", str(error) or type(error).__name__) from error

    def start(self) -> None:
        """Have it run both ways; one that holds something back that failed is restarted, which tries that again.

        Raises:
            RefusedError: ``replication-failed``, 40.
        """
        try:
            if not any(self.observe(source).failed for source in ("blue", "green")):
                return
            self._run(self._settings.stop)
        except RefusedError as error:
            if error.reference != CANNOT_TELL:
                raise
        self._run(self._settings.start)
        deadline = monotonic_seconds() + UP_SECONDS
        while True:
            try:
                for source in ("blue", "green"):
                    self.observe(source)
            except RefusedError as error:
                if monotonic_seconds() > deadline:
                    raise failed("filer.sync", f"{error.message}, {UP_SECONDS:.0f} s after it was started") from error
                sleep_seconds(0.1)
            else:
                return

    def _run(self, argv: Sequence[str]) -> None:
        done = self._node.run(argv, timeout_seconds=COMMAND_SECONDS)
        if done.status:
            raise failed("filer.sync", f"{argv[0]} gave status {done.status}")

    def _read_metrics(self) -> str:
        host, _, port = self._settings.metrics.rpartition(":")
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=METRICS_SECONDS)
        try:
            connection.request("GET", "/metrics")
            response = connection.getresponse()
            content = response.read(MAX_METRICS_BYTES)
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise MetricsUnclearError(f"status {response.status}")
        return content.decode("utf-8", "replace")


CANNOT_TELL: Final = "replication-cannot-tell"


def other_of(cluster: str) -> str:
    """Return the other cluster."""
    return {"blue": "green", "green": "blue"}[cluster]


def cannot_tell(what: str, found: str) -> RefusedError:
    """Return the refusal for a question that got no answer."""
    return RefusedError(
        CANNOT_TELL,
        f"{what}: {found}, expected it to tell",
        hint="Check that both filers and filer.sync run, with the addresses and the path that site.toml names.",
        facts={"what": what, "found": found},
    )


def failed(what: str, found: str, *, paths: Sequence[str] = ()) -> RefusedError:
    """Return the refusal for what replication did not do."""
    return RefusedError(
        "replication-failed",
        f"{what}: {found}, expected it to bring all over",
        hint="See what its service logs, mend that, then type the same command again.",
        facts={"what": what, "found": found, "paths": list(paths)},
    )
