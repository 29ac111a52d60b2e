"""Traffic through a switch: a server that says its name, and clients that notice who answers, and every error.

As processes of their own, on nodes of a lab::

    python -m tests.lab.switch_traffic server blue 8000
    python -m tests.lab.switch_traffic clients 10.78.9.1 80 --open 1000 --new-per-second 200 --ask-every 2 --report ...
    python -m tests.lab.switch_traffic clients 10.78.9.1 8888 --get /a/file --open 50 ...

A connection is asked by a line and answers with the server's name; with ``--get``, by a request over HTTP, and the name
is what the answer's head says of the server. The clients keep some open for as long as they run
and ask each now and then, and make new ones at a steady pace, each for one question. SIGUSR1 opens 100 more that stay.
SIGTERM ends them: all that is open is asked once more, then the report is written. Moments are of CLOCK_MONOTONIC,
which every namespace of one machine shares, so a test can put them in an order with what it did itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from tests.lab.kept_rows import KeptRows

BROKEN = Path("/srv/broken")
"""While it is there, on the server's own node, the server says that it is not well."""

ANSWER_SECONDS = 20.0
OPENED_AT_A_TIME = 50
MORE = 100


async def serve(name: str, port: int) -> None:
    """Answer every line with ``name``, for ever; ``keep TEXT`` once that is kept; a GET with how it is."""

    kept = KeptRows()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while line := await reader.readline():
                if line.startswith(b"GET "):
                    # To its end: closing over what was not read is a reset, which takes the answer with it.
                    while (await reader.readline()).strip():
                        pass
                    status = "503 Broken" if BROKEN.exists() else "200 OK"
                    writer.write(f"HTTP/1.0 {status}\r\nContent-Length: 2\r\n\r\n{{}}".encode())
                    break
                said = await kept.keep(line[5:].decode().strip()) if line.startswith(b"keep ") else name
                writer.write(said.encode() + b"\n")
                await writer.drain()
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "0.0.0.0", port, backlog=4096)
    async with server:
        await server.serve_forever()


class Connection:
    """One connection, and who answers on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self) -> str:
        """Return the name that the other end says."""
        self._writer.write(b"who\n")
        said = await asyncio.wait_for(self._reader.readline(), ANSWER_SECONDS)
        if not said.endswith(b"\n"):
            raise ConnectionError("closed by the other end")
        return said.decode().strip()

    async def close(self) -> None:
        """End it, and see that the other end took it well."""
        self._writer.close()
        await self._writer.wait_closed()


class HttpConnection(Connection):
    """One connection to a server of files."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
        super().__init__(reader, writer)
        self._path = path

    async def ask(self) -> str:
        """Get the file, and return what the answer's head calls the server."""
        self._writer.write(f"GET {self._path} HTTP/1.1\r\nHost: any\r\n\r\n".encode())
        async with asyncio.timeout(ANSWER_SECONDS):
            status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            head = dict(line.lower().split(": ", 1) for line in lines)
            await self._reader.readexactly(int(head["content-length"]))
        if " 200 " not in status:
            raise ConnectionError(status)
        return head["server"]


class Clients:
    """Open connections and new ones, towards one address; with a path, over HTTP."""

    def __init__(self, host: str, port: int, report: Path, *, ask_every_seconds: float, path: str = "") -> None:
        self._ask_every_seconds = ask_every_seconds
        self._target = (host, port)
        self._report = report
        self._path = path
        self._open: list[tuple[Connection, str]] = []
        self._new: list[tuple[float, float, str]] = []
        self._failed: list[tuple[float, str]] = []
        self._made: Counter[str] = Counter()
        self._asked = 0
        self._errors: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()

    async def run(self, count: int, new_per_second: float) -> None:
        """Open ``count``, then keep going until SIGTERM."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stopped.set)
        loop.add_signal_handler(signal.SIGUSR1, lambda: self._spawn(self._open_some(MORE)))
        await self._open_some(count)
        self._spawn(self._keep_telling())
        started, made = loop.time(), 0
        while not self._stopped.is_set():
            while made < (loop.time() - started) * new_per_second:
                self._spawn(self._make_new())
                made += 1
            await asyncio.sleep(0.005)
        await asyncio.gather(*self._tasks)
        for connection, name in self._open:
            await self._ask(connection, name)
        self._tell(last=True)

    def _spawn(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open_some(self, count: int) -> None:
        for start in range(0, count, OPENED_AT_A_TIME):
            await asyncio.gather(*(self._open_one() for _ in range(start, min(start + OPENED_AT_A_TIME, count))))

    async def _connect(self) -> Connection:
        reader, writer = await asyncio.open_connection(*self._target)
        return HttpConnection(reader, writer, self._path) if self._path else Connection(reader, writer)

    async def _open_one(self) -> None:
        try:
            connection = await self._connect()
            name = await connection.ask()
        except (OSError, EOFError, TimeoutError) as error:
            self._errors.append(f"opening: {error!r}")
            return
        self._open.append((connection, name))
        self._spawn(self._keep_asking(connection, name))

    async def _keep_asking(self, connection: Connection, name: str) -> None:
        while not self._stopped.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), self._ask_every_seconds)
                return
            await self._ask(connection, name)

    async def _ask(self, connection: Connection, name: str) -> None:
        try:
            if (said := await connection.ask()) != name:
                self._errors.append(f"open: moved from {name} to {said}")
        except (OSError, EOFError, TimeoutError) as error:
            self._errors.append(f"open: {error!r}")
        self._asked += 1

    async def _make_new(self) -> None:
        started = time.monotonic()
        try:
            connection = await asyncio.wait_for(self._connect(), ANSWER_SECONDS)
            name = await connection.ask()
            await connection.close()
        except (OSError, EOFError, TimeoutError) as error:
            self._failed.append((started, repr(error)))
            return
        self._new.append((started, time.monotonic(), name))
        self._made[name] += 1

    async def _keep_telling(self) -> None:
        while not self._stopped.is_set():
            self._tell()
            await asyncio.sleep(0.1)

    def _tell(self, *, last: bool = False) -> None:
        open_on = [name for _, name in self._open]
        content = {
            "open": {name: open_on.count(name) for name in sorted(set(open_on))},
            "asked": self._asked,
            "made": self._made,
            "errors": self._errors,
            "new": self._new if last else [],
            "failed": self._failed if last else [],
            "ended": last,
        }
        partial = self._report.with_name(self._report.name + ".part")
        partial.write_text(json.dumps(content))
        partial.replace(self._report)


def main() -> None:
    """Be a server or clients."""
    parser = argparse.ArgumentParser()
    kinds = parser.add_subparsers(dest="kind", required=True)
    server = kinds.add_parser("server")
    server.add_argument("name")
    server.add_argument("port", type=int)
    clients = kinds.add_parser("clients")
    clients.add_argument("host")
    clients.add_argument("port", type=int)
    clients.add_argument("--open", type=int, required=True)
    clients.add_argument("--new-per-second", type=float, required=True)
    clients.add_argument("--ask-every", type=float, required=True)
    clients.add_argument("--report", type=Path, required=True)
    clients.add_argument("--get", default="", help="Ask for this path over HTTP.")
    arguments = parser.parse_args()
    if arguments.kind == "server":
        asyncio.run(serve(arguments.name, arguments.port))
        return

    async def run_clients() -> None:
        target = (arguments.host, arguments.port, arguments.report)
        clients = Clients(*target, ask_every_seconds=arguments.ask_every, path=arguments.get)
        await clients.run(arguments.open, arguments.new_per_second)

    asyncio.run(run_clients())


if __name__ == "__main__":
    main()
