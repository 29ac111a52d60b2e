"""An application's rows: written through its own cluster's pgbouncer, and clients that remember what was acknowledged.

The server of ``tests.lab.switch_traffic`` keeps what a line ``keep TEXT`` says, with its checksum. The clients go
through the virtual address: some over one connection that they keep, others over a new one for each row.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tests.lab.nodes import Node, wait_until

PSQL = ("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "/srv/pg", "-p", "6432", "-U", "postgres", "app")
ANSWER_SECONDS = 60.0
"""Rows wait while the primary moves."""

GOOD_ROWS = "SELECT content FROM kept WHERE sum = encode(sha256(content::bytea), 'hex')"


class KeptRows:
    """What the application writes, over one connection to the database that it keeps."""

    def __init__(self) -> None:
        self._psql: asyncio.subprocess.Process | None = None
        self._one_at_a_time = asyncio.Lock()

    async def keep(self, content: str) -> str:
        """Return "kept" once the database acknowledged the row, else "lost"."""
        digest = hashlib.sha256(content.encode()).hexdigest()
        async with self._one_at_a_time:
            if self._psql is None:
                pipe = asyncio.subprocess.PIPE
                self._psql = await asyncio.create_subprocess_exec(*PSQL, stdin=pipe, stdout=pipe)
            said = await self._ask(f"INSERT INTO kept (content, sum) VALUES ('{content}', '{digest}') RETURNING id")
        return "kept" if said.strip().isdigit() else "lost"

    async def _ask(self, statement: str) -> bytes:
        if self._psql is None or self._psql.stdin is None or self._psql.stdout is None:
            return b""
        with suppress(OSError):
            self._psql.stdin.write(f"{statement};\n".encode())
            await self._psql.stdin.drain()
            if (said := await self._psql.stdout.readline()).endswith(b"\n"):
                return said
        self._psql = None
        return b""


@dataclass
class RowClient:
    """A client that writes one row after the other. ``stays`` on one connection, or makes a new one for each."""

    name: str
    stays: bool
    acknowledged: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def write(self, address: tuple[str, int], stopped: threading.Event) -> None:
        """Write until told to stop; an error is remembered, and is the end of one that stays."""
        while not stopped.is_set() and not (self.stays and self.errors):
            try:
                with socket.create_connection(address, timeout=ANSWER_SECONDS) as connection:
                    while self._write_one(connection) and self.stays and not stopped.is_set():
                        stopped.wait(0.01)
            except OSError as error:
                self.errors.append(f"{self.name}: {error!r}")
            stopped.wait(0.02)

    def _write_one(self, connection: socket.socket) -> bool:
        content = f"{self.name}-{len(self.acknowledged) + len(self.errors) + 1}"
        connection.sendall(f"keep {content}\n".encode())
        said = connection.recv(100).decode().strip()
        if said == "kept":
            self.acknowledged.append(content)
        else:
            self.errors.append(f"{content}: {said or 'closed'}")
        return said == "kept"


class RowClients:
    """Several clients on one node. Use as a context: they write inside it."""

    def __init__(self, node: Node, address: tuple[str, int], clients: Sequence[RowClient]) -> None:
        self.clients = list(clients)
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=node.call, args=(lambda each=client: each.write(address, self._stopped),))
            for client in self.clients
        ]

    def __enter__(self) -> RowClients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    @property
    def acknowledged(self) -> set[str]:
        """What the database said it has."""
        return {content for client in self.clients for content in client.acknowledged}

    @property
    def errors(self) -> list[str]:
        """What went wrong, of whom."""
        return [error for client in self.clients for error in client.errors]

    def wait_for(self, count: int) -> None:
        """Return once each client had so many more rows acknowledged, or one of them an error."""
        wanted = {client.name: len(client.acknowledged) + count for client in self.clients}

        def are_there() -> bool:
            return all(len(client.acknowledged) >= wanted[client.name] for client in self.clients)

        wait_until("rows", lambda: are_there() or bool(self.errors))
