"""What a blue-green rollout works with; ``cli`` puts the adapters in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from teraferry.bundles.digest import Buffer, Digest
from teraferry.bundles.progress import Progress
from teraferry.installer.blue_green_ports import HealthProbe, Promotion, Replicator, TrafficSwitch
from teraferry.installer.ports import Workload
from teraferry.installer.rollout.compliance import ComplianceGate
from teraferry.installer.rollout.key_gate import KeyGate
from teraferry.installer.rollout.smoke import SmokeGate
from teraferry.installer.rollout.stability import Limits


@dataclass(frozen=True, slots=True)
class Window:
    """How long the standby is watched, how long it may hold traffic unwatched, and what patience the site has."""

    seconds: float
    every_seconds: float
    error_rate_max: float
    latency_p99_ms: float
    hold_seconds: float  # longer than one check and its pause; a switch without a dead-man takes no notice
    stalled_after_seconds: float
    write_hold_seconds: float = 0.0  # with one writer: how long writes may wait
    cut_after_seconds: float | None = None  # since the cutover; None: nobody is ever cut

    @property
    def limits(self) -> Limits:
        """What the whole window must hold."""
        checks = max(1, math.ceil(self.seconds / self.every_seconds))
        return Limits(checks, self.error_rate_max, self.latency_p99_ms)


@dataclass(frozen=True, slots=True)
class BlueGreenParts:
    """The hands of a blue-green rollout."""

    switch: TrafficSwitch
    replicator: Replicator
    promotion: Promotion | None  # with one writer: the same adapter
    health: HealthProbe
    compliance: ComplianceGate
    smoke: SmokeGate
    workloads: Mapping[tuple[str, str], Workload]  # (node name, deploy path) -> its workload
    pieces: Callable[[Digest], Iterable[Buffer]]  # verified bytes of a blob
    staging_jobs: int  # nodes that are sent to at the same time
    window: Window
    monotonic_seconds: Callable[[], float]
    sleep_seconds: Callable[[float], None]
    progress: Progress
    keys: KeyGate
    require_not_stopped: Callable[[], None]  # raises StoppedByOperatorError
