"""What a rolling update works with, and the one gate in front of every node.

Health is asked of the storage itself, three times in a row. Deadlines count progress, not time:
a big node may take hours as long as shards keep moving.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from teraferry.bundles.digest import Buffer, Digest
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.progress import Progress
from teraferry.installer.ports import Cluster, MasterView, Quorum, Workload
from teraferry.installer.rollout.gates import Baseline, Health, judge_health, judge_masters
from teraferry.installer.rollout.key_gate import KeyGate
from teraferry.installer.rollout.smoke import SmokeGate

Seen = TypeVar("Seen")


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to look, how many looks in a row must agree, and when waiting is hopeless."""

    soak_seconds: float
    stalled_after_seconds: float
    rejoin_seconds: float = 120.0  # a started node is back within this, with the right digest running
    polls: int = 3
    poll_seconds: float = 0.5
    settle_seconds: float = 15.0  # a healthy cluster shows three good polls in a row within this


class NoQuorum:
    """``Quorum`` of a site whose masters stay: none of them would ever pass for well."""

    def observe(self) -> Mapping[str, MasterView]:
        """Return nothing."""
        return {}

    def step_down(self, master: str) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class RollingParts:
    """The hands of a rolling update; ``cli`` puts the adapters in."""

    cluster: Cluster
    workloads: Mapping[tuple[str, str], Workload]  # (node name, deploy path) -> its workload
    volume_addresses: frozenset[str]
    pieces: Callable[[Digest], Iterable[Buffer]]  # verified bytes of a blob
    patience: Patience
    staging_jobs: int  # nodes that are sent to at the same time
    mode: str  # "safe" or "quick"
    on_failure: str  # "stop" or "rollback"
    monotonic_seconds: Callable[[], float]
    sleep_seconds: Callable[[float], None]
    progress: Progress
    keys: KeyGate
    smoke: SmokeGate
    quorum: Quorum = field(default_factory=NoQuorum)
    master_addresses: frozenset[str] = frozenset()
    require_not_stopped: Callable[[], None] = lambda: None  # raises StoppedByOperatorError


class Countdown:
    """A deadline that does not run while somebody is asked: masters that are away are waited for inside a look."""

    def __init__(self, parts: RollingParts, seconds: float) -> None:
        self._now = parts.monotonic_seconds
        self._over_at = self._now() + seconds

    def look(self, look: Callable[[], Seen]) -> Seen:
        """Look, and leave out how long that took."""
        began = self._now()
        try:
            return look()
        finally:
            self._over_at += self._now() - began

    @property
    def is_over(self) -> bool:
        """Tell whether nothing is left."""
        return self._now() >= self._over_at


def check_cluster_health(parts: RollingParts, *, baseline: Baseline | None, why: str) -> Health:
    """Return the verdict after three polls in a row agree on 100 %, or the last one that did not.

    Anything that cannot be observed counts against health; nothing is taken for a pass.
    """
    patience = parts.patience
    countdown = Countdown(parts, patience.settle_seconds)
    in_a_row = 0
    while True:
        health = countdown.look(lambda: judge_now(parts, baseline))
        in_a_row = in_a_row + 1 if health.is_full else 0
        if in_a_row >= patience.polls:
            return health
        if not health.is_full:
            parts.progress.waiting(why, health.summary())
            if countdown.is_over:
                return health
        parts.sleep_seconds(patience.poll_seconds)


def require_full_health(parts: RollingParts, *, baseline: Baseline | None, why: str) -> Health:
    """Return the verdict of ``check_cluster_health`` if it is 100 %.

    Raises:
        RefusedError: ``cluster-degraded``, 40: ABORT_DEPLOY.
    """
    health = check_cluster_health(parts, baseline=baseline, why=why)
    if not health.is_full:
        raise RefusedError(
            "cluster-degraded",
            f"ABORT_DEPLOY: cluster health {health.summary()}, expected exactly 100 %",
            hint="Bring the cluster back to full health (`ec.rebuild`, `volume.fix.replication`, restart the node that "
            "is away), then type the same command again.",
            facts={"percent": round(health.percent, 1), "reasons": list(health.reasons)},
        )
    return health


def require_quorum(parts: RollingParts, *, why: str) -> None:
    """Check that every master is up and that all agree about one leader, in as many looks in a row as health.

    Raises:
        RefusedError: ``masters-disagree``, 40.
    """
    countdown = Countdown(parts, parts.patience.settle_seconds)
    in_a_row = 0
    while in_a_row < parts.patience.polls:
        reasons = countdown.look(lambda: judge_masters(parts.quorum.observe(), parts.master_addresses))
        in_a_row = 0 if reasons else in_a_row + 1
        if reasons and countdown.is_over:
            raise RefusedError(
                "masters-disagree",
                f"{why}: {'; '.join(reasons)}, expected every master up and one leader of all",
                hint="Bring the master back (`cluster.raft.ps` in `weed shell` shows each), then type the same command "
                "again.",
                facts={"reasons": list(reasons)},
            )
        if reasons:
            parts.progress.waiting(why, "; ".join(reasons))
        parts.sleep_seconds(parts.patience.poll_seconds)


def judge_now(parts: RollingParts, baseline: Baseline | None) -> Health:
    """Return the verdict on one look at the cluster; a gate asks for three, see ``check_cluster_health``."""
    return judge_health(
        parts.cluster.observe(), parts.volume_addresses, baseline=baseline, single_copies=parts.mode == "safe"
    )


def wait_while_moving(parts: RollingParts, is_there: Callable[[], bool], what: str, *, reference: str) -> None:
    """Wait until ``is_there``; give up when nothing in the cluster moved for too long.

    Raises:
        RefusedError: ``reference``, 40.
    """
    patience = parts.patience
    last, countdown = parts.cluster.observe(), Countdown(parts, patience.stalled_after_seconds)
    while not countdown.look(is_there):
        seen = countdown.look(parts.cluster.observe)
        if seen != last:
            last, countdown = seen, Countdown(parts, patience.stalled_after_seconds)
        if countdown.is_over:
            raise RefusedError(
                reference,
                f"{what}: nothing moved for {patience.stalled_after_seconds:g} s, expected shards to keep moving",
                hint="Look at the storage's own log for the cause, then type the same command again.",
            )
        parts.progress.waiting(what, countdown.look(lambda: judge_now(parts, None)).summary())
        parts.sleep_seconds(patience.poll_seconds)
