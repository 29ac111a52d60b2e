"""What an install would do, and what each gate sees now; nothing is changed by looking."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from teraferry.bundles.errors import RefusedError, UsageError
from teraferry.bundles.image_plan import plan_images
from teraferry.installer.blue_green_ports import HealthProbe, Replicator, TrafficSwitch
from teraferry.installer.images.load import blob_tasks
from teraferry.installer.install import require_upgrade_allowed
from teraferry.installer.kit_registry.bring_up import KitRegistry
from teraferry.installer.ports import Registry
from teraferry.installer.rollout.blue_green_parts import BlueGreenParts
from teraferry.installer.rollout.blue_green_plan import other_cluster
from teraferry.installer.rollout.blue_green_window import ask_health
from teraferry.installer.rollout.compliance import ComplianceGate
from teraferry.installer.rollout.key_gate import KeyGate
from teraferry.installer.rollout.plan import Plan
from teraferry.installer.rollout.preflight import Preflight
from teraferry.installer.rollout.rolling_parts import RollingParts, judge_now
from teraferry.installer.verify import VerifiedBundle

KEY_CHECKS = (
    "before the first step",
    "before each node",
    "before a stopped node rejoins: the keys on it",
    "after each node",
    "after a node was put back, and after a rollback",
    "at the end",
)
"""When keys that must survive are looked at; ``docs/keys.md`` tells why."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one tier shows beside what both have."""

    keys: KeyGate
    gates: Mapping[str, Callable[[], str]]  # name -> what it sees now, in words
    on_failure: str


def foresee(
    bundle: VerifiedBundle,
    plan: Plan,
    *,
    outlook: Outlook,
    registry: Registry,
    kit_registry: KitRegistry | None,
    compliance: ComplianceGate,
    preflight: Preflight,
    state: Path,
    installed: str | None,
) -> dict[str, object]:
    """Return the fields of ``plan``: steps, bytes, gates as they stand now, and what a failure would leave.

    A gate that refuses now is shown, not raised: a person plans before the day of the install.

    Args:
        bundle: Verified, if only its documents.
        plan: Made from it.
        outlook: Of the tier; asked once, and nothing is told to do anything.
        registry: Asked whether it is ready; of a site that has one.
        kit_registry: At a site without: the one that the release brings; looked at, and nothing is done.
        compliance: Its probes are asked once.
        preflight: Every node is looked at once.
        state: State folder, whose free bytes are shown.
        installed: Version that the last complete install brought in; None when there was none.

    Raises:
        BundleError: 10, 11: an image's documents are not what was signed.
        RefusedError: 40: a key that must survive could not be brought back, or cannot be asked.
    """
    signed = bundle.release.bundle
    keys, keys_seen = outlook.keys.foresee()
    before_load, registry_seen = _registry(bundle, registry, kit_registry)
    return {
        "product": signed.product,
        "version": signed.version,
        "steps": [*before_load, *(step.text for step in plan.steps)],
        "nodes": list(plan.nodes),
        "stays": list(plan.stays),
        "registry_bytes": sum(task.length_bytes for task in blob_tasks(plan_images(bundle.manifest, bundle.reader))),
        "node_bytes": plan.upload_bytes,
        "state_free_bytes": shutil.disk_usage(state).free if state.exists() else None,
        "installed": installed,
        "gates": {
            "version": _gate(lambda: require_upgrade_allowed(bundle.manifest.release, installed), "allowed"),
            "registry": registry_seen,
            "nodes": _told(preflight.require_ready, otherwise="refused"),
            **{name: _told(look) for name, look in outlook.gates.items()},
            **({"compliance": _gate(compliance.require_open, "open")} if compliance.probes else {}),
            **({"keys": keys_seen} if keys else {}),
        },
        "keys": keys,
        "keys_checked": list(KEY_CHECKS) if keys else [],
        "on_failure": outlook.on_failure,
        **({"standby": plan.standby, "guarantees": list(plan.guarantees)} if plan.standby else {}),
    }


def _registry(bundle: VerifiedBundle, registry: Registry, kit_registry: KitRegistry | None) -> tuple[list[str], str]:
    """Return the steps that a registry of the release takes, and what the gate sees."""
    if kit_registry is None:
        return [], _gate(registry.require_ready, "ready")
    try:
        kit_registry.require_ready(bundle)
        steps = list(kit_registry.foresee(bundle))
    except (RefusedError, UsageError) as refused:
        return [], f"refused: {refused.message}"
    return steps, "will be brought up from the release" if steps else "ready"


def rolling_outlook(rolling: RollingParts) -> Outlook:
    """Return what tier 1 shows: the cluster's health."""
    first = "a node that comes back wrong is put back on its old version, which stays on its disk"
    then = "then the rollout stops, and no further node is touched until install is typed again"
    if rolling.on_failure == "rollback":
        then = "then every patched node goes back the same way, one at a time, behind the same gates"
    return Outlook(rolling.keys, {"cluster": lambda: judge_now(rolling, None).summary()}, f"{first}; {then}")


def blue_green_outlook(parts: BlueGreenParts, plan: Plan) -> Outlook:
    """Return what tier 2 shows: where traffic is, where replication stands, whether the active cluster is well."""
    standby, active = plan.standby, other_cluster(plan.standby)

    on_failure = (
        f"before the cutover {active} serves on, and nobody was ever on {standby}; after it new connections go back "
        f"to {active} at once, and what was written on {standby} is brought home"
    )
    gates: dict[str, Callable[[], str]] = {
        "traffic": lambda: told_traffic(parts.switch),
        "replication": lambda: told_replication(parts.replicator, active),
        "health": lambda: told_health(parts.health, active),
    }
    if parts.window.cut_after_seconds is not None:
        gates["cut"] = lambda: told_cut(parts.switch)
    return Outlook(parts.keys, gates, on_failure)


def told_traffic(switch: TrafficSwitch) -> str:
    """Return where traffic is, in words."""
    seen = switch.observe()
    return f"new connections go to {seen.active}, {seen.standing} stands"


def told_cut(switch: TrafficSwitch) -> str:
    """Return that the switch can cut connections, in words.

    Raises:
        RefusedError: ``switch-cannot-cut`` or ``switch-cannot-tell``, 40.
    """
    switch.require_can_cut()
    return "the switch can cut what is left on the old side"


def told_replication(replicator: Replicator, source: str) -> str:
    """Return where replication out of ``source`` stands, in words."""
    seen = replicator.observe(source)
    return f"{seen.processed} of {seen.received} came over, {seen.in_flight} in flight, {seen.failed} failed"


def told_health(health: HealthProbe, cluster: str) -> str:
    """Return what the application on ``cluster`` says of itself, in words.

    Raises:
        RefusedError: ``monitor-inconclusive``, 40.
    """
    answer = ask_health(health, cluster)
    return f"{cluster} answers with status {answer.status} in {answer.milliseconds:.0f} ms"


def _told(look: Callable[[], str], *, otherwise: str = "cannot tell") -> str:
    try:
        return look()
    except RefusedError as refused:
        return f"{otherwise}: {refused.message}"


def _gate(require: Callable[[], None], passed: str) -> str:
    try:
        require()
    except RefusedError as refused:
        return f"refused: {refused.message}"
    return passed
