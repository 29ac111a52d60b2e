"""HTTP to one registry: one host, pooled connections, bounded retries, bodies sent in few system calls.

urllib3 costs nothing here against ``http.client`` and salvages the answer of a server that stopped listening
in mid-body. A batch of memoryviews goes out as one vectored write, not over TLS.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    HTTPError,
    IncompleteRead,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    SSLError,
    TimeoutError,
)

from teraferry.bundles.digest import Buffer
from teraferry.bundles.errors import BundleError
from teraferry.bundles.system.clock import sleep_seconds
from teraferry.installer.adapters.registry import answers
from teraferry.installer.adapters.registry.answers import Answer
from teraferry.installer.adapters.registry.settings import Credentials, RegistryEndpoint

CONNECT_SECONDS: Final = 10
ANSWER_SECONDS: Final = 60  # longest silence we wait through for a small request
UPLOAD_ANSWER_SECONDS: Final = 300  # the same for an upload: a slow disk syncs many GB before the registry answers
BACKOFF_SECONDS: Final = (0.3, 1.5)
"""Pauses between attempts; so there are three. A registry that restarts is back within them or is down."""

_BATCH_BYTES: Final = 4 * 1024 * 1024
_BATCH_PIECES: Final = 512  # IOV_MAX is 1,024


class _Batch(list[memoryview]):
    """Pieces of a body that leave in one call; empty once they left, since urllib3 holds it until the next is there."""


class _BrokenError(Exception):
    """The connection failed; another attempt may do better."""


class _SourceFailedError(Exception):
    """The body's own source failed; kept apart from the connection's failures."""


class _Plain(HTTPConnection):
    def send(self, data: Any) -> None:
        if isinstance(data, _Batch):
            _send_vectored(self.sock, data)
            data.clear()
        else:
            super().send(data)


class _Tls(HTTPSConnection):
    def send(self, data: Any) -> None:
        if isinstance(data, _Batch):
            while data:
                self.sock.sendall(data.pop(0))
        else:
            super().send(data)


def _send_vectored(sock: Any, batch: _Batch) -> None:
    pieces = list(batch)
    first = 0
    while first < len(pieces):
        sent = sock.sendmsg(pieces[first:])
        while first < len(pieces) and sent >= len(pieces[first]):
            sent -= len(pieces[first])
            first += 1
        if sent:
            pieces[first] = pieces[first][sent:]


class RegistryConnection:
    """Sends requests to one registry. Threads may share it; each request takes a connection of its own.

    Args:
        connections: How many are kept open; one for each thread.
    """

    def __init__(
        self,
        endpoint: RegistryEndpoint,
        *,
        tls: ssl.SSLContext | None,
        credentials: Credentials | None,
        connections: int,
        backoff_seconds: tuple[float, ...] = BACKOFF_SECONDS,
    ) -> None:
        self.name = str(endpoint)
        self._backoff_seconds = backoff_seconds
        self._headers = {"User-Agent": "teraferry", "Accept-Encoding": "identity"}
        self._secrets: tuple[bytes, ...] = ()
        if credentials is not None:
            pair = base64.b64encode(f"{credentials.user}:{credentials.password}".encode())
            self._headers["Authorization"] = "Basic " + pair.decode("ascii")
            self._secrets = (pair, credentials.password.encode())
        self._pool: urllib3.HTTPConnectionPool
        if endpoint.scheme == "https":
            self._pool = urllib3.HTTPSConnectionPool(
                endpoint.host, endpoint.port, maxsize=connections, ssl_context=tls, retries=False
            )
            self._pool.ConnectionCls = _Tls
        else:
            self._pool = urllib3.HTTPConnectionPool(endpoint.host, endpoint.port, maxsize=connections, retries=False)
            self._pool.ConnectionCls = _Plain

    def close(self) -> None:
        """Close every idle connection."""
        self._pool.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        limit_bytes: int = answers.MAX_ERROR_BODY_BYTES,
        once: bool = False,
    ) -> Answer:
        """Send one small request and return the answer, whatever its status.

        Of the body no more than one byte above ``limit_bytes`` is read; the caller judges the excess.
        With ``once`` there is no second attempt.

        Raises:
            RefusedError: ``registry-unreachable`` after three attempts, or ``registry-certificate``.
        """

        def attempt() -> Answer:
            response = self._send(method, path, headers=headers, body=body or None, seconds=ANSWER_SECONDS)
            return self._finish(response, limit_bytes=limit_bytes)

        return self.persist(attempt, doing=doing, once=once)

    def persist(self, attempt: Callable[[], Answer], *, doing: str, once: bool = False) -> Answer:
        """Run ``attempt`` until it gets an answer below 500, at most three times; return the last answer.

        With ``once`` there is no second attempt.

        Raises:
            RefusedError: ``registry-unreachable``: the last attempt broke as well.
        """
        for pause in (*(() if once else self._backoff_seconds), None):
            try:
                answer = attempt()
            except _BrokenError as broken:
                if pause is None:
                    raise answers.unreachable(registry=self.name, doing=doing, cause=str(broken)) from broken
            else:
                if pause is None or not answers.is_worth_retrying(answer):
                    return answer
            sleep_seconds(pause)
        raise ValueError("no attempt was made")  # Unreachable: the last pause is always None.

    def upload(self, path: str, pieces: Iterable[Buffer], *, length_bytes: int, doing: str) -> Answer:
        """Send ``pieces`` as one PUT body, once, and return the answer. ``persist`` repeats it.

        Raises:
            BundleError: ``blob-length-wrong``, 10: the pieces are more or fewer bytes than announced.
        """
        headers = {"Content-Length": str(length_bytes), "Content-Type": "application/octet-stream"}
        body = _batches(pieces, length_bytes=length_bytes, doing=doing)
        try:
            response = self._send("PUT", path, headers=headers, body=body, seconds=UPLOAD_ANSWER_SECONDS)
        except _SourceFailedError as failed:
            raise failed.__cause__ or failed from None
        return self._finish(response, limit_bytes=answers.MAX_ERROR_BODY_BYTES)

    def stream(self, path: str, *, doing: str) -> tuple[Answer, Iterator[bytes]]:
        """Send a GET and return the status and an iterator over a body of any length.

        Raises:
            RefusedError: ``registry-unreachable``, also while iterating. A body that the registry ends
                early just ends early.
        """
        opened: list[urllib3.BaseHTTPResponse] = []

        def attempt() -> Answer:
            response = self._send("GET", path, headers=None, body=None, seconds=ANSWER_SECONDS)
            if response.status != 200:
                return self._finish(response, limit_bytes=answers.MAX_ERROR_BODY_BYTES)
            opened[:] = [response]
            return Answer(response.status, response.headers)

        answer = self.persist(attempt, doing=doing)
        return answer, self._body(opened[0], doing=doing) if opened else iter(())

    def _body(self, response: urllib3.BaseHTTPResponse, *, doing: str) -> Iterator[bytes]:
        try:
            yield from response.stream(1024 * 1024, decode_content=False)
        except ProtocolError as error:
            # A registry whose file is shorter than it remembers ends early: the reader's digest tells.
            if not any(isinstance(each, IncompleteRead) for each in (error, *error.args)):
                raise answers.unreachable(registry=self.name, doing=doing, cause=_cause(error)) from error
        except (HTTPError, OSError) as error:
            raise answers.unreachable(registry=self.name, doing=doing, cause=_cause(error)) from error
        finally:
            response.close()

    def _send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None, body: Any, seconds: float
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool.urlopen(
                method,
                path,
                body=body,
                headers={**self._headers, **(headers or {})},
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=seconds),
                preload_content=False,
                decode_content=False,
            )
        except SSLError as error:
            inner = error.args[0] if error.args else None
            cause = answers.certificate_cause(inner) if isinstance(inner, ssl.SSLError) else "certificate not accepted"
            if cause is None:
                raise _BrokenError("the connection ended") from error
            raise answers.certificate_refused(registry=self.name, cause=cause) from error
        except (HTTPError, OSError) as error:
            raise _BrokenError(_cause(error)) from error

    def _finish(self, response: urllib3.BaseHTTPResponse, *, limit_bytes: int) -> Answer:
        try:
            body = response.read(limit_bytes + 1, decode_content=False)
            if response.read(1):
                response.close()  # Longer than we take: this connection is of no more use.
            else:
                response.release_conn()
        except (HTTPError, OSError) as error:
            response.close()
            raise _BrokenError(_cause(error)) from error
        if response.status >= 400:
            # A proxy's error page may echo our headers, and its text is quoted in errors and journals.
            for secret in self._secrets:
                body = body.replace(secret, b"[secret]")
        return Answer(response.status, response.headers, body)


def _cause(error: Exception) -> str:
    """Say in plain words how a connection failed; library texts name objects and addresses in memory."""
    if isinstance(error, NameResolutionError):
        return "its name is not known to the resolver"
    if isinstance(error, TimeoutError) and not isinstance(error, NewConnectionError):
        return "no answer in time"
    inner: object = error.__cause__ if isinstance(error, NewConnectionError) else error
    if isinstance(error, ProtocolError) and len(error.args) > 1:
        inner = error.args[1]
    strerror = getattr(inner, "strerror", None)
    if strerror:
        return str(strerror).lower()
    return "the connection ended"


def _batches(pieces: Iterable[Buffer], *, length_bytes: int, doing: str) -> Iterator[_Batch]:
    """Group pieces for one write each, and hold them to the announced length."""
    batch: list[memoryview] = []
    waiting_bytes = total_bytes = 0
    for piece in _from_source(pieces):
        batch.append(memoryview(piece).cast("B"))
        waiting_bytes += len(batch[-1])
        total_bytes += len(batch[-1])
        if total_bytes > length_bytes:
            break
        if waiting_bytes >= _BATCH_BYTES or len(batch) >= _BATCH_PIECES:
            yield _Batch(batch)
            batch, waiting_bytes = [], 0
    if total_bytes != length_bytes:
        found = f"{'more than' if total_bytes > length_bytes else 'only'} {min(total_bytes, length_bytes)} bytes"
        raise BundleError(
            "blob-length-wrong",
            f"{doing}: {found}, expected {length_bytes}",
            hint="Ask for a new copy of the kit.",
            facts={"expected_bytes": length_bytes},
        )
    if batch:
        yield _Batch(batch)


def _from_source(pieces: Iterable[Buffer]) -> Iterator[Buffer]:
    try:
        yield from pieces
    except OSError as error:
        # urllib3 takes any OSError for a broken connection, and then waits for an answer.
        raise _SourceFailedError from error
