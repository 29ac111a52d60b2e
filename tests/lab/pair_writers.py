"""Clients of two replicated clusters, each in a thread on the site's network: they remember what was acknowledged."""

from __future__ import annotations

import hashlib
import http.client
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.lab.weed_pair import ADDRESSES, FILER_PORT, TIMEOUT_SECONDS, WeedPair

CREATED = 201
PAUSE_SECONDS = 0.01


@dataclass
class Writer:
    """Writes new paths of its own to one cluster, again and again over old ones, until told to stop or it is gone."""

    pair: WeedPair
    cluster: str
    folder: str
    size_bytes: int = 20_000
    acknowledged: dict[str, str] = field(default_factory=dict)  # path -> SHA-256 of what was written last
    in_doubt: str = ""  # the path that was being written when the cluster went away

    def run(self, stopped: threading.Event) -> None:
        """Write until ``stopped`` is set."""
        self.pair.lab.node("site").call(lambda: self._write(stopped))

    def _write(self, stopped: threading.Event) -> None:
        connection = http.client.HTTPConnection(ADDRESSES[self.cluster], FILER_PORT, timeout=TIMEOUT_SECONDS)
        number = 0
        while not stopped.is_set():
            # Every fourth write goes over an older one.
            path = f"{self.folder}/{number // 2 if number % 4 == 3 else number}"
            content = os.urandom(self.size_bytes)
            self.in_doubt = path
            try:
                connection.request("PUT", path, body=content)
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException):
                return
            if response.status != CREATED:
                return
            self.acknowledged[path] = hashlib.sha256(content).hexdigest()
            self.in_doubt = ""
            number += 1
            stopped.wait(PAUSE_SECONDS)

    def not_on(self, cluster: str) -> set[str]:
        """Return what was acknowledged and ``cluster`` does not serve, byte for byte; what is in doubt is left out."""
        return self.pair.lab.node("site").call(lambda: self._compare(cluster))

    def _compare(self, cluster: str) -> set[str]:
        connection = http.client.HTTPConnection(ADDRESSES[cluster], FILER_PORT, timeout=TIMEOUT_SECONDS)
        wrong = set()
        for path, digest in self.acknowledged.items():
            connection.request("GET", path)
            response = connection.getresponse()
            content = response.read()
            served = response.status == http.HTTPStatus.OK and hashlib.sha256(content).hexdigest() == digest
            if not served and path != self.in_doubt:
                wrong.add(path)
        connection.close()
        return wrong


@contextmanager
def writing(*writers: Writer) -> Iterator[None]:
    """Let the writers write as long as the block runs."""
    stopped = threading.Event()
    threads = [threading.Thread(target=writer.run, args=(stopped,)) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def write_on_both(pair: WeedPair, paths: list[str]) -> None:
    """Write each path on both clusters in the same moment, with what ``content_of`` says."""
    barrier = threading.Barrier(2)

    def write(cluster: str) -> None:
        for path in paths:
            barrier.wait()
            assert pair.put(cluster, path, content_of(path, cluster)) == CREATED

    _both(write)


def content_of(path: str, cluster: str) -> bytes:
    """Return what ``write_on_both`` has a cluster's client write."""
    return f"{path} of {cluster}".encode()


def _both(write: Callable[[str], None]) -> None:
    threads = [threading.Thread(target=write, args=(cluster,)) for cluster in ("blue", "green")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
