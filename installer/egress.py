"""The process refuses to connect to anything that the site does not name.

An audit hook sees every ``connect`` and ``sendto`` that Python code makes over IPv4 or IPv6, in whatever
library, before the kernel does; it cannot be taken out again. It does not see children, C libraries that
open sockets of their own, or the resolver's questions (glibc asks the servers of ``resolv.conf``, which is
why they are allowed, and said). So much is claimed and no more.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.errors import RefusedError

DNS_PORT: Final = 53

_EVENTS: Final = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_GUARDED_FAMILIES: Final = frozenset({socket.AF_INET, socket.AF_INET6})
_NAMESERVER: Final = re.compile(r"^\s*nameserver\s+(\S+)", re.MULTILINE)
_DEFAULT_NAMESERVERS: Final = ("127.0.0.1", "::1")  # resolv.conf(5): without a nameserver line, this machine's

Destination = tuple[str, int]
"""Host as ``site.toml`` writes it, name or address, and port."""

Resolve = Callable[[str, int], Iterable[str]]
"""Returns the addresses of a name, none when it is not known."""


@dataclass(frozen=True, slots=True)
class Egress:
    """Where this process may connect to."""

    destinations: frozenset[Destination]  # from site.toml
    resolvers: frozenset[Destination]  # from resolv.conf

    def names_for(self, port: int) -> tuple[str, ...]:
        """Return the allowed hosts on ``port`` that are names, which only a resolver can compare."""
        return tuple(sorted(host for host, allowed in self.destinations if allowed == port and _address(host) is None))


def make_egress(destinations: Iterable[Destination], *, resolv_conf: str) -> Egress:
    """Return the policy: the site's destinations and the resolvers that ``resolv_conf`` names."""
    servers = _NAMESERVER.findall(resolv_conf) or _DEFAULT_NAMESERVERS
    return Egress(
        destinations=frozenset((_plain(host), port) for host, port in destinations),
        resolvers=frozenset((_plain(server), DNS_PORT) for server in servers),
    )


def is_allowed(egress: Egress, host: str, port: int, *, resolve: Resolve) -> bool:
    """Decide whether one connection may be made. Pure but for ``resolve``.

    A name in ``site.toml`` allows every address that the site's resolver gives for it now: the site trusts
    that resolver with the name, or would have written an address.
    """
    wanted = (_plain(host), port)
    if wanted in egress.destinations or wanted in egress.resolvers:
        return True
    if _address(host) is None:
        return False
    return any(wanted[0] in map(_plain, resolve(name, port)) for name in egress.names_for(port))


def require_allowed(egress: Egress, host: str, port: int, *, resolve: Resolve) -> None:
    """Refuse a connection that the site does not name.

    Raises:
        RefusedError: ``egress-refused``, 40.
    """
    if is_allowed(egress, host, port, resolve=resolve):
        return
    allowed = sorted(f"{name}:{number}" for name, number in egress.destinations)
    raise RefusedError(
        "egress-refused",
        f"connection to {host} port {port}: not named in site.toml, expected one of {', '.join(allowed) or 'none'}",
        hint="If the site has that server, name it in site.toml; if not, report this: something tried to leave.",
        exit_status=40,
        facts={"host": host, "port": port, "allowed": allowed},
    )


def install_egress_guard(egress: Egress, *, resolve: Resolve | None = None) -> None:
    """Guard this process from now on. There is no way to take the guard out again.

    ``resolve`` is the machine's own resolver unless one is given.
    """
    ask = resolve or resolve_by_system
    deciding = threading.local()

    def guard(event: str, arguments: tuple[object, ...]) -> None:
        # Called for every import and every open file as well: leave at once.
        if event not in _EVENTS:
            return
        sock, address = arguments[0], arguments[-1]
        if getattr(sock, "family", None) not in _GUARDED_FAMILIES or address is None:
            return
        if getattr(deciding, "now", False):
            # A resolver written in Python would ask us about its own question, without end.
            require_allowed(egress, *_host_and_port(address), resolve=_nothing)
            return
        deciding.now = True
        try:
            require_allowed(egress, *_host_and_port(address), resolve=ask)
        finally:
            deciding.now = False

    sys.addaudithook(guard)


def resolve_by_system(name: str, port: int) -> Iterable[str]:
    """Return the addresses of ``name`` by the machine's resolver; none when it cannot tell."""
    try:
        return {str(answer[4][0]) for answer in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)}
    except OSError:
        # What cannot be resolved allows nothing, and the connection is refused.
        return ()


def _nothing(_name: str, _port: int) -> Iterable[str]:
    return ()


def _host_and_port(address: object) -> Destination:
    if isinstance(address, tuple) and len(address) >= 2:
        host = address[0].decode("ascii", "replace") if isinstance(address[0], bytes) else str(address[0])
        return host, int(address[1])
    # Nothing else is an internet address; an unknown form is refused by name rather than let through.
    return repr(address), 0


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _plain(host: str) -> str:
    """Return the one spelling of a host, so that ``::ffff:10.0.0.1`` is 10.0.0.1 and case never matters."""
    address = _address(host)
    if address is None:
        return host.lower().rstrip(".")
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
