"""Our table as nft lists it: read as it was laid down, refused in every other shape."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

import pytest

from teraferry.installer.adapters.traffic.nftables import SwitchFiles
from teraferry.installer.adapters.traffic.nftables_layout import hold_commands, persisted_text, unit_text
from teraferry.installer.adapters.traffic.nftables_listing import (
    MAX_LISTING_BYTES,
    Held,
    Listing,
    UnexpectedListingError,
    has_table,
    parse_listing,
)
from teraferry.installer.adapters.traffic.sides import Endpoint, Service, VirtualAddress, whole_seconds

BLUE, GREEN = IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3")
VIRTUAL = VirtualAddress(
    IPv4Address("10.0.0.1"),
    (
        Service(443, Endpoint(BLUE, 8443), Endpoint(GREEN, 8443)),
        Service(80, Endpoint(BLUE, 8000), Endpoint(GREEN, 8000)),
    ),
)

# What nft 1.0.6 printed for persisted_text(VIRTUAL, "blue") and a hold of green for 3 s.
LISTED = """
{"nftables": [{"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}},
{"table": {"family": "ip", "name": "teraferry", "handle": 1}},
{"map": {"family": "ip", "name": "to_blue", "table": "teraferry", "type": "inet_service", "handle": 4,
 "map": "ipv4_addr . inet_service",
 "elem": [[80, {"concat": ["10.0.0.2", 8000]}], [443, {"concat": ["10.0.0.2", 8443]}]]}},
{"map": {"family": "ip", "name": "to_green", "table": "teraferry", "type": "inet_service", "handle": 5,
 "map": "ipv4_addr . inet_service",
 "elem": [[80, {"concat": ["10.0.0.3", 8000]}], [443, {"concat": ["10.0.0.3", 8443]}]]}},
{"map": {"family": "ip", "name": "standing", "table": "teraferry", "type": "ipv4_addr", "handle": 6, "map": "verdict",
 "elem": [["10.0.0.1", {"goto": {"target": "blue"}}]]}},
{"map": {"family": "ip", "name": "held", "table": "teraferry", "type": "ipv4_addr", "handle": 7, "map": "verdict",
 "flags": ["timeout"],
 "elem": [[{"elem": {"val": "10.0.0.1", "timeout": 3, "expires": 2}}, {"goto": {"target": "green"}}]]}},
{"chain": {"family": "ip", "table": "teraferry", "name": "blue", "handle": 1}},
{"chain": {"family": "ip", "table": "teraferry", "name": "green", "handle": 2}},
{"chain": {"family": "ip", "table": "teraferry", "name": "prerouting", "handle": 3, "type": "nat",
 "hook": "prerouting", "prio": -100, "policy": "accept"}},
{"rule": {"family": "ip", "table": "teraferry", "chain": "blue", "handle": 12, "expr": [{"dnat": {"family": "ip",
 "addr": {"map": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": "@to_blue"}}}}]}},
{"rule": {"family": "ip", "table": "teraferry", "chain": "green", "handle": 13, "expr": [{"dnat": {"family": "ip",
 "addr": {"map": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": "@to_green"}}}}]}},
{"rule": {"family": "ip", "table": "teraferry", "chain": "prerouting", "handle": 14,
 "expr": [{"vmap": {"key": {"payload": {"protocol": "ip", "field": "daddr"}}, "data": "@held"}}]}},
{"rule": {"family": "ip", "table": "teraferry", "chain": "prerouting", "handle": 15,
 "expr": [{"vmap": {"key": {"payload": {"protocol": "ip", "field": "daddr"}}, "data": "@standing"}}]}}]}
"""


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value inside, outermost first."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inside for place in places(each, (*path, key)))]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


FREE = {"handle", "version", "release_name", "timeout", "expires"}
"""What the table may differ in and still be ours: numbers of the kernel, words about nft, and how long is left."""

FIXED = [path for path in places(json.loads(LISTED)) if path and path[-1] not in FREE]


def test_parse_listing_reads_both_maps() -> None:
    assert parse_listing(LISTED.encode(), VIRTUAL) == Listing("blue", Held("green", 3, 2))


def test_parse_listing_reads_a_table_in_which_nothing_is_held() -> None:
    document = json.loads(LISTED)
    held = next(item["map"] for item in document["nftables"] if item.get("map", {}).get("name") == "held")
    del held["elem"]
    assert parse_listing(json.dumps(document).encode(), VIRTUAL) == Listing("blue", None)


def altered(path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> bytes:
    document = json.loads(LISTED)
    change(at(document, path[:-1]), path[-1])
    return json.dumps(document).encode()


def _remove(holder: Any, key: Any) -> None:
    del holder[key]


def _replace(holder: Any, key: Any) -> None:
    holder[key] = "other"


def _repeat(holder: Any, key: Any) -> None:
    if isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    else:
        holder["other"] = copy.deepcopy(holder[key])


@pytest.mark.parametrize("change", [_remove, _replace, _repeat])
def test_parse_listing_refuses_whatever_one_thing_differs(change: Callable[[Any, Any], None]) -> None:
    read = []
    for path in FIXED:
        try:
            parse_listing(altered(path, change), VIRTUAL)
        except UnexpectedListingError:
            continue
        read.append(path)
    left = [path for path in read if not _is_harmless(path, change)]
    assert left == []


def _is_harmless(path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> bool:
    """Tell what is no change of the table: words about nft, and that nothing is held."""
    if path[:3] == ("nftables", 0, "metainfo"):
        return True
    held = path[:4] == ("nftables", 5, "map", "elem")
    return held and change is _remove and len(path) in (4, 5)


def test_parse_listing_refuses_a_part_that_was_not_laid_down() -> None:
    document = json.loads(LISTED)
    document["nftables"].append({"chain": {"family": "ip", "table": "teraferry", "name": "more", "handle": 20}})
    with pytest.raises(UnexpectedListingError, match="chain more"):
        parse_listing(json.dumps(document).encode(), VIRTUAL)


@pytest.mark.parametrize("gone", ["timeout", "expires"])
def test_parse_listing_refuses_a_hold_that_would_never_end(gone: str) -> None:
    path = next(path for path in places(json.loads(LISTED)) if path and path[-1] == gone)
    with pytest.raises(UnexpectedListingError):
        parse_listing(altered(path, _remove), VIRTUAL)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b'{"nftables": []}', b"\xff", b"[" * 100_000])
def test_parse_listing_refuses_what_is_no_listing(content: bytes) -> None:
    with pytest.raises(UnexpectedListingError):
        parse_listing(content, VIRTUAL)
    with pytest.raises(UnexpectedListingError):
        has_table(content)


def test_parse_listing_refuses_more_than_a_table_can_be() -> None:
    with pytest.raises(UnexpectedListingError, match="bytes"):
        parse_listing(LISTED.encode() + b" " * MAX_LISTING_BYTES, VIRTUAL)


def test_has_table_knows_ours_among_others() -> None:
    def listed(*names: str) -> bytes:
        tables = [{"table": {"family": "ip", "name": name, "handle": 1}} for name in names]
        return json.dumps({"nftables": [{"metainfo": {"json_schema_version": 1}}, *tables]}).encode()

    assert has_table(listed("nat", "teraferry"))
    assert not has_table(listed("nat"))
    assert not has_table(listed())


@pytest.mark.parametrize(("seconds", "whole"), [(0.1, 1), (1, 1), (1.5, 2), (86_400, 86_400)])
def test_hold_is_for_whole_seconds_and_never_for_fewer(seconds: float, whole: int) -> None:
    assert whole_seconds(seconds) == whole


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 86_401])
def test_hold_is_never_for_ever(seconds: float) -> None:
    with pytest.raises(ValueError, match="hold"):
        whole_seconds(seconds)


def test_hold_replaces_in_one_transaction() -> None:
    commands = json.loads(hold_commands(VIRTUAL, "green", seconds=3, replace=True))["nftables"]
    assert [list(command) for command in commands] == [["delete"], ["add"]]


@pytest.mark.parametrize("standing", ["blue", "green"])
def test_persisted_text_holds_nothing_and_touches_no_other_table(standing: Any) -> None:
    lines = [line for line in persisted_text(VIRTUAL, standing).splitlines() if not line.startswith("#")]
    assert all(line.split()[2:4] == ["ip", "teraferry"] for line in lines)
    assert not any(line.startswith(("add element ip teraferry held", "delete", "destroy")) for line in lines)
    assert f"add element ip teraferry standing {{ 10.0.0.1 : goto {standing} }}" in lines


def test_unit_text_loads_the_file_before_the_network_and_after_who_flushes() -> None:
    lines = unit_text("/etc/teraferry/traffic.nft").splitlines()
    assert "ExecStart=/usr/sbin/nft -f /etc/teraferry/traffic.nft" in lines
    assert "Before=network-pre.target shutdown.target" in lines
    assert "After=nftables.service" in lines


@pytest.mark.parametrize("path", ["relative", "/with blank", "/with%n", "/with\nline", "/", ""])
def test_files_lie_at_paths_that_a_unit_takes_as_they_are(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        SwitchFiles(rules=path)


@pytest.mark.parametrize("ports", [(), (80, 80), (0,), (65_536,)])
def test_virtual_address_has_services_on_ports_of_their_own(ports: tuple[int, ...]) -> None:
    end = Endpoint(BLUE, 8000)
    with pytest.raises(ValueError, match="port"):
        VirtualAddress(IPv4Address("10.0.0.1"), tuple(Service(port, end, end) for port in ports))
