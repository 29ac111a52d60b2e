"""The least work that brings files into a registry: POST, PUT, sendfile. Nothing is verified on our side.

The baseline that the load's budget is a ratio of (``design.md`` section 10): same blobs, same number of
connections, the bytes never enter this process. Plain HTTP only.
"""

from __future__ import annotations

import http.client
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit


def push_files(url: str, repository: str, blobs: Sequence[tuple[str, Path]], *, jobs: int) -> int:
    """Push ``(digest, file)`` pairs over ``jobs`` connections and return the bytes sent.

    Raises:
        RuntimeError: The registry answered anything but 201.
    """
    parts = urlsplit(url)
    queue = list(blobs)

    def worker(_number: int) -> int:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=None)
        sent = 0
        try:
            while True:
                try:
                    digest, path = queue.pop(0)
                except IndexError:
                    return sent
                sent += _push(connection, repository, digest, path)
        finally:
            connection.close()

    with ThreadPoolExecutor(jobs) as pool:
        return sum(pool.map(worker, range(jobs)))


def _push(connection: http.client.HTTPConnection, repository: str, digest: str, path: Path) -> int:
    connection.request("POST", f"/v2/{repository}/blobs/uploads/", headers={"Content-Length": "0"})
    answer = connection.getresponse()
    answer.read()
    location = urlsplit(answer.headers["Location"])
    size = path.stat().st_size
    connection.putrequest("PUT", f"{location.path}?{location.query}&digest={digest}")
    connection.putheader("Content-Length", str(size))
    connection.putheader("Content-Type", "application/octet-stream")
    connection.endheaders()
    with path.open("rb") as file:
        offset = 0
        while offset < size:
            offset += os.sendfile(connection.sock.fileno(), file.fileno(), offset, size - offset)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 201:
        raise RuntimeError(f"blob {digest}: {answer.status}, expected 201")
    return size
