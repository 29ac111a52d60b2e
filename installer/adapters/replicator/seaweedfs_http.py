"""One HTTP request to one SeaweedFS server: no redirect, no retry, a limit on everything."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Mapping
from typing import Final

from teraferry.installer.adapters.cluster.seaweedfs_rpc import CALL_SECONDS, CallFailedError

MAX_CONTENT_BYTES: Final = 64 * 1024
"""Of files of ours; they are a line long."""


def http_to(
    address: str,
    method: str,
    target: str,
    *,
    content: bytes | Iterable[bytes] = b"",
    headers: Mapping[str, str] | None = None,
    accept_missing: bool = False,
    limit_bytes: int = MAX_CONTENT_BYTES,
    seconds: float = CALL_SECONDS,
) -> tuple[int, bytes]:
    """Send one request to one server and return its status and what it says, up to a limit.

    Raises:
        CallFailedError: It could not be reached, or refused.
    """
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=seconds)
    try:
        connection.request(method, target, body=content, headers=dict(headers or {}))
        response = connection.getresponse()
        body = response.read(limit_bytes)
    except (OSError, http.client.HTTPException) as error:
        raise CallFailedError(f"{address} {method}: {error or type(error).__name__}") from error
    finally:
        connection.close()
    missing = accept_missing and response.status == http.HTTPStatus.NOT_FOUND
    if response.status >= http.HTTPStatus.MULTIPLE_CHOICES and not missing:
        raise CallFailedError(f"{address} {method}: status {response.status}")
    return response.status, body
