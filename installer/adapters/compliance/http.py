"""``{ http = "https://.../legal-hold" }``: one GET, and only 2xx with JSON is an answer."""

from __future__ import annotations

import ssl
from http import HTTPStatus
from pathlib import Path
from typing import Final

import urllib3
from urllib3.exceptions import HTTPError

from teraferry.installer.rollout.conditions import MAX_ANSWER_BYTES, CannotAnswerError

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
        try:
            tls = ssl.create_default_context(cafile=None if self._ca is None else str(self._ca))
            with urllib3.PoolManager(ssl_context=tls, retries=False, timeout=ANSWER_SECONDS) as pool:
                response = pool.request(
                    "GET",
                    self._url,
                    headers={"Accept": "application/json"},
                    redirect=False,
                    preload_content=False,
                )
                content: bytes = response.read(MAX_ANSWER_BYTES + 1)
                response.release_conn()
        except (HTTPError, OSError) as error:
            raise CannotAnswerError(f"{self._url}: {type(error).__name__}") from error
        if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            raise CannotAnswerError(f"{self._url}: status {response.status}")
        return content
