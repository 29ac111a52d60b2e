"""What an install would do, and what each gate sees now; nothing is changed by looking."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.image_plan import plan_images
from teraferry.installer.images.load import blob_tasks
from teraferry.installer.install import require_upgrade_allowed
from teraferry.installer.ports import Registry
from teraferry.installer.rollout.compliance import ComplianceGate
from teraferry.installer.rollout.plan import Plan
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


def foresee(
    bundle: VerifiedBundle,
    plan: Plan,
    *,
    rolling: RollingParts,
    registry: Registry,
    compliance: ComplianceGate,
    state: Path,
    installed: str | None,
) -> dict[str, object]:
    """Return the fields of ``plan``: steps, bytes, gates as they stand now, and what a failure would leave.

    A gate that refuses now is shown, not raised: a person plans before the day of the install.

    Args:
        bundle: Verified, if only its documents.
        plan: Made from it.
        rolling: Asked for the cluster's health once; nothing is told to do anything.
        registry: Asked whether it is ready.
        compliance: Its probes are asked once.
        state: State folder, whose free bytes are shown.
        installed: Version that the last complete install brought in; None when there was none.

    Raises:
        BundleError: 10, 11: an image's documents are not what was signed.
        RefusedError: 40: a key that must survive could not be brought back, or cannot be asked.
    """
    signed = bundle.release.bundle
    keys, keys_seen = rolling.keys.foresee()
    return {
        "product": signed.product,
        "version": signed.version,
        "steps": [step.text for step in plan.steps],
        "nodes": list(plan.nodes),
        "stays": list(plan.stays),
        "registry_bytes": sum(task.length_bytes for task in blob_tasks(plan_images(bundle.manifest, bundle.reader))),
        "node_bytes": plan.upload_bytes,
        "state_free_bytes": shutil.disk_usage(state).free if state.exists() else None,
        "installed": installed,
        "gates": {
            "version": _gate(lambda: require_upgrade_allowed(bundle.manifest.release, installed), "allowed"),
            "registry": _gate(registry.require_ready, "ready"),
            "cluster": _cluster_gate(rolling),
            **({"compliance": _gate(compliance.require_open, "open")} if compliance.probes else {}),
            **({"keys": keys_seen} if keys else {}),
        },
        "keys": keys,
        "keys_checked": list(KEY_CHECKS) if keys else [],
        "on_failure": _on_failure(rolling),
    }


def _cluster_gate(rolling: RollingParts) -> str:
    try:
        return judge_now(rolling, None).summary()
    except RefusedError as refused:
        return f"cannot tell: {refused.message}"


def _gate(require: Callable[[], None], passed: str) -> str:
    try:
        require()
    except RefusedError as refused:
        return f"refused: {refused.message}"
    return passed


def _on_failure(rolling: RollingParts) -> str:
    first = "a node that comes back wrong is put back on its old version, which stays on its disk"
    if rolling.on_failure == "rollback":
        return f"{first}; then every patched node goes back the same way, one at a time, behind the same gates"
    return f"{first}; then the rollout stops, and no further node is touched until install is typed again"
