"""The site file of a small tier 1 site, as an admin would write it."""

from __future__ import annotations

SITE = """\
[site]
name = "hanoi-dc1"
tier = "1"

[registry]
url = "https://registry.site.local:5000"
ca = "/etc/ssl/site-ca.pem"
credentials = { user = "loader", password_file = "/etc/teraferry/registry.password" }

[cluster]
engine = "seaweedfs"
masters = ["10.0.0.10:9333"]
soak_seconds = 5

[[node]]
name = "master-1"
role = "master"
address = "10.0.0.10:9333"
transport = { local = true }

[[node]]
name = "vol-1"
role = "volume"
address = "10.0.0.11:8080"
transport = { command = ["nsenter", "--net=/run/netns/vol-1"] }

[[deploy]]
file = "bin/weed"
role = "volume"
workload = "binary"
path = "/opt/seaweedfs/bin/weed"
unit = "weed-volume"
"""


PAIR_KEY = """
[[key]]
name = "Company_Key"
node = "green-1"
store = "command"
handle = "company"
command = ["/usr/local/bin/company-key"]
accepted_without_recovery = "a test, 2026-01-01, a test"
"""


ONE_WRITER = """\
write_hold_seconds = 5

[replication.postgresql]
blue_node = "blue-1"
green_node = "green-1"

[[replication.pgbouncer]]
node = "blue-1"
databases = ["app"]

[[replication.pgbouncer]]
node = "green-1"
databases = ["app"]
"""


def pair_site(*, writers: str = "two") -> str:
    """Return the site file of a tier 2 site with two nodes a cluster."""
    engine, more = ("seaweedfs", 'path = "/data"') if writers == "two" else ("postgresql", ONE_WRITER)
    nodes = "".join(
        f'[[node]]\nname = "{cluster}-{number}"\nrole = "app"\naddress = "10.0.{net}.{number}:8080"\n'
        f'transport = {{ command = ["on-node", "{cluster}-{number}"] }}\n\n'
        for net, cluster in ((1, "blue"), (2, "green"))
        for number in (1, 2)
    )
    return f"""\
[site]
name = "hanoi-dc2"
tier = "2"

[registry]
url = "https://registry.site.local:5000"
ca = "/etc/ssl/site-ca.pem"

{nodes}
[[deploy]]
file = "bin/weed"
role = "app"
workload = "binary"
path = "/opt/seaweedfs/bin/weed"
unit = "weed"

[[smoke]]
http = "/health"
pass_when = {{ field = "status", equals = "ok" }}

[green]
nodes = ["green-1", "green-2"]

[traffic]
engine = "nftables"
virtual_ip = "10.0.0.100:443"
blue = "10.0.1.10:443"
green = "10.0.2.10:443"
dead_man = "10s"

[monitor]
health = "https://{{active}}/health"
error_rate_max = 0.001
latency_p99_ms = 500

[replication]
engine = "{engine}"
writers = "{writers}"
blue = "10.0.1.10:8888"
green = "10.0.2.10:8888"
{more}

[compliance]
legal_hold = {{ http = "https://10.0.0.9/legal-hold", pass_when = {{ field = "active_holds", equals = 0 }} }}
audit_export = {{ command = ["/usr/local/bin/audit-export"], pass_when = {{ field = "running", equals = 0 }} }}
"""
