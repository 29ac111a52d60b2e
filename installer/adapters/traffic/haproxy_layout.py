"""What a site's HAProxy holds for the switch, and what it says of that over its runtime API. Pure.

The site writes its own frontends; three lines of each service are ours to read and to turn::

    frontend app
        use_backend teraferry_%[str(active),map(/etc/haproxy/teraferry.map)]_443
    backend teraferry_blue_443
        server one 10.0.1.10:443 check
    backend teraferry_green_443
        server one 10.0.2.10:443 check

The map has two entries, and both name a side. ``active`` is asked for every new connection, of whatever service, so
one entry moves them all. ``standing`` is a note: where ``active`` goes when nothing is held. An established connection
asks nothing any more and stays where it is.

The runtime API changes the map in HAProxy's memory alone. Its file says for both entries the standing side, and is
what a restart, a reload and a reboot read: whatever was held is over then.

Measured with HAProxy 2.6.12.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from teraferry.installer.adapters.traffic.sides import SIDES, Side, VirtualAddress, endpoints

MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""A line of some 150 bytes a server: more than twenty thousand of them."""

RUNNING: Final = "2"
"""``srv_op_state``: up, or not checked."""

IN_SERVICE: Final = "0"
"""``srv_admin_state``: no bit set, neither for maintenance nor for draining."""

FORCED_MAINTENANCE: Final = 0x01
"""The bit of ``srv_admin_state`` that ``set server ... state maint`` sets, and only ``ready`` or a reload takes."""

_ENTRY = re.compile(r"0x[0-9a-f]+ (?P<key>\S+) (?P<value>\S+)")


class UnexpectedAnswerError(Exception):
    """It is not what our lines in haproxy.cfg make; the message says what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server of one of our backends."""

    side: Side
    backend: str
    name: str
    end: str  # address:port
    is_running: bool  # by HAProxy's own check, where there is one
    is_in_service: bool  # nobody took it out, for maintenance or to drain it
    is_pinned: bool  # in maintenance until somebody says otherwise

    @property
    def path(self) -> str:
        """Return what the runtime API calls it."""
        return f"{self.backend}/{self.name}"


@dataclass(frozen=True, slots=True)
class State:
    """The map, and the servers of both sides."""

    active: Side
    standing: Side
    servers: tuple[Server, ...]

    def of(self, side: Side) -> tuple[Server, ...]:
        """Return the servers of one side."""
        return tuple(server for server in self.servers if server.side == side)

    def closed(self, side: Side) -> Sequence[str]:
        """Name the backends of ``side`` with not one server in service."""
        return self._backends_without(side, lambda server: server.is_in_service)

    def down(self, side: Side) -> Sequence[str]:
        """Name the backends of ``side`` with not one server that is in service and up."""
        return self._backends_without(side, lambda server: server.is_in_service and server.is_running)

    def _backends_without(self, side: Side, takes: Callable[[Server], bool]) -> Sequence[str]:
        ours = self.of(side)
        return sorted({server.backend for server in ours} - {server.backend for server in ours if takes(server)})


def backend_name(side: Side, port: int) -> str:
    """Return what the backend of a service is called, on one side."""
    return f"teraferry_{side}_{port}"


def map_text(standing: Side) -> str:
    """Return the file of the map: what a start, a reload and a reboot bring."""
    return (
        "# Written by TeraFerry and written anew by it: changes made here are lost.\n"
        f"standing {standing}\nactive {standing}\n"
    )


def parse_state(map_answer: str, servers_answer: str, virtual: VirtualAddress) -> State:
    """Return what HAProxy says.

    Raises:
        UnexpectedAnswerError: It is not what our lines make, or nobody would take a connection of the active side.
    """
    entries = parse_map(map_answer)
    state = State(_side(entries, "active"), _side(entries, "standing"), _parse_servers(servers_answer, virtual))
    if closed := state.closed(state.active):
        raise UnexpectedAnswerError(f"{', '.join(closed)}: every server out of service, expected one in service")
    return state


def parse_map(answer: str) -> Mapping[str, str]:
    """Return the entries of ``show map``.

    Raises:
        UnexpectedAnswerError: It holds anything but one ``active`` and one ``standing``.
    """
    lines = [line for line in answer.splitlines() if line]
    entries = [_ENTRY.fullmatch(line) for line in lines]
    found = [(entry["key"], entry["value"]) for entry in entries if entry]
    if None in entries or sorted(key for key, _ in found) != ["active", "standing"]:
        raise UnexpectedAnswerError(f"map: {answer[:300]!r}, expected one entry active and one standing")
    return dict(found)


def parse_established(answer: str, virtual: VirtualAddress, side: Side) -> int:
    """Return how many sessions ``show stat`` counts on the backends of ``side``.

    Raises:
        UnexpectedAnswerError: It does not name each of them once.
    """
    header, *rows = [line.split(",") for line in answer.splitlines() if line] or [[""]]
    if header[0] != "# pxname" or "scur" not in header:
        raise UnexpectedAnswerError(f"statistics: {header!r}, expected HAProxy's")
    column = header.index("scur")
    wanted = sorted(backend_name(side, port) for port, _ in endpoints(virtual, side))
    ours = [row for row in rows if row[0] in wanted and row[1] == "BACKEND" and row[column].isdecimal()]
    if sorted(row[0] for row in ours) != wanted:
        raise UnexpectedAnswerError(f"statistics: {[row[0] for row in ours]}, expected {wanted}")
    return sum(int(row[column]) for row in ours)


def _side(entries: Mapping[str, str], name: str) -> Side:
    for side in SIDES:
        if entries[name] == side:
            return side
    raise UnexpectedAnswerError(f"map: {name} is {entries[name]!r}, expected blue or green")


def _parse_servers(answer: str, virtual: VirtualAddress) -> tuple[Server, ...]:
    """Return the servers of our backends, each side's own among them, and none on both sides."""
    version, header, *rows = [*answer.splitlines(), "", ""]
    if version != "1" or not header.startswith("# "):
        raise UnexpectedAnswerError(f"servers: {answer[:300]!r}, expected a server state, version 1")
    names = header.removeprefix("# ").split(" ")
    found = [dict(zip(names, row.split(" "), strict=False)) for row in rows if row]
    servers = []
    for side in SIDES:
        for port, end in endpoints(virtual, side):
            backend = backend_name(side, port)
            ours = [_server(side, row) for row in found if row.get("be_name") == backend]
            wanted = f"{end.address}:{end.port}"
            if wanted not in [server.end for server in ours]:
                raise UnexpectedAnswerError(f"backend {backend}: {_ends(ours)}, expected server {wanted}")
            servers += ours
    both = {server.end for server in servers if server.side == "blue"}
    both &= {server.end for server in servers if server.side == "green"}
    if both:
        raise UnexpectedAnswerError(f"servers {', '.join(sorted(both))}: on both sides, expected one")
    return tuple(servers)


def _server(side: Side, row: Mapping[str, str]) -> Server:
    try:
        return Server(
            side=side,
            backend=row["be_name"],
            name=row["srv_name"],
            end=f"{row['srv_addr']}:{row['srv_port']}",
            is_running=row["srv_op_state"] == RUNNING,
            is_in_service=row["srv_admin_state"] == IN_SERVICE,
            is_pinned=bool(int(row["srv_admin_state"]) & FORCED_MAINTENANCE),
        )
    except (KeyError, ValueError) as error:
        raise UnexpectedAnswerError(f"server {dict(row)}: {error!r}, expected HAProxy's fields") from error


def _ends(servers: Sequence[Server]) -> str:
    return ", ".join(server.end for server in servers) or "no server"
