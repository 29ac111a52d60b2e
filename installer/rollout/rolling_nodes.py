"""What is true of one node right now: asked of its workloads and of the cluster, never of the journal."""

from __future__ import annotations

from collections.abc import Sequence

from teraferry.installer.ports import Workload
from teraferry.installer.rollout.gates import judge_masters
from teraferry.installer.rollout.plan import Target
from teraferry.installer.rollout.rolling_parts import RollingParts


class NodeView:
    """Looks at nodes; ``targets`` are always those of one node. Nothing is remembered."""

    def __init__(self, parts: RollingParts) -> None:
        self._parts = parts

    def workload(self, target: Target) -> Workload:
        """Return what carries ``target`` out."""
        return self._parts.workloads[target.node, target.path]

    def is_back(self, targets: Sequence[Target]) -> bool:
        """Tell whether a node runs the signed digest and is in the cluster, or answers."""
        return self.runs(targets) and self._answers(targets)

    def is_selected(self, targets: Sequence[Target]) -> bool:
        """Tell whether the next start of a node runs the signed digest."""
        return all(self.workload(t).selected() == t.digest for t in targets)

    def tell_back(self, targets: Sequence[Target]) -> None:
        """Tell the cluster that a node that was started is back; again and again, since it may not be taken at once."""
        if targets[0].role == "volume":
            self._parts.cluster.rejoin(targets[0].address)

    def runs(self, targets: Sequence[Target]) -> bool:
        """Tell whether a node runs the signed digests and nothing else."""
        return all(self.workload(t).running() == frozenset({t.digest}) for t in targets)

    def found(self, targets: Sequence[Target]) -> str:
        """Say what a node that is not back runs, and whether it is in or answers all the same."""
        running = sorted(digest for target in targets for digest in self.workload(target).running())
        there = "is in the cluster" if self._answers(targets) else "is not back in the cluster"
        return f"it runs {running or 'nothing of the paths in site.toml'} and {there}"

    def serves_old(self, targets: Sequence[Target]) -> bool:
        """Tell whether a node runs anything but the signed digests."""
        return any(self.workload(t).running() - {t.digest} for t in targets)

    def is_in(self, targets: Sequence[Target]) -> bool:
        """Tell whether the cluster says so."""
        return targets[0].address in self._parts.cluster.observe().nodes

    def is_out(self, targets: Sequence[Target]) -> bool:
        """Tell whether the cluster says so; what it does not tell is no leave."""
        seen = self._parts.cluster.observe()
        return targets[0].address not in seen.nodes | seen.unknown

    def _answers(self, targets: Sequence[Target]) -> bool:
        if targets[0].role == "volume":
            return self.is_in(targets)
        if targets[0].role == "master":
            return not judge_masters(self._parts.quorum.observe(), self._parts.master_addresses)
        return targets[0].role != "filer" or self._parts.cluster.serves(targets[0].address)
