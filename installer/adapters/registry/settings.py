"""What the site says of its registry, made ready for use: address, password, TLS context.

Only what ``site.toml`` names counts. ``SSL_CERT_FILE``, ``SSLKEYLOGFILE``, proxies and ``.netrc`` are
never looked at: an environment that could add a CA or a proxy would decide who sees the password.
"""

from __future__ import annotations

import os
import ssl
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from teraferry.bundles.errors import UsageError
from teraferry.installer.site.addresses import is_loopback

MAX_PASSWORD_FILE_BYTES: Final = 4096
"""A password is one line; anything longer is the wrong file."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class RegistryEndpoint:
    """Where the registry listens."""

    scheme: str  # "http" or "https"
    host: str  # without brackets
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """The ``[registry]`` table of ``site.toml``."""

    url: str
    ca: Path | None = None
    user: str = ""
    password_file: Path | None = None
    plain_http: bool = False


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password that no ``repr`` shows."""

    user: str
    password: str = field(repr=False)


def parse_endpoint(settings: RegistrySettings) -> RegistryEndpoint:
    """Return where the registry listens, or refuse an address that would bypass TLS.

    Raises:
        UsageError: ``registry-url-malformed``, ``registry-plain-http`` or ``registry-ca-missing``, 2.
    """
    try:
        parts = urlsplit(settings.url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _malformed("not a URL") from None
    if parts.username is not None or parts.password is not None:
        raise _malformed("holds a user or password")  # The URL itself is not repeated: it holds the secret.
    if parts.scheme not in _DEFAULT_PORTS or not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise _malformed(repr(settings.url[:120]))
    if parts.scheme == "http" and not (settings.plain_http or is_loopback(host)):
        raise UsageError(
            "registry-plain-http",
            f"registry {host}: plain HTTP to another machine, expected https",
            hint='Write url = "https://..." and ca = "..." in [registry] of site.toml, or spell out plain_http = true.',
        )
    if parts.scheme == "https" and settings.ca is None:
        raise UsageError(
            "registry-ca-missing",
            f'registry {host}: no certificate authority, expected ca = "FILE" beside the https address',
            hint='Write ca = "/etc/ssl/site-ca.pem" (your site\'s CA certificate) in [registry] of site.toml.',
        )
    return RegistryEndpoint(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme])


def load_credentials(settings: RegistrySettings) -> Credentials | None:
    """Return the user and the password from its file; None when the site names none.

    Raises:
        UsageError: ``registry-password-file``, 2: missing, open to others, or not one line of text.
    """
    if not settings.user and settings.password_file is None:
        return None
    if not settings.user or settings.password_file is None or ":" in settings.user:
        raise _password_file("credentials", "user or password_file is missing, or the user holds a colon")
    return Credentials(settings.user, _read_password(settings.password_file))


def load_tls_context(settings: RegistrySettings) -> ssl.SSLContext | None:
    """Return a context that trusts the site's CA and nothing else; None for plain HTTP.

    Built from the bare class: ``ssl.create_default_context`` would honour ``SSLKEYLOGFILE``, and the
    default paths ``SSL_CERT_FILE``.

    Raises:
        UsageError: ``registry-ca-unreadable``, 2.
    """
    if settings.ca is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=settings.ca)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            "registry-ca-unreadable",
            f"certificate authority {settings.ca}: {error}, expected one or more PEM certificates",
            hint="Point ca in [registry] of site.toml at the PEM file of the CA that issued its certificate.",
            facts={"path": str(settings.ca)},
        ) from error
    return context


def _read_password(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _password_file(path, error.strerror or "unreadable") from error
    try:
        # The descriptor is judged, not the name: the name could change between a look and the read.
        _require_private(path, os.fstat(descriptor))
        content = os.read(descriptor, MAX_PASSWORD_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    try:
        password = content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        password = ""
    if not password or len(content) > MAX_PASSWORD_FILE_BYTES or not password.isprintable():
        raise _password_file(path, "empty, too long, or not one line of text")
    return password


def _require_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _password_file(path, "not a regular file")
    if status.st_uid != 0:
        raise _password_file(path, f"owned by user {status.st_uid}")
    if status.st_mode & 0o077:
        raise _password_file(path, f"mode {stat.S_IMODE(status.st_mode):04o}")


def _malformed(found: str) -> UsageError:
    return UsageError(
        "registry-url-malformed",
        f"registry url: {found}, expected https://HOST:PORT",
        hint='Write url = "https://HOST:PORT" in [registry] of site.toml, without user, password or path.',
    )


def _password_file(path: Path | str, found: str) -> UsageError:
    return UsageError(
        "registry-password-file",
        f"registry password file {path}: {found}, expected one line, owned by root, readable by root alone",
        hint=f"Put the password into the file that site.toml names, then: chown root:root {path}; chmod 600 {path}",
        facts={"path": str(path)},
    )
