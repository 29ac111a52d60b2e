"""The tables of tier 2 in a site file: what must be there, what makes no sense, and which cluster a node is of."""

from __future__ import annotations

import pytest

from teraferry.bundles.errors import UsageError
from teraferry.installer.site.load import parse_site
from teraferry.installer.site.model import Site
from tests.fakes.site_toml import SITE, pair_site

PAIR = pair_site()
GATEWAY = """
[[node]]
name = "gateway-1"
role = "gateway"
address = "10.0.0.3:22"
transport = { command = ["on-node", "gateway-1"] }
"""


def parse(text: str, *, tier: str | None = None) -> Site:
    return parse_site(text.encode(), name="site.toml", tier=tier)


def refused(old: str, new: str) -> UsageError:
    assert old in PAIR
    with pytest.raises(UsageError) as caught:
        parse(PAIR.replace(old, new, 1))
    assert caught.value.exit_status == 2
    return caught.value


def test_site_of_tier_2_is_read_with_the_safe_values() -> None:
    site = parse(PAIR)

    assert site.monitor is not None
    assert (site.monitor.seconds, site.monitor.every_seconds) == (300, 1)
    assert site.monitor.url_of("10.0.2.10:443") == "https://10.0.2.10:443/health"


def test_nodes_that_green_does_not_name_are_blue_but_for_the_gateway() -> None:
    site = parse(PAIR + GATEWAY)

    assert [node.name for node in site.nodes_of_cluster("green")] == ["green-1", "green-2"]
    assert [node.name for node in site.nodes_of_cluster("blue")] == ["blue-1", "blue-2"]


@pytest.mark.parametrize("table", ["green", "traffic", "monitor", "replication", "compliance"])
def test_every_table_of_tier_2_must_be_there(table: str) -> None:
    head, rest = PAIR.split(f"[{table}]\n", 1)
    following = rest.find("\n[")
    with pytest.raises(UsageError) as caught:
        parse(head + (rest[following:] if following >= 0 else ""))

    assert (caught.value.reference, caught.value.facts["field"]) == ("site-missing-field", f"[{table}]")


def test_tier_that_the_environment_named_asks_for_the_tables_as_well() -> None:
    text = SITE.replace('tier = "1"\n', "")
    with pytest.raises(UsageError) as caught:
        parse(text, tier="2")

    assert caught.value.reference == "site-missing-field"
    assert parse(text, tier="1").name == "hanoi-dc1"


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('nodes = ["green-1", "green-2"]', "nodes = []", "[green], nodes"),
        ('nodes = ["green-1", "green-2"]', 'nodes = ["green-1", "green-9"]', "[green], nodes"),
        ('nodes = ["green-1", "green-2"]', 'nodes = ["green-1", "green-1"]', "[green], nodes"),
        ('virtual_ip = "10.0.0.100:443"', 'virtual_ip = "vip.site.local:443"', "[traffic], virtual_ip"),
        ('green = "10.0.2.10:443"', 'green = "10.0.1.10:443"', "[traffic], green"),
        ('dead_man = "10s"', 'dead_man = "none"', "[traffic], dead_man"),
        ('dead_man = "10s"', 'dead_man = "soon"', "[traffic], dead_man"),
        ('dead_man = "10s"', 'dead_man = "0s"', "[traffic], dead_man"),
        ('dead_man = "10s"', 'dead_man = "2s"', "[monitor], every_seconds"),
        ('engine = "nftables"', 'engine = "haproxy"', "[traffic], dead_man"),
        ('dead_man = "10s"', 'dead_man = "10s"\nnode = "nobody"', "[traffic], node"),
        ('dead_man = "10s"', 'dead_man = "10s"\ncommand = ["turn"]', "[traffic], command"),
        ('dead_man = "10s"', 'dead_man = "10s"\ncut_after = "0s"', "[traffic], cut_after"),
        ('dead_man = "10s"', 'dead_man = "10s"\ncut_after = "soon"', "[traffic], cut_after"),
        ("latency_p99_ms = 500", "latency_p99_ms = 500\nseconds = 2\nevery_seconds = 3", "[monitor], seconds"),
        ("latency_p99_ms = 500", "latency_p99_ms = 900", "[monitor], latency_p99_ms"),
        ("https://{active}/health", "ftp://{active}/health", "[monitor], health"),
        ('writers = "two"', 'writers = "one"', "[replication], writers"),
        ('path = "/data"', "", "[replication], path"),
        ('path = "/data"', 'path = "data"', "[replication], path"),
        ('path = "/data"', 'path = "/data"\nwrite_hold_seconds = 5', "[replication], write_hold_seconds"),
        ('path = "/data"', 'path = "/data"\nstart = ["go"]', "[replication]"),
        ('path = "/data"', 'path = "/data"\ncommand = ["go"]', "[replication], command"),
    ],
)
def test_value_that_makes_no_sense_is_refused(old: str, new: str, field: str) -> None:
    assert refused(old, new).facts["field"] == field


@pytest.mark.parametrize("engine", ["haproxy", "command"])
def test_switch_without_a_dead_man_must_have_it_spelled_out(engine: str) -> None:
    more = '\ncommand = ["/usr/local/bin/turn"]' if engine == "command" else ""
    text = PAIR.replace('engine = "nftables"', f'engine = "{engine}"').replace("10s", f'none"{more}#', 1)

    site = parse(text.replace('#"', ""))

    assert site.traffic is not None and site.traffic.dead_man == "none"


def test_whatever_is_asked_may_be_connected_to_and_nothing_else() -> None:
    allowed = parse(PAIR).allowed_endpoints()

    assert {("10.0.1.10", 443), ("10.0.2.10", 443), ("10.0.1.10", 8888), ("10.0.1.10", 18888)} <= allowed
    assert ("10.0.0.100", 443) not in allowed
