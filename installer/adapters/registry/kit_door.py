"""The kit's registry as a client meets it: who it says it is, and whom it lets in."""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Callable
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.registry import answers
from teraferry.installer.adapters.registry.connection import RegistryConnection
from teraferry.installer.adapters.registry.settings import (
    Credentials,
    RegistrySettings,
    load_credentials,
    load_tls_context,
    parse_endpoint,
)

_SECONDS: Final = 10.0
_ASKED: Final = "GET /v2/"


class KitDoor:
    """``Door`` over TLS.

    Args:
        settings: Of the registry.
        certificate: Returns the digest of the certificate it must show: one before a renewal is the old program's.
    """

    def __init__(self, settings: RegistrySettings, certificate: Callable[[], str]) -> None:
        self._settings = settings
        self._certificate = certificate

    def require_guarded(self) -> None:
        """Check certificate, password, and that it takes one; see ``kit_registry.ports.Door``."""
        self._require_certificate()
        inside = self._status(load_credentials(self._settings))
        if inside.status != 200:
            raise answers.refusal(inside, registry=str(parse_endpoint(self._settings)), doing=_ASKED)
        outside = self._status(None)
        if outside.status != 401:
            raise RefusedError(
                "registry-not-guarded",
                f"registry {parse_endpoint(self._settings)}: {outside.status} to {_ASKED} without a password, "
                "expected 401",
                hint="Do not use this kit's registry program; keep the kit and call the person who sent it.",
                exit_status=44,
                facts={"http_status": outside.status},
            )

    def _require_certificate(self) -> None:
        endpoint, context = parse_endpoint(self._settings), load_tls_context(self._settings)
        if context is None:
            raise ValueError("a registry without TLS is not ours to set up")
        try:
            with (
                socket.create_connection((endpoint.host, endpoint.port), timeout=_SECONDS) as plain,
                context.wrap_socket(plain, server_hostname=endpoint.host) as secured,
            ):
                shown = secured.getpeercert(binary_form=True) or b""
        except ssl.SSLError as error:
            cause = answers.certificate_cause(error)
            if cause is None:
                raise self._unreachable(error) from error
            raise answers.certificate_refused(registry=str(endpoint), cause=cause) from error
        except OSError as error:
            raise self._unreachable(error) from error
        found = "sha256:" + hashlib.sha256(shown).hexdigest()
        if found != self._certificate():
            raise answers.certificate_refused(
                registry=str(endpoint), cause="it shows another one than lies on the disk"
            )

    def _unreachable(self, error: OSError) -> RefusedError:
        return answers.unreachable(registry=str(parse_endpoint(self._settings)), doing=_ASKED, cause=str(error))

    def _status(self, credentials: Credentials | None) -> answers.Answer:
        connection = RegistryConnection(
            parse_endpoint(self._settings),
            tls=load_tls_context(self._settings),
            credentials=credentials,
            connections=1,
            backoff_seconds=(),
        )
        try:
            return connection.ask("GET", "/v2/", doing=_ASKED, once=True)
        finally:
            connection.close()
