"""What an install would do, and what each gate sees now; nothing is changed by looking."""

from __future__ import annotations

import shutil
from pathlib import Path

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.layout import blob_name
from teraferry.installer.plan import Plan
from teraferry.installer.ports import Registry
from teraferry.installer.rolling_parts import RollingParts, judge_now
from teraferry.installer.verify import VerifiedBundle


def foresee(
    bundle: VerifiedBundle, plan: Plan, *, rolling: RollingParts, registry: Registry, state: Path
) -> dict[str, object]:
    """Return the fields of ``plan``: steps, bytes, gates as they stand now, and what a failure would leave.

    A gate that refuses now is shown, not raised: a person plans before the day of the install.
    """
    signed = bundle.release.bundle
    lengths = {entry.name: entry.plain_bytes for entry in bundle.reader.index.entries}
    image_blobs = {
        digest: lengths[blob_name(digest)]
        for image in bundle.manifest.images
        for platform in image.platforms
        for digest in (platform.config, *platform.layers)
    }
    return {
        "product": signed.product,
        "version": signed.version,
        "steps": [step.text for step in plan.steps],
        "nodes": list(plan.nodes),
        "stays": list(plan.stays),
        "registry_bytes": sum(image_blobs.values()),
        "node_bytes": plan.upload_bytes,
        "state_free_bytes": shutil.disk_usage(state).free if state.exists() else None,
        "gates": {"cluster": _cluster_gate(rolling), "registry": _registry_gate(registry)},
        "on_failure": _on_failure(rolling),
    }


def _cluster_gate(rolling: RollingParts) -> str:
    try:
        return judge_now(rolling, None).summary()
    except RefusedError as refused:
        return f"cannot tell: {refused.message}"


def _registry_gate(registry: Registry) -> str:
    try:
        registry.require_ready()
    except RefusedError as refused:
        return f"refused: {refused.message}"
    return "ready"


def _on_failure(rolling: RollingParts) -> str:
    first = "a node that comes back wrong is put back on its old version, which stays on its disk"
    if rolling.on_failure == "rollback":
        return f"{first}; then every patched node goes back the same way, one at a time, behind the same gates"
    return f"{first}; then the rollout stops, and no further node is touched until install is typed again"
