"""A small HTTP server on loopback that answers what a test tells it to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


@dataclass(frozen=True)
class Answer:
    """One answer."""

    content: bytes = b""
    status: int = 200
    location: str = ""
    promised_bytes: int | None = None  # what Content-Length says, where that is not the truth
    pause_seconds: float = 0.0  # before each byte of the content


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    """Python's own 5 lets the kernel drop what is asked at once; it is asked again after a second."""


class AnswerServer:
    """Answers every request with what ``answer`` makes of its method and path.

    Args:
        answer: Asked in a thread of its own for each request.
    """

    def __init__(self, answer: Callable[[str, str], Answer]) -> None:
        self.requests: list[str] = []
        self._over = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send()

            def do_POST(self) -> None:
                self._send()

            def _send(self) -> None:
                server.requests.append(f"{self.command} {self.path}")
                given = answer(self.command, self.path)
                self.send_response(given.status)
                if given.location:
                    self.send_header("Location", given.location)
                promised = len(given.content) if given.promised_bytes is None else given.promised_bytes
                self.send_header("Content-Length", str(promised))
                self.end_headers()
                if not given.pause_seconds:
                    self.wfile.write(given.content)
                    return
                for byte in given.content:
                    if server._over.is_set():
                        return
                    self.wfile.write(bytes([byte]))
                    time.sleep(given.pause_seconds)

            def log_message(self, *_: object) -> None: ...

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where it listens: host:port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.address}"

    def __enter__(self) -> AnswerServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Listen no more. Twice is fine."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
