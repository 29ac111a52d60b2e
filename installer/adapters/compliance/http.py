"""``{ http = "https://.../legal-hold" }``: one GET, and only 2xx with JSON is an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from teraferry.installer.adapters.probes.http import request

ANSWER_SECONDS: Final = 10.0


class HttpProbe:
    """``ComplianceProbe`` by HTTP. No proxy, no redirect: an answer from somewhere else is none.

    Args:
        name: As site.toml calls it, for messages.
        url: Whole.
        ca: Certificates that are trusted for https; the system's own when None.
    """

    def __init__(self, name: str, url: str, *, ca: Path | None) -> None:
        self.name = name
        self._url = url
        self._ca = ca

    def ask(self) -> bytes:
        """Return the body of the answer; see ``installer.ports.ComplianceProbe``."""
        return request("GET", self._url, ca=self._ca, timeout_seconds=ANSWER_SECONDS)
