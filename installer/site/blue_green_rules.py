"""What must hold in the tables of tier 2: ``[green]``, ``[traffic]``, ``[monitor]``, ``[replication]``. Pure.

A file may be written ahead, so these tables are checked wherever they stand; in tier 2 they must be there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from ipaddress import IPv4Address
from typing import Final, TypeVar

from teraferry.bundles.errors import UsageError
from teraferry.installer.site.addresses import parse_address, parse_url
from teraferry.installer.site.database_rules import require_sound_database
from teraferry.installer.site.durations import parse_duration
from teraferry.installer.site.model import ReplicationTable, Site, TrafficTable
from teraferry.installer.site.monitor_rules import require_measurable
from teraferry.installer.site.paths import require_absolute, require_words
from teraferry.installer.site.text import SiteText, Where

NO_DEAD_MAN: Final = "none"

TABLES: Final = ("green", "traffic", "monitor", "replication", "compliance")

CHECKS_IN_A_HOLD: Final = 2
"""A hold must outlive a check that takes its whole time and the pause after it, or a slow check would end it."""

WRITERS: Final = {"seaweedfs": "two", "postgresql": "one"}
"""What an engine can only be; a command may be either."""

_TRAFFIC_FIELDS: Final = {"command": ("command", True), "socket": ("haproxy", False), "map": ("haproxy", False)}
_REPLICATION_FIELDS: Final = {
    "command": ("command", True),
    "path": ("seaweedfs", True),
    "start": ("seaweedfs", False),
    "stop": ("seaweedfs", False),
}
"""Field -> the one engine that has it, and whether it must be there then."""

_Parsed = TypeVar("_Parsed")


def require_sound_blue_green(site: Site, text: SiteText, *, tier: str | None) -> None:
    """Check the tables of tier 2.

    Raises:
        UsageError: ``site-missing-field`` or ``site-bad-value``, 2.
    """
    if tier == "2":
        for name in TABLES:
            if getattr(site, name) is None:
                raise text.bad_value(
                    (name,),
                    "absent, expected it for tier 2",
                    reference="site-missing-field",
                    hint=f"Add [{name}] to {text.name}; docs/site.md has an example.",
                )
    _require_green(site, text)
    _require_traffic(site, text)
    _require_monitor(site, text)
    _require_replication(site, text)


def hold_seconds(traffic: TrafficTable) -> float | None:
    """Return how long a hold lasts without renewal; None where there is no dead-man.

    Raises:
        UsageError: ``duration-malformed``, 2.
    """
    return None if traffic.dead_man == NO_DEAD_MAN else parse_duration(traffic.dead_man).total_seconds()


def cut_after_seconds(traffic: TrafficTable) -> float | None:
    """Return how long after the cutover what the old side still serves is cut; None where nobody is.

    Raises:
        UsageError: ``duration-malformed``, 2.
    """
    return None if traffic.cut_after is None else parse_duration(traffic.cut_after).total_seconds()


def _require_cut_after(traffic: TrafficTable, text: SiteText) -> None:
    try:
        seconds = cut_after_seconds(traffic)
    except UsageError as error:
        raise text.bad_value(("traffic", "cut_after"), error.message) from None
    if seconds == 0:
        found = f'{traffic.cut_after!r}, expected how long connections may stay, such as "30m"; without it none is cut'
        raise text.bad_value(("traffic", "cut_after"), found)


def _require_green(site: Site, text: SiteText) -> None:
    names = site.green.nodes if site.green else ()
    known = {node.name: node for node in site.nodes}
    if site.green is not None and not names:
        raise text.bad_value(("green", "nodes"), "no node, expected at least one")
    for name in names:
        if name not in known:
            raise text.bad_value(("green", "nodes"), f"{name}, which is no node, expected names of [[node]]")
        if known[name].role == "gateway":
            raise text.bad_value(("green", "nodes"), f"{name}, which is the gateway, expected nodes that serve")
    if len(set(names)) != len(names):
        raise text.bad_value(("green", "nodes"), "a node twice, expected each once")


def _require_traffic(site: Site, text: SiteText) -> None:
    traffic = site.traffic
    if traffic is None:
        return
    for field in ("virtual_ip", "blue", "green"):
        where: Where = ("traffic", field)
        host, _ = _checked(text, where, partial(parse_address, getattr(traffic, field)))
        _checked(text, where, partial(_require_ipv4, host))
    if traffic.blue == traffic.green:
        raise text.bad_value(("traffic", "green"), f"{traffic.green}, as blue, expected another address")
    _require_node(traffic.node, site, text, ("traffic", "node"))
    _require_only(traffic, text, "traffic", _TRAFFIC_FIELDS)
    if traffic.command is not None:
        require_words(traffic.command, text, ("traffic", "command"))
    for name in ("socket", "map"):
        if (path := getattr(traffic, name)) is not None:
            require_absolute(path, text, ("traffic", name))
    _require_dead_man(traffic, text)
    _require_cut_after(traffic, text)


def _require_dead_man(traffic: TrafficTable, text: SiteText) -> None:
    where: Where = ("traffic", "dead_man")
    if traffic.engine != "nftables":
        if traffic.dead_man != NO_DEAD_MAN:
            found = (
                f'{traffic.dead_man!r} with engine = "{traffic.engine}", which has none, expected "none" spelled out'
            )
            raise text.bad_value(where, found)
        return
    seconds = None
    if traffic.dead_man != NO_DEAD_MAN:
        try:
            seconds = parse_duration(traffic.dead_man)
        except UsageError as error:
            raise text.bad_value(where, error.message) from None
    if seconds is None or seconds <= timedelta(0):
        found = f'{traffic.dead_man!r} with engine = "nftables", expected how long a hold lasts, such as "10s"'
        raise text.bad_value(where, found)


def _require_monitor(site: Site, text: SiteText) -> None:
    monitor, traffic = site.monitor, site.traffic
    if monitor is None:
        return
    addresses = (traffic.blue, traffic.green) if traffic else ("127.0.0.1:1",)
    for address in addresses:
        _checked(text, ("monitor", "health"), partial(parse_url, monitor.url_of(address)))
    if monitor.ca is not None:
        require_absolute(monitor.ca, text, ("monitor", "ca"))
    if monitor.seconds < monitor.every_seconds:
        found = f"{monitor.seconds}, less than every_seconds, expected at least one check"
        raise text.bad_value(("monitor", "seconds"), found)
    require_measurable(monitor, text)
    held = hold_seconds(traffic) if traffic else None
    if held is not None and held <= CHECKS_IN_A_HOLD * monitor.every_seconds:
        found = (
            f"{monitor.every_seconds}, but a hold lasts {held:g} s, expected a dead_man longer than "
            f"{CHECKS_IN_A_HOLD} checks"
        )
        raise text.bad_value(("monitor", "every_seconds"), found)


def _require_replication(site: Site, text: SiteText) -> None:
    table = site.replication
    if table is None:
        return
    if WRITERS.get(table.engine, table.writers) != table.writers:
        found = f'"{table.writers}" with engine = "{table.engine}", expected "{WRITERS[table.engine]}"'
        raise text.bad_value(("replication", "writers"), found)
    for field in ("blue", "green"):
        _checked(text, ("replication", field), partial(parse_address, getattr(table, field)))
    if table.path is not None:
        require_absolute(table.path, text, ("replication", "path"))
    _require_only(table, text, "replication", _REPLICATION_FIELDS)
    require_sound_database(table, site, text)
    for name in ("command", "start", "stop"):
        if (argv := getattr(table, name)) is not None:
            require_words(argv, text, ("replication", name))
    _checked(text, ("replication", "metrics"), partial(parse_address, table.metrics))
    if (table.start is None) != (table.stop is None):
        raise text.bad_value(("replication",), "start without stop, or stop without start, expected both or neither")
    _require_node(table.node, site, text, ("replication", "node"))
    if table.writers == "two" and table.write_hold_seconds is not None:
        found = 'beside writers = "two", expected it only with one writer'
        raise text.bad_value(("replication", "write_hold_seconds"), found)


def _require_only(
    table: TrafficTable | ReplicationTable, text: SiteText, name: str, fields: Mapping[str, tuple[str, bool]]
) -> None:
    """Refuse a field of another engine, on which somebody would rely; and the lack of one that this engine needs."""
    for field, (engine, is_needed) in fields.items():
        there = getattr(table, field) is not None
        if there and table.engine != engine:
            raise text.bad_value((name, field), f'beside engine = "{table.engine}", expected it only with {engine}')
        if not there and is_needed and table.engine == engine:
            found = f'absent, expected it with engine = "{engine}"'
            raise text.bad_value((name, field), found, reference="site-missing-field")


def _require_node(name: str | None, site: Site, text: SiteText, where: Where) -> None:
    if name is not None and name not in {node.name for node in site.nodes}:
        raise text.bad_value(where, f"{name}, which is no node, expected the name of a [[node]]")


def _require_ipv4(host: str) -> IPv4Address:
    try:
        return IPv4Address(host)
    except ValueError:
        raise ValueError(f"{host}, expected an IPv4 address") from None


def _checked(text: SiteText, where: Where, parse: Callable[[], _Parsed]) -> _Parsed:
    try:
        return parse()
    except ValueError as error:
        raise text.bad_value(where, str(error)) from None
