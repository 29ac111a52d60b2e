"""Whether every node can take what is brought to it, found out before anything is changed anywhere.

A full disk, a missing unit, a clock that is hours off, or a program that nobody knows would stop a rollout half-way, at
a node. All nodes are asked at once, also those that the release brings nothing to, since the lock lies on each; and
everything that is wrong is said at once. Only a node that shows another host key is no matter of readiness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from teraferry.bundles.digest import Digest
from teraferry.bundles.errors import RefusedError
from teraferry.installer.ports import NodeFacts, NodeProbe, Workload
from teraferry.installer.rollout.plan import Target
from teraferry.installer.together import run_together

MAX_SKEW_SECONDS: Final = 300.0
"""Between a node's clock and ours: what Kerberos tolerates, too; leases and certificates break beyond it."""

SPARE_BYTES: Final = 64 * 1024 * 1024
"""What stays free beside the new files, for logs and for the node's own work."""

NODES_AT_ONCE: Final = 8

NEVER_ONE_OF_MANY: Final = "node-host-key-differs"
"""Somebody may stand between: said alone, with its own hint."""


@dataclass(frozen=True, slots=True)
class NodeNeeds:
    """What one node is to take."""

    targets: tuple[Target, ...] = ()
    units: tuple[str, ...] = ()


class Preflight:
    """Looks at every node of a plan.

    Args:
        needs: Node name -> what it is to take.
        probes: Node name -> how to look at it.
        workloads: (node, path) -> what runs there, of every target.
        clock: What time it is here.
    """

    def __init__(
        self,
        needs: Mapping[str, NodeNeeds],
        probes: Mapping[str, NodeProbe],
        *,
        workloads: Mapping[tuple[str, str], Workload],
        clock: Callable[[], datetime],
    ) -> None:
        self._needs = needs
        self._probes = probes
        self._workloads = workloads
        self._clock = clock

    def require_ready(self) -> str:
        """Return how many nodes are ready, in words.

        Raises:
            RefusedError: ``node-not-ready``, 40: every node that is not, and why. ``node-host-key-differs``, 40.
        """
        found: dict[str, list[str]] = {}
        without_curl: list[str] = []
        looks = [partial(self._look, node, found, without_curl) for node in self._needs]
        run_together(looks, jobs=NODES_AT_ONCE)
        wrong = {node: found[node] for node in self._needs if found[node]}
        if wrong:
            told = [f"{node}: {', '.join(reasons)}" for node, reasons in wrong.items()]
            raise RefusedError(
                "node-not-ready",
                f"nodes that cannot take the release: {'; '.join(told)}; expected all {len(self._needs)} to be ready",
                hint="Mend that on these nodes, then type the same command again; nothing was changed.",
                facts={"nodes": list(wrong), "found": told},
            )
        sent = f"; without curl, so that all is sent to them from here: {', '.join(sorted(without_curl))}"
        return f"{len(self._needs)} nodes ready" + (sent if without_curl else "")

    def _look(self, node: str, found: dict[str, list[str]], without_curl: list[str]) -> None:
        needs = self._needs[node]
        try:
            facts = self._probes[node].look([(each.path, each.digest) for each in needs.targets], needs.units)
            if not facts.has_curl and any(target.is_pulled for target in needs.targets):
                without_curl.append(node)
            wrong = judge_node(facts, needs.targets, now=self._clock())
            for target in needs.targets:
                workload = self._workloads[node, target.path]
                wrong += judge_program(target, running=workload.running(), selected=workload.selected())
        except RefusedError as error:
            if error.reference == NEVER_ONE_OF_MANY:
                raise
            wrong = [error.message]
        found[node] = wrong


def judge_program(target: Target, *, running: frozenset[Digest], selected: Digest | None) -> list[str]:
    """Return what is wrong with what a node runs, in words.

    What is put back after a failure is what the node would start. Where it runs something else, nobody could bring
    that back, and the first to find out would be a rollback.

    Args:
        target: What is to be brought there.
        running: What runs there now; nothing is no fault of the node's, the cluster's health judges that.
        selected: What its next start would run.
    """
    unknown = sorted(running - {target.digest, selected})
    if not unknown:
        return []
    return [f"{target.path} runs {', '.join(unknown)}, expected what its next start would run, {selected}"]


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
