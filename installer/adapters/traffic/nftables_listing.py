"""What ``nft -j list`` says of our table, read strictly: either it is the table we laid down, or we cannot tell. Pure.

A map that names green is worth nothing when the rule that asks it is gone, a chain was moved to another hook, or a
rule before ours sends everything elsewhere. So the whole table is compared, item by item, with what ``nftables_layout``
lays down. Only the numbers that the kernel hands out (handles) are left aside, and only the two maps that are flipped
may differ, in the one element each may hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from teraferry.installer.adapters.traffic.nftables_layout import FAMILY, TABLE
from teraferry.installer.adapters.traffic.sides import SIDES, Side, VirtualAddress, endpoints

MAX_LISTING_BYTES: Final = 1024 * 1024
"""Our table is a few thousand bytes, and some hundred more a service."""


class UnexpectedListingError(Exception):
    """It is not the table we laid down; the message says what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class Held:
    """The element that lies over the standing one."""

    side: Side
    timeout_seconds: int
    remaining_seconds: int  # whole ones; 0 in its last second

    def is_fresh(self, side: Side, seconds: int, *, gone_seconds: float) -> bool:
        """Tell whether it is the element that was added so long ago at most, and not one from before it."""
        # nft tells whole seconds, rounded down.
        enough = self.remaining_seconds + 1 + gone_seconds >= seconds
        return self.side == side and self.timeout_seconds == seconds and enough


@dataclass(frozen=True, slots=True)
class Listing:
    """The two maps that are flipped."""

    standing: Side
    held: Held | None


def parse_listing(content: bytes, virtual: VirtualAddress) -> Listing:
    """Return what the table says.

    Raises:
        UnexpectedListingError: It is not the table that ``persisted_text`` lays down for ``virtual``.
    """
    found = _parts(_items(content))
    standing, held = _take_elements(found, "standing"), _take_elements(found, "held")
    for side in SIDES:
        elements = found.get(f"map to_{side}", {}).get("elem")
        if isinstance(elements, list):
            elements.sort(key=repr)
    for name, wanted in _layout(virtual).items():
        if (is_there := found.pop(name, None)) != wanted:
            raise UnexpectedListingError(f"{name}: {_short(is_there)}, expected {_short(wanted)}")
    if found:
        raise UnexpectedListingError(f"{', '.join(sorted(found))}: in the table, expected only what was laid down")
    return Listing(_parse_standing(standing, virtual), _parse_held(held, virtual))


def has_table(content: bytes) -> bool:
    """Tell whether our table is among those of ``nft -j list tables ip``.

    Raises:
        UnexpectedListingError: It is no list of tables.
    """
    names = set()
    for item in _items(content):
        match item:
            case {"table": {"family": "ip", "name": str(name)}}:
                names.add(name)
            case _:
                raise UnexpectedListingError(f"list of tables: {_short(item)}, expected a table of family ip")
    return TABLE in names


def _items(content: bytes) -> list[dict[str, Any]]:
    """Return what is listed, after the line about nft itself."""
    if len(content) > MAX_LISTING_BYTES:
        raise UnexpectedListingError(f"listing: above {MAX_LISTING_BYTES} bytes, expected our table alone")
    try:
        document = msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnexpectedListingError(f"listing: no JSON ({error}), expected nft's") from error
    match document:
        case {"nftables": [{"metainfo": {"json_schema_version": 1}}, *items]} if len(document) == 1:
            if all(isinstance(item, dict) and len(item) == 1 for item in items):
                return items
    raise UnexpectedListingError(f"listing: {_short(document)}, expected nft's JSON, schema version 1")


def _parts(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Return each item under its kind and name, the rules of a chain as one list, in their order."""
    parts: dict[str, Any] = {}
    for item in items:
        for kind, fields in item.items():
            match fields:
                case {"family": "ip", "table": "teraferry", "chain": str(chain)} if kind == "rule":
                    parts.setdefault(f"rules of {chain}", []).append(_unnamed(fields))
                case {"family": "ip", "table": "teraferry", "name": str(name)} if f"{kind} {name}" not in parts:
                    parts[f"{kind} {name}"] = _unnamed(fields)
                case {"family": "ip", "name": "teraferry"} if kind == "table" and "table teraferry" not in parts:
                    parts["table teraferry"] = _unnamed(fields)
                case _:
                    raise UnexpectedListingError(f"{kind}: {_short(fields)}, expected a part of table {FAMILY} {TABLE}")
    return parts


def _unnamed(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key not in _NAMING}


_NAMING: Final = frozenset({"family", "table", "chain", "name", "handle"})


def _layout(virtual: VirtualAddress) -> Mapping[str, object]:
    """Return the parts that ``persisted_text`` makes, as nft lists them, without the elements that are flipped."""
    layout: dict[str, object] = {
        "table teraferry": {},
        "chain prerouting": {"type": "nat", "hook": "prerouting", "prio": -100, "policy": "accept"},
        "rules of prerouting": [_verdict_rule("held"), _verdict_rule("standing")],
        "map standing": {"type": "ipv4_addr", "map": "verdict"},
        "map held": {"type": "ipv4_addr", "map": "verdict", "flags": ["timeout"]},
    }
    for side in SIDES:
        ends = [[port, {"concat": [str(end.address), end.port]}] for port, end in endpoints(virtual, side)]
        elements = sorted(ends, key=repr)
        layout[f"chain {side}"] = {}
        layout[f"map to_{side}"] = {"type": "inet_service", "map": "ipv4_addr . inet_service", "elem": elements}
        port_of = {"payload": {"protocol": "tcp", "field": "dport"}}
        address = {"map": {"key": port_of, "data": f"@to_{side}"}}
        layout[f"rules of {side}"] = [{"expr": [{"dnat": {"family": "ip", "addr": address}}]}]
    return layout


def _verdict_rule(name: str) -> object:
    key = {"payload": {"protocol": "ip", "field": "daddr"}}
    return {"expr": [{"vmap": {"key": key, "data": f"@{name}"}}]}


def _take_elements(parts: Mapping[str, Any], name: str) -> object:
    """Remove the elements of a map from ``parts`` and return them; an empty map has none."""
    found = parts.get(f"map {name}", {})
    return found.pop("elem", [])


def _parse_standing(elements: object, virtual: VirtualAddress) -> Side:
    for side in SIDES:
        if elements == [[str(virtual.address), {"goto": {"target": side}}]]:
            return side
    raise UnexpectedListingError(f"map standing: {_short(elements)}, expected one side for {virtual.address}")


def _parse_held(elements: object, virtual: VirtualAddress) -> Held | None:
    match elements:
        case []:
            return None
        case [[{"elem": {"timeout": int(timeout), "expires": int(remaining)}}, _]]:
            timed = {"elem": {"val": str(virtual.address), "timeout": timeout, "expires": remaining}}
            for side in SIDES:
                if elements == [[timed, {"goto": {"target": side}}]]:
                    return Held(side, timeout, remaining)
    # One without a timeout comes here, too: it would never go back by itself.
    raise UnexpectedListingError(
        f"map held: {_short(elements)}, expected one side for {virtual.address} with a timeout"
    )


def _short(value: object) -> str:
    return "nothing" if value is None else repr(value)[:300]
