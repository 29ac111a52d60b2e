"""A storage cluster that tells how it is over HTTP, as a product of its own would: five nodes and a filer.

Behind it is the cluster in memory that the contract tests know.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from teraferry.installer.adapters.transport.local import LocalTransport
from teraferry.installer.cli_cluster import make_cluster
from teraferry.installer.ports import Cluster
from teraferry.installer.rollout.gates import judge_health
from teraferry.installer.site.load import parse_site
from teraferry.installer.site.model import Site
from tests.fakes.cluster import FakeCluster
from tests.lab.answers import Answer, AnswerServer

NODES = {f"vol-{number}": f"10.0.0.{number}:8080" for number in range(1, 7)}
FILER = "10.0.0.9:8888"

_SITE = """\
[site]
name = "hanoi-dc1"
tier = "1"

[registry]
url = "http://127.0.0.1:5000"

[cluster]
engine = "{engine}"
mode = "{mode}"
{url}
health = [
    {{ {health}, pass_when = {{ field = "status", equals = "ok" }} }},
    {{ {rebalanced}, pass_when = {{ field = "rebalanced", equals = true }} }},
]
node_in = {{ {node}, pass_when = {{ field = "in", equals = true }} }}
drained = {{ {node}, pass_when = {{ field = "shards", equals = 0 }} }}
drain = {{ {drain} }}
leave = {{ {leave} }}
rejoin = {{ {rejoin} }}
"""

_NODE = """
[[node]]
name = "{name}"
role = "{role}"
address = "{address}"
transport = {{ local = true }}
"""


def site_of(url: str, *, engine: str = "http", mode: str = "safe", without: str = "nothing") -> Site:
    """Return the site of a cluster that answers at ``url``: asked there, or by a program that asks there.

    ``without`` is a field of ``[cluster]`` that its site file does not hold.
    """

    def way(path: str, method: str = "GET") -> str:
        if engine == "http":
            return f'http = "{path}"'
        return f'command = ["curl", "--silent", "--fail", "--request", "{method}", "{url}{path}"]'

    text = _SITE.format(
        engine=engine,
        mode=mode,
        url=f'url = "{url}"' if engine == "http" else "",
        health=way("/health"),
        rebalanced=way("/erasure-status"),
        node=way("/nodes/{name}"),
        **{act: way(f"/nodes/{{name}}/{act}", "POST") for act in ("drain", "leave", "rejoin")},
    )
    text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith(f"{without} ="))
    for name, address in NODES.items():
        text += _NODE.format(name=name, role="volume", address=address)
    text += _NODE.format(name="filer-1", role="filer", address=FILER)
    return parse_site(text.encode(), name="site.toml")


def cluster_of(url: str, *, engine: str = "http", mode: str = "safe", without: str = "nothing") -> Cluster:
    """Return the product's own cluster, wired from a site file."""
    return make_cluster(site_of(url, engine=engine, mode=mode, without=without), lambda node: LocalTransport(node.name))


@dataclass
class ToldCluster:
    """What the server answers; ``said`` overrides the answer to a path."""

    inner: FakeCluster
    said: dict[str, Answer]

    def answer(self, method: str, path: str) -> Answer:
        """Return the answer to one request."""
        if path in self.said:
            return self.said[path]
        whole = judge_health(self.inner.observe(), frozenset(NODES.values())).is_full
        if (method, path) == ("GET", "/health"):
            return _json(status="ok" if whole else "degraded")
        if (method, path) == ("GET", "/erasure-status"):
            return _json(rebalanced=whole)
        _, _, name, *acts = path.split("/")
        if method == "GET" and name == "filer-1":
            return _json(**{"in": FILER in self.inner.filers})
        if method == "GET" and name in NODES:
            return _json(**{"in": NODES[name] in self.inner.observe().nodes, "shards": self._shards(NODES[name])})
        return self._do(acts[0], NODES[name])

    def _shards(self, address: str) -> int:
        seen = self.inner.observe()
        volumes = sum(address in volume.holders for volume in seen.volumes)
        return volumes + sum(len(group.holders.get(address, ())) for group in seen.stripe_groups)

    def _do(self, act: str, address: str) -> Answer:
        if act == "drain":
            self.inner.drain(address)
        elif act == "leave":
            self.inner.leave(address)
        else:
            self.inner.rebalance(home=address)
        return _json(done=True)


def start_cluster() -> tuple[ToldCluster, AnswerServer]:
    """Return a cluster and the server that tells how it is; the caller closes that."""
    told = ToldCluster(FakeCluster(tuple(NODES.values()), filers=frozenset({FILER})), {})
    return told, AnswerServer(told.answer)


def _json(**fields: object) -> Answer:
    return Answer(json.dumps(fields).encode())
