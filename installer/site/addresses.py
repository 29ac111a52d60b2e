"""Hosts and ports as the site file writes them. Pure."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\Z")
_PORT = re.compile(r"[1-9][0-9]{0,4}\Z")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\Z")
MAX_PORT = 65_535
SSH_PORT = 22
MAX_HOST_CHARACTERS = 253  # RFC 1035, 2.3.4

_DEFAULT_PORTS = {"https": 443, "http": 80}


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of ``host:port`` or ``[ipv6]:port``; the host without brackets.

    Raises:
        ValueError: It is neither.
    """
    host, separator, port = text.rpartition(":")
    if not separator or not _PORT.match(port) or int(port) > MAX_PORT:
        raise ValueError(f"{text[:80]!r}, expected host:port with a port of 1..{MAX_PORT}")
    return _host(host, text), int(port)


def host_of(address: str) -> str:
    """Return the IP address in ``host:port``, as short as it can be written.

    Raises:
        ValueError: The host is a name: it is a name.
    """
    return ipaddress.ip_address(parse_address(address)[0]).compressed


def parse_ssh(text: str) -> tuple[str, str, int]:
    """Return user, host and port of ``user@host`` or ``user@host:port``.

    Raises:
        ValueError: It is neither.
    """
    user, separator, place = text.rpartition("@")
    if not separator or not _USER.match(user):
        raise ValueError(f"{text[:80]!r}, expected user@host or user@host:port")
    has_port = place.rpartition("]")[2].count(":") == 1
    return user, *parse_address(place if has_port else f"{place}:{SSH_PORT}")


def registry_endpoint(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a registry's URL.

    Raises:
        ValueError: It holds more (a user, a path) or less than ``https://host[:port]``.
    """
    wanted = f"{url[:80]!r}, expected https://host:port and nothing after it"
    parts = urlsplit(url)
    scheme = parts.scheme
    # A password in a URL ends up in logs and process lists; a path would be half of an image's name.
    if scheme not in _DEFAULT_PORTS or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(wanted)
    if "@" in parts.netloc or not parts.netloc:
        raise ValueError(f"a URL with no host or with a user in it, expected {scheme}://host:port")
    has_port = parts.netloc.rpartition("]")[2].count(":") == 1
    host, port = parse_address(parts.netloc if has_port else f"{parts.netloc}:{_DEFAULT_PORTS[scheme]}")
    return scheme, host, port


def parse_url(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of an http or https URL.

    Raises:
        ValueError: It is none, or a user, a password or a fragment is in it.
    """
    parts = urlsplit(url)
    # A password in a URL ends up in logs and process lists.
    if parts.scheme not in _DEFAULT_PORTS or not parts.netloc or "@" in parts.netloc or parts.fragment:
        raise ValueError(f"{url[:80]!r}, expected http:// or https:// with a host and no user in it")
    has_port = parts.netloc.rpartition("]")[2].count(":") == 1
    host, port = parse_address(parts.netloc if has_port else f"{parts.netloc}:{_DEFAULT_PORTS[parts.scheme]}")
    return parts.scheme, host, port


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name: whatever it resolves to today, it may be another machine tomorrow


def is_address(host: str) -> bool:
    """Tell whether ``host`` is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _host(host: str, text: str) -> str:
    try:
        if host.startswith("[") and host.endswith("]"):
            return str(ipaddress.IPv6Address(host[1:-1]))
        if re.fullmatch(r"[0-9.]+", host):
            return str(ipaddress.IPv4Address(host))
    except ipaddress.AddressValueError:
        raise ValueError(f"{text[:80]!r}, expected an IP address before the port") from None
    if len(host) > MAX_HOST_CHARACTERS or not _HOST_NAME.match(host):
        raise ValueError(f"{text[:80]!r}, expected a host name or an address before the port")
    return host
