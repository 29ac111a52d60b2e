"""One HTTP request whose answer is 2xx, or there is none; and a ``Probe`` made of it.

No proxy, no redirect: an answer from somewhere else is none. The deadline is for the whole of it, since a limit on
each read alone lets a server that sends a byte now and then, or a name server that says nothing, hold a rollout on.
"""

from __future__ import annotations

import ssl
import threading
from http import HTTPStatus
from pathlib import Path

import urllib3
from urllib3.exceptions import HTTPError

from teraferry.bundles.errors import RefusedError
from teraferry.installer.rollout.conditions import MAX_ANSWER_BYTES, CannotAnswerError


class WrongStatusError(CannotAnswerError):
    """A whole answer, and not 2xx: for whoever asks a condition it is none, for whoever counts errors it is one."""

    def __init__(self, url: str, status: int) -> None:
        super().__init__(f"{url}: status {status}")
        self.status = status


class HttpProbe:
    """``Probe`` by one request.

    Args:
        name: For messages.
        url: Whole.
        ca: Certificates that are trusted for https; the system's own when None.
        method: POST where something is to be done rather than told.
    """

    def __init__(self, name: str, url: str, *, ca: Path | None, method: str = "GET") -> None:
        self.name = name
        self._method = method
        self._url = url
        self._ca = ca

    def ask(self, *, timeout_seconds: float) -> bytes:
        """Return the body of the answer; see ``rollout.conditions.Probe``."""
        return request(self._method, self._url, ca=self._ca, timeout_seconds=timeout_seconds)


def request(method: str, url: str, *, ca: Path | None, timeout_seconds: float) -> bytes:
    """Return the body of a 2xx answer; one byte above ``MAX_ANSWER_BYTES`` at most.

    Raises:
        CannotAnswerError: It did not come, not in time, or with another status.
        RefusedError: ``egress-refused``, 40: the site does not name that address.
    """
    asking = _Asking(method, url, ca, timeout_seconds)
    # A daemon: where it hangs in the C library's resolver nobody can end it, and nobody has to wait for it.
    thread = threading.Thread(target=asking.run, daemon=True)
    thread.start()
    thread.join(timeout_seconds)
    if thread.is_alive():
        raise CannotAnswerError(f"{url}: no whole answer within {timeout_seconds:g} s")
    return asking.outcome()


class _Asking:
    """One request, in a thread of its own."""

    def __init__(self, method: str, url: str, ca: Path | None, timeout_seconds: float) -> None:
        self._method, self._url, self._ca = method, url, ca
        self._timeout_seconds = timeout_seconds
        self._content = b""
        self._failure: CannotAnswerError | RefusedError | None = CannotAnswerError(f"{url}: not asked")

    def run(self) -> None:
        try:
            self._content = self._ask()
            self._failure = None
        except (CannotAnswerError, RefusedError) as error:
            self._failure = error
        except (HTTPError, OSError, ValueError) as error:
            self._failure = CannotAnswerError(f"{self._url}: {type(error).__name__}")

    def outcome(self) -> bytes:
        """Return what came, or raise why nothing did."""
        if self._failure is not None:
            raise self._failure
        return self._content

    def _ask(self) -> bytes:
        with urllib3.PoolManager(ssl_context=self._tls(), retries=False, timeout=self._timeout_seconds) as pool:
            response = pool.request(
                self._method,
                self._url,
                headers={"Accept": "application/json"},
                redirect=False,
                preload_content=False,
            )
            content: bytes = response.read(MAX_ANSWER_BYTES + 1)
            response.release_conn()
        if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            raise WrongStatusError(self._url, response.status)
        return content

    def _tls(self) -> ssl.SSLContext | None:
        """Return whom to believe; reading the system's certificates takes longer than a request without them."""
        if not self._url.startswith("https:"):
            return None
        # Of the bare class: the default one would write its keys down where SSLKEYLOGFILE says.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._ca is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cafile=self._ca)
        return context
