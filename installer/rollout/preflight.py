"""Whether every node can take what is brought to it, found out before anything is changed anywhere.

A full disk, a missing unit or a clock that is hours off would stop a rollout half-way, at a node. All nodes are asked
at once, and everything that is wrong is said at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.installer.ports import NodeFacts, NodeProbe
from teraferry.installer.rollout.plan import Target
from teraferry.installer.together import run_together

MAX_SKEW_SECONDS: Final = 300.0
"""Between a node's clock and ours: what Kerberos tolerates, too; leases and certificates break beyond it."""

SPARE_BYTES: Final = 64 * 1024 * 1024
"""What stays free beside the new files, for logs and for the node's own work."""

NODES_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class NodeNeeds:
    """What one node is to take."""

    targets: tuple[Target, ...]
    units: tuple[str, ...]


class Preflight:
    """Looks at every node of a plan.

    Args:
        needs: Node name -> what it is to take.
        probes: Node name -> how to look at it.
        clock: What time it is here.
    """

    def __init__(
        self, needs: Mapping[str, NodeNeeds], probes: Mapping[str, NodeProbe], clock: Callable[[], datetime]
    ) -> None:
        self._needs = needs
        self._probes = probes
        self._clock = clock

    def require_ready(self) -> str:
        """Return how many nodes are ready, in words.

        Raises:
            RefusedError: ``node-not-ready``, 40: every node that is not, and why.
        """
        found: dict[str, list[str]] = {}
        run_together([partial(self._look, node, found) for node in self._needs], jobs=NODES_AT_ONCE)
        wrong = {node: found[node] for node in self._needs if found[node]}
        if wrong:
            told = [f"{node}: {', '.join(reasons)}" for node, reasons in wrong.items()]
            raise RefusedError(
                "node-not-ready",
                f"nodes that cannot take the release: {'; '.join(told)}; expected all {len(self._needs)} to be ready",
                hint="Mend that on these nodes, then type the same command again; nothing was changed.",
                facts={"nodes": list(wrong), "found": told},
            )
        return f"{len(self._needs)} nodes ready"

    def _look(self, node: str, found: dict[str, list[str]]) -> None:
        needs = self._needs[node]
        try:
            facts = self._probes[node].look([(each.path, each.digest) for each in needs.targets], needs.units)
        except RefusedError as error:
            found[node] = [error.message]
        else:
            found[node] = judge_node(facts, needs.targets, now=self._clock())


def judge_node(facts: NodeFacts, targets: Sequence[Target], *, now: datetime) -> list[str]:
    """Return what is wrong, in words; nothing when the node can take ``targets``.

    Args:
        facts: What the node said; its places in the order of ``targets``.
        targets: What is to be brought to it.
        now: When it said so.
    """
    wrong = []
    skew = facts.seconds_since_epoch - now.timestamp()
    if not abs(skew) <= MAX_SKEW_SECONDS:
        which = "ahead of" if skew > 0 else "behind"
        wrong.append(f"its clock is {abs(skew):.0f} s {which} ours, expected at most {MAX_SKEW_SECONDS:.0f} s")
    needed = sum(
        target.length_bytes
        for target, place in zip(targets, facts.places, strict=True)
        if place.staged_bytes != target.length_bytes
    )
    free = min((place.free_bytes for place in facts.places), default=0)
    if needed and free < needed + SPARE_BYTES:
        wrong.append(f"{free} bytes free, expected {needed + SPARE_BYTES}")
    return wrong + [f"no unit {unit}, expected systemd to know it" for unit in facts.units_missing]
