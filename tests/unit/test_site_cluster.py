"""``[cluster]`` of other engines than SeaweedFS: all they need, nothing of another one, no URL a node could bend."""

from __future__ import annotations

import pytest

from teraferry.bundles.errors import UsageError
from teraferry.installer.site.load import parse_site
from teraferry.installer.site.model import Site
from tests.fakes.site_toml import SITE

ASKED = """
engine = "http"
url = "https://cluster.site.local:8443"
health = [{ http = "/health", pass_when = { field = "status", equals = "ok" } }]
node_in = { http = "http://{address}/health", pass_when = { field = "status", equals = "ok" } }
drained = { http = "/nodes/{name}", pass_when = { field = "shards", equals = 0 } }
drain = { http = "/nodes/{name}/drain" }
"""
SEAWEEDFS = 'engine = "seaweedfs"\nmasters = ["10.0.0.10:9333"]\n'


def site(cluster: str = ASKED) -> Site:
    return parse_site(SITE.replace(SEAWEEDFS, cluster).encode(), name="site.toml")


def refused(cluster: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        site(cluster)
    assert caught.value.exit_status == 2
    return caught.value


def test_installer_may_connect_to_what_the_cluster_is_asked_at() -> None:
    endpoints = site().allowed_endpoints()

    assert {("cluster.site.local", 8443), ("10.0.0.11", 8080)} <= endpoints
    # SeaweedFS's own ports above the nodes' are no business of another engine.
    assert ("10.0.0.11", 18080) not in endpoints


def test_whole_url_of_a_question_is_an_endpoint_too() -> None:
    other = ASKED.replace('"/health"', '"https://health.site.local/h"')

    assert ("health.site.local", 443) in site(other).allowed_endpoints()


@pytest.mark.parametrize("field", ["health", "node_in", "drained", "drain"])
def test_safe_mode_without_what_it_needs_is_refused(field: str) -> None:
    lines = [line for line in ASKED.splitlines(keepends=True) if not line.startswith(f"{field} ")]

    assert refused("".join(lines)).reference == "site-missing-field"


def test_quick_mode_needs_a_way_to_leave() -> None:
    assert refused(ASKED + 'mode = "quick"\n').reference == "site-missing-field"

    assert site(ASKED + 'mode = "quick"\nleave = { command = ["/bin/leave", "{name}"] }\n').cluster is not None


@pytest.mark.parametrize(
    "cluster",
    [
        ASKED.replace("health = [{", "health = [] # [{"),
        ASKED + 'masters = ["10.0.0.10:9333"]\n',
        ASKED.replace("8443", "8443/path"),
        ASKED.replace('url = "https://cluster.site.local:8443"\n', ""),
        ASKED.replace('"/health"', '"//elsewhere/health"'),
        ASKED.replace('"/health"', '"/health", command = ["a"]'),
        ASKED.replace('"/health"', '"/health/{name}"'),
        ASKED.replace("/nodes/{name}/drain", "/nodes/{node}/drain"),
        ASKED.replace("/nodes/{name}/drain", "ftp://{address}/drain"),
        ASKED.replace("http://{address}/health", "http://user@{address}/health"),
        ASKED.replace('engine = "http"', 'engine = "command"'),
        ASKED + 'ca = "ca.pem"\n',
        SEAWEEDFS + 'url = "https://cluster.site.local:8443"\n',
        SEAWEEDFS + 'drain = { command = ["/bin/drain"] }\n',
    ],
)
def test_cluster_table_without_sense_is_refused(cluster: str) -> None:
    assert refused(cluster).reference in ("site-bad-value", "site-missing-field")


def test_cluster_without_a_volume_server_is_refused() -> None:
    text = SITE.replace(SEAWEEDFS, ASKED).replace('role = "volume"', 'role = "app"')

    with pytest.raises(UsageError):
        parse_site(text.encode(), name="site.toml")


# ---- a Docker swarm

SWARM = 'engine = "swarm"\nmanager = "master-1"\n'


def test_swarm_is_asked_through_its_manager_and_connects_us_to_nothing_new() -> None:
    its = site(SWARM)

    assert its.cluster is not None
    assert its.cluster.manager == "master-1"
    assert its.allowed_endpoints() == site('engine = "command"\nmode = "quick"\n' + _COMMANDS).allowed_endpoints()


_COMMANDS = """
health = [{ command = ["/bin/health"], pass_when = { field = "status", equals = "ok" } }]
node_in = { command = ["/bin/in", "{name}"], pass_when = { field = "status", equals = "ok" } }
leave = { command = ["/bin/leave", "{name}"] }
"""


@pytest.mark.parametrize(
    ("cluster", "reference"),
    [
        ('engine = "swarm"\n', "site-missing-field"),
        ('engine = "swarm"\nmanager = "nobody"\n', "site-bad-value"),
        (SWARM + 'docker = "bin/docker"\n', "site-bad-value"),
        (SWARM + 'masters = ["10.0.0.10:9333"]\n', "site-bad-value"),
        (SWARM + 'url = "https://cluster.site.local:8443"\n', "site-bad-value"),
        (SEAWEEDFS + 'manager = "master-1"\n', "site-bad-value"),
        (ASKED + 'docker = "/usr/bin/docker"\n', "site-bad-value"),
        (ASKED + 'weed = "/usr/bin/weed"\n', "site-bad-value"),
    ],
)
def test_swarm_has_its_fields_and_nobody_elses(cluster: str, reference: str) -> None:
    assert refused(cluster).reference == reference


@pytest.mark.parametrize("address", ["vol-2.site.local:8080", "10.0.0.11:8081"])
def test_members_of_a_swarm_are_known_by_an_ip_address_of_their_own(address: str) -> None:
    second = f'[[node]]\nname = "vol-2"\nrole = "volume"\naddress = "{address}"\ntransport = {{ local = true }}\n'

    with pytest.raises(UsageError) as caught:
        parse_site((SITE.replace(SEAWEEDFS, SWARM) + second).encode(), name="site.toml")
    assert caught.value.reference == "site-bad-value"
