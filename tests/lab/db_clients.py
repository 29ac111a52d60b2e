"""Clients of a database that number what they write, checksum it, and remember what was acknowledged.

Each is a ``psql`` of its own with one connection, which it keeps: a connection that is cut, or a statement that fails,
ends it and is counted. Each write is one transaction, and is acknowledged once its number came back.
"""

from __future__ import annotations

import hashlib
import subprocess
import threading
from collections.abc import Sequence

from tests.lab.nodes import wait_until


class DbClient:
    """One client with one connection. Use as a context."""

    def __init__(self, argv: Sequence[str], name: str) -> None:
        self._argv = list(argv)
        self._name = name
        self._written = 0
        self.acknowledged: list[str] = []
        self.failure = ""

    def __enter__(self) -> DbClient:
        self._psql = subprocess.Popen(
            self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._psql.kill()
        self._psql.communicate()

    def ask(self, statement: str) -> str:
        """Return the one row that ``statement`` gives; waits for as long as the database lets it wait.

        Raises:
            ConnectionError: It failed.
        """
        if self._psql.stdin is None or self._psql.stdout is None or self._psql.stderr is None:
            raise ConnectionError("no pipes")
        try:
            self._psql.stdin.write(statement + ";\n")
            said = self._psql.stdout.readline()
        except OSError as error:
            raise ConnectionError(str(error)) from error
        if not said.endswith("\n"):
            raise ConnectionError(self._psql.stderr.read())
        return said.strip()

    def write(self) -> str:
        """Write one row and return its content once it is acknowledged."""
        self._written += 1
        content = f"{self._name}-{self._written}"
        digest = hashlib.sha256(content.encode()).hexdigest()
        self.ask(f"INSERT INTO kept (content, sum) VALUES ('{content}', '{digest}') RETURNING id")
        self.acknowledged.append(content)
        return content


class Writers:
    """Several clients that write without a pause until told to stop. Use as a context, then ``stop``."""

    def __init__(self, clients: Sequence[DbClient]) -> None:
        self.clients = list(clients)
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(client,)) for client in self.clients]

    def __enter__(self) -> Writers:
        for client, thread in zip(self.clients, self._threads, strict=True):
            client.__enter__()
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for client, thread in zip(self.clients, self._threads, strict=True):
            if client.failure:
                thread.join()
            thread.join(timeout=60)
            client.__exit__()
            thread.join()

    @property
    def acknowledged(self) -> list[str]:
        """What the database said it has."""
        return [content for client in self.clients for content in client.acknowledged]

    @property
    def failures(self) -> list[str]:
        """What went wrong, of whom."""
        return [client.failure for client in self.clients if client.failure]

    def wait_for(self, count: int) -> None:
        """Return once so many more writes were acknowledged, or a client failed."""
        wanted = len(self.acknowledged) + count
        wait_until("writes", lambda: len(self.acknowledged) >= wanted or bool(self.failures))

    def stop(self) -> None:
        """Let each finish what it is at."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=60)

    def _run(self, client: DbClient) -> None:
        while not self._stopped.is_set():
            try:
                client.write()
            except ConnectionError as error:
                client.failure = str(error)
                return
