"""The one nftables table of ours: what is in it, how it is laid down, how it is flipped. Pure.

A new connection to the virtual address meets two rules. The first asks the map ``held``, the second the map
``standing``; each names a side, and the side's own chain sends the connection to that side's server::

    map standing  { VIRTUAL : goto blue }                    where it goes by itself
    map held      { VIRTUAL timeout 60s : goto green }       laid over it; the kernel takes it away
    chain blue    { dnat to tcp dport map @to_blue }         every service of the address, one element a port

The maps name a side and not a server, so one element moves every service at once: with an element a port, each
would have a timeout of its own, and they would not end in the same moment. Network address translation asks only
for the first packet of a connection, so whatever the maps say later, an established one stays where it is.

Of the two only ``standing`` is ever written to a file. A saved ``held`` would bring the side that nobody has
committed back at boot, with nobody there to renew it or to look at it.

nft has no way to replace an element of a map. Each flip is a delete and an add in one transaction, which the kernel
carries out as a whole or not at all. A bare add of an element that is there is answered with 0 and, with the timeout
that it has, renews nothing.

Measured with nft 1.0.6 on Linux 6.18.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from teraferry.installer.adapters.traffic.sides import SIDES, Side, VirtualAddress, endpoints

FAMILY: Final = "ip"
TABLE: Final = "teraferry"
UNIT: Final = "teraferry-traffic.service"


def persisted_text(virtual: VirtualAddress, standing: Side) -> str:
    """Return the file that lays the table down, with nothing held: into an empty ruleset at boot, or over itself.

    Loaded over itself it is one transaction as well, deletes no table and leaves what is held alone.
    """
    lines = [
        "# Written by TeraFerry and written anew by it: changes made here are lost.",
        f"# New connections to {virtual.address} go to {standing} after a reboot.",
        f"add table {FAMILY} {TABLE}",
        *(f"add chain {FAMILY} {TABLE} {side}" for side in SIDES),
        f"add chain {FAMILY} {TABLE} prerouting {{ type nat hook prerouting priority dstnat; policy accept; }}",
        *(f"add map {FAMILY} {TABLE} to_{side} {{ type inet_service : ipv4_addr . inet_service; }}" for side in SIDES),
        f"add map {FAMILY} {TABLE} standing {{ type ipv4_addr : verdict; }}",
        f"add map {FAMILY} {TABLE} held {{ type ipv4_addr : verdict; flags timeout; }}",
        *(f"flush chain {FAMILY} {TABLE} {chain}" for chain in (*SIDES, "prerouting")),
        *(f"flush map {FAMILY} {TABLE} {each}" for each in ("to_blue", "to_green", "standing")),
    ]
    for side in SIDES:
        elements = ", ".join(f"{port} : {end.address} . {end.port}" for port, end in endpoints(virtual, side))
        lines.append(f"add element {FAMILY} {TABLE} to_{side} {{ {elements} }}")
    lines.append(f"add element {FAMILY} {TABLE} standing {{ {virtual.address} : goto {standing} }}")
    lines += [f"add rule {FAMILY} {TABLE} {side} dnat ip to tcp dport map @to_{side}" for side in SIDES]
    lines += [f"add rule {FAMILY} {TABLE} prerouting ip daddr vmap @{each}" for each in ("held", "standing")]
    return "\n".join(lines) + "\n"


def unit_text(rules_path: str) -> str:
    """Return the systemd unit that loads ``rules_path`` before there is a network.

    It comes after ``nftables.service``, whose file begins by flushing every table in most distributions, and is
    started and reloaded again whenever that one is.
    """
    return f"""\
# Written by TeraFerry and written anew by it: changes made here are lost.
[Unit]
Description=Standing side of the traffic switch
DefaultDependencies=no
RequiresMountsFor={rules_path}
After=nftables.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f {rules_path}
ExecReload=/usr/sbin/nft -f {rules_path}

[Install]
WantedBy=sysinit.target
"""


def hold_commands(virtual: VirtualAddress, side: Side, *, seconds: int, replace: bool) -> bytes:
    """Return the transaction that holds ``side``; with ``replace`` in place of what is held, which must be there."""
    key = str(virtual.address)
    add = _element("add", "held", [[{"elem": {"val": key, "timeout": seconds}}, _goto(side)]])
    return _transaction([*_release_parts(virtual), add] if replace else [add])


def release_commands(virtual: VirtualAddress) -> bytes:
    """Return the transaction that takes away what is held, which must be there."""
    return _transaction(_release_parts(virtual))


def commit_commands(virtual: VirtualAddress, side: Side, *, held: bool) -> bytes:
    """Return the transaction that makes ``side`` the standing one and takes away what is ``held``."""
    key = str(virtual.address)
    flip = [_element("delete", "standing", [key]), _element("add", "standing", [[key, _goto(side)]])]
    return _transaction([*flip, *_release_parts(virtual)] if held else flip)


def _release_parts(virtual: VirtualAddress) -> list[object]:
    """Return the one command of ``release_commands``, for a transaction that does more."""
    return [_element("delete", "held", [str(virtual.address)])]


def _element(verb: str, name: str, elements: Sequence[object]) -> object:
    return {verb: {"element": {"family": FAMILY, "table": TABLE, "name": name, "elem": elements}}}


def _goto(side: Side) -> object:
    return {"goto": {"target": side}}


def _transaction(commands: Sequence[object]) -> bytes:
    return msgspec.json.encode({"nftables": commands})
