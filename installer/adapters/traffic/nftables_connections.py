"""What the kernel of the gateway knows of connections: counted by the side that serves them, and forgotten. Pure.

A line of ``/proc/net/nf_conntrack`` holds both directions of a connection. In the first, the client asks for the
virtual address; in the second, whoever really serves it answers, so that one's address says which side it is.
"""

from __future__ import annotations

import re
from typing import Final

from teraferry.installer.adapters.traffic.sides import Side, VirtualAddress, endpoints

CONNECTIONS: Final = "/proc/net/nf_conntrack"

_LINE = re.compile(
    r"^ipv4\s.*\stcp\s.*\sESTABLISHED src=\S+ dst=(?P<asked>\S+) sport=\d+ dport=(?P<port>\d+)"
    r" .*?\bsrc=(?P<server>\S+) dst=\S+ sport=(?P<server_port>\d+)\b"
)


_NONE = b" 0 flow entries have been deleted"


def forget_argvs(virtual: VirtualAddress, side: Side) -> list[list[str]]:
    """Return the commands after which the kernel knows of no connection that the servers of ``side`` answer."""
    return [
        [
            *("conntrack", "--delete", "--family", "ipv4", "--proto", "tcp"),
            *("--orig-dst", str(virtual.address), "--orig-port-dst", str(port)),
            *("--reply-src", str(end.address), "--reply-port-src", str(end.port)),
        ]
        for port, end in endpoints(virtual, side)
    ]


def found_none(stderr: bytes) -> bool:
    """Tell whether such a command failed for want of a connection, which is what was wanted."""
    return _NONE in stderr


def count_established(listing: str, virtual: VirtualAddress, side: Side) -> int:
    """Return how many established connections to a service of ``virtual`` the servers of ``side`` answer."""
    servers = {
        (str(virtual.address), str(port), str(end.address), str(end.port)) for port, end in endpoints(virtual, side)
    }
    lines = (_LINE.match(line) for line in listing.splitlines())
    return sum(
        found is not None and found.group("asked", "port", "server", "server_port") in servers for found in lines
    )
