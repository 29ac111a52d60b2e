"""When the registry's TLS certificate expires: asked of the registry itself, over a connection of its own."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.registry.settings import RegistrySettings, load_tls_context, parse_endpoint

_SECONDS: Final = 10.0


def certificate_expiry(settings: RegistrySettings) -> datetime | None:
    """Return the end of the certificate that the registry shows now; None over plain HTTP.

    Raises:
        UsageError: 2, the settings are wrong. RefusedError: ``registry-unreachable``, 44.
    """
    endpoint = parse_endpoint(settings)
    context = load_tls_context(settings)
    if context is None:
        return None
    try:
        with (
            socket.create_connection((endpoint.host, endpoint.port), timeout=_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=endpoint.host) as secured,
        ):
            shown = secured.getpeercert() or {}
    except (OSError, ssl.SSLError) as error:
        raise RefusedError(
            "registry-unreachable",
            f"registry {endpoint}: {error}, expected its certificate",
            hint="Look at the registry's own log, then type the same command again.",
            exit_status=44,
        ) from error
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(shown["notAfter"])), UTC)
