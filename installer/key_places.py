"""Resolves protected places and deploy paths on the nodes: a link must not lead a rollout to a key."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from teraferry.bundles.errors import RefusedError
from teraferry.installer.ports import NodeTransport
from teraferry.installer.rollout.plan import Target
from teraferry.installer.rollout.protected import Protected, moved, require_untouched

RESOLVE_SECONDS = 30.0


def require_untouched_on_nodes(
    targets: Sequence[Target], places: Sequence[Protected], transport_of: Callable[[str], NodeTransport]
) -> None:
    """Refuse a plan whose paths, links followed, reach a place where a key lives.

    Args:
        targets: Where files of the release go.
        places: Protected places, as the site file writes them.
        transport_of: Node name -> its transport.

    Raises:
        RefusedError: ``touches-protected-path`` or ``cannot-tell``, 40.
    """
    resolved: dict[tuple[str, str], str] = {}
    for node in dict.fromkeys(place.node for place in places):
        paths = [place.path for place in places if place.node == node]
        paths += [target.path for target in targets if target.node == node]
        found = _resolve(transport_of(node), node, list(dict.fromkeys(paths)))
        resolved |= {(node, path): real for path, real in found.items()}
    watched = [target for target in targets if (target.node, target.path) in resolved]
    real = [Protected(place.key, place.node, resolved[place.node, place.path]) for place in places]
    # A place is protected under both its names: what is a link today may be the thing itself tomorrow.
    require_untouched([*watched, *moved(watched, resolved)], [*places, *real])


def _resolve(transport: NodeTransport, node: str, paths: list[str]) -> dict[str, str]:
    done = transport.run(["realpath", "-m", "-z", "--", *paths], timeout_seconds=RESOLVE_SECONDS)
    found = done.text().split("\0")[:-1]
    if done.status != 0 or len(found) != len(paths):
        raise RefusedError(
            "cannot-tell",
            f"node {node}: realpath ended with status {done.status}, expected where {len(paths)} paths really are",
            hint="Install coreutils on that node, then type the same command again.",
            facts={"node": node},
        )
    return dict(zip(paths, found, strict=True))
