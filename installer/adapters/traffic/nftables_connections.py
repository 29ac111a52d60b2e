"""What the kernel of the gateway knows of established connections, counted by the side that serves them. Pure.

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


def count_established(listing: str, virtual: VirtualAddress, side: Side) -> int:
    """Return how many established connections to a service of ``virtual`` the servers of ``side`` answer."""
    servers = {
        (str(virtual.address), str(port), str(end.address), str(end.port)) for port, end in endpoints(virtual, side)
    }
    lines = (_LINE.match(line) for line in listing.splitlines())
    return sum(
        found is not None and found.group("asked", "port", "server", "server_port") in servers for found in lines
    )
