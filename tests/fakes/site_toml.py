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
