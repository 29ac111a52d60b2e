"""``[cluster]`` of site.toml: the storage of a tier 1 site, and how it is asked. Pure, frozen and strict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal, Protocol

import msgspec

from teraferry.bundles.model import Model
from teraferry.installer.site.asking import ClusterAct, ClusterQuestion
from teraferry.installer.site.fields import Seconds, Text


class Addressed(Protocol):
    """A node, as far as a question can be about it."""

    @property
    def name(self) -> str:
        """As site.toml calls it."""

    @property
    def address(self) -> str:
        """As the cluster calls it."""


class ClusterTable(Model, frozen=True):
    """``[cluster]``, tier 1."""

    engine: Literal["seaweedfs", "http", "swarm", "command"]
    masters: tuple[Text, ...] = ()
    mode: Literal["safe", "quick"] = "safe"
    soak_seconds: Seconds = 30
    stalled_after_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 300
    rejoin_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 120
    on_failure: Literal["stop", "rollback"] = "stop"
    weed: Text = "weed"  # the weed program on the first master's node, for `weed shell`
    url: Text | None = None  # engine http: scheme://host:port; questions that are paths go there
    ca: Text | None = None  # with https: who signs its certificate; the registry's ca by default
    manager: Text | None = None  # engine swarm: the [[node]] through which its Docker is asked
    docker: Text = "docker"  # engine swarm: the program there
    health: tuple[ClusterQuestion, ...] = ()  # engines http and command, from here on
    node_in: ClusterQuestion | None = None
    drained: ClusterQuestion | None = None
    drain: ClusterAct | None = None
    leave: ClusterAct | None = None
    rejoin: ClusterAct | None = None

    def node_ways(self) -> dict[str, ClusterQuestion | ClusterAct]:
        """Return what is asked about a node, or done with one, by the field's name; absent ones left out."""
        ways = {name: getattr(self, name) for name in ("node_in", "drained", "drain", "leave", "rejoin")}
        return {name: way for name, way in ways.items() if way is not None}

    def expand(self, http: str, nodes: Iterable[Addressed] = ()) -> tuple[str, ...]:
        """Return the whole URL of ``http``, or that of each node where it is about nodes."""
        whole = (self.url or "").rstrip("/") + http if http.startswith("/") else http
        return tuple(expand(whole, node) for node in nodes) or (whole,)

    def urls(self, nodes: Sequence[Addressed]) -> Iterator[str]:
        """Yield every URL that is asked."""
        for question in self.health:
            yield from self.expand(question.http) if question.http is not None else ()
        for way in self.node_ways().values():
            yield from self.expand(way.http, nodes) if way.http is not None else ()


def expand(text: str, node: Addressed) -> str:
    """Return ``text`` with a node's name and address in it."""
    return text.replace("{name}", node.name).replace("{address}", node.address)
