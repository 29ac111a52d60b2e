"""A plain HTTP proxy before a registry that can change answers, fail, or cut connections."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


@dataclass
class Exchange:
    """One request, before it is passed on."""

    method: str
    path: str
    number: int  # 1, 2, 3 ... over all requests


@dataclass
class LyingProxy:
    """Use as a context manager. Each hook sees every request; by default it is an honest proxy.

    ``before`` returns None to pass on, "cut" to close the connection unanswered, or a status to answer with.
    ``change`` returns the body to serve instead of the registry's.
    """

    target_port: int
    before: Callable[[Exchange], str | int | None] = field(default=lambda exchange: None)
    change: Callable[[Exchange, bytes], bytes] = field(default=lambda exchange, body: body)
    redirect_to: str = ""  # the Location of a status that ``before`` returns
    seen: list[Exchange] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> LyingProxy:
        proxy = self
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _handle(self) -> None:
                with lock:
                    exchange = Exchange(self.command, self.path, len(proxy.seen) + 1)
                    proxy.seen.append(exchange)
                verdict = proxy.before(exchange)
                if verdict == "cut":
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if isinstance(verdict, int):
                    # Echoes the request's headers, as a proxy's debugging page may.
                    headers = {"Location": proxy.redirect_to} if proxy.redirect_to else {}
                    self._answer(verdict, headers, str(self.headers).encode())
                    return
                upstream = http.client.HTTPConnection("127.0.0.1", proxy.target_port, timeout=30)
                upstream.request(self.command, self.path, body=body, headers=dict(self.headers.items()))
                answer = upstream.getresponse()
                served = proxy.change(exchange, answer.read())
                headers = {name: value for name, value in answer.getheaders() if name.lower() not in {"date"}}
                upstream.close()
                self._answer(answer.status, headers, served)

            def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                headers = {name: value for name, value in headers.items() if name.lower() != "transfer-encoding"}
                if self.command != "HEAD":
                    headers["Content-Length"] = str(len(body))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _handle

            def log_message(self, format: str, *args: object) -> None:
                """Stay quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
