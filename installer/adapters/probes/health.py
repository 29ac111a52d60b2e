"""``HealthProbe`` by HTTP: one GET of the application's own health, on the cluster that is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from teraferry.bundles.system.clock import monotonic_seconds
from teraferry.installer.adapters.probes.http import WrongStatusError, request
from teraferry.installer.blue_green_ports import HealthAnswer


class HttpHealth:
    """``HealthProbe`` by GET.

    Args:
        urls: Cluster -> where it is asked.
        ca: Certificates that are trusted for https; the system's own when None.
        timeout_seconds: A check has no answer after it.
    """

    def __init__(self, urls: Mapping[str, str], *, ca: Path | None, timeout_seconds: float) -> None:
        self._urls = dict(urls)
        self._ca = ca
        self._timeout_seconds = timeout_seconds

    def ask(self, cluster: str) -> HealthAnswer:
        """Return the answer, whatever its status; see ``blue_green_ports.HealthProbe``."""
        began = monotonic_seconds()
        status, content = 200, b""
        try:
            content = request("GET", self._urls[cluster], ca=self._ca, timeout_seconds=self._timeout_seconds)
        except WrongStatusError as error:
            status = error.status
        return HealthAnswer(status, 1000.0 * (monotonic_seconds() - began), content)
