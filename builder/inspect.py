"""What a kit holds, for people: release, images, files, sizes, and who signed it.

Nothing here is a trust decision: a kit that was tampered with may show anything. ``verify`` decides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from teraferry.builder.describe import read_unsigned_manifest
from teraferry.builder.kit import locate_kit
from teraferry.bundles import layout
from teraferry.bundles.errors import TrustError
from teraferry.bundles.limits import MAX_METADATA_BYTES
from teraferry.bundles.manifest import Image, Manifest


def inspect_kit(kit: Path) -> dict[str, object]:
    """Return the result fields of ``inspect``; ``signers`` only when the kit has metadata.

    Raises:
        UsageError: 2; no kit, or no bundle in it.
        BundleError: 10 or 11; the bundle cannot be read.
        TrustError: ``metadata-unreadable``, 24.
    """
    bundle = locate_kit(kit).bundle
    manifest, length_bytes = read_unsigned_manifest(bundle)
    fields: dict[str, object] = {
        "bundle": str(bundle),
        "size_bytes": length_bytes,
        "product": manifest.release.product,
        "version": manifest.release.version,
        "upgrades_from": manifest.release.upgrades_from,
        "images": [_image(image, manifest) for image in manifest.images],
        "files": [
            {"name": file.name, "mode": file.mode, "size_bytes": file.length_bytes, "digest": file.digest}
            for file in manifest.files
        ],
    }
    targets = bundle.parent / layout.METADATA_DIR / layout.TARGETS
    if targets.is_file():
        fields["signers"] = _unverified_signers(targets)
    return fields


def _image(image: Image, manifest: Manifest) -> Mapping[str, object]:
    return {
        "name": f"{image.name}:{manifest.release.version}",
        "digest": image.digest,
        "platforms": [platform.platform for platform in image.platforms],
        "layers": len({layer for platform in image.platforms for layer in platform.layers}),
    }


def _unverified_signers(targets: Path) -> list[str]:
    """Return the key ids that claim to have signed; nothing was checked."""
    try:
        with targets.open("rb") as file:
            document = json.loads(file.read(MAX_METADATA_BYTES))
        return sorted(str(signature["keyid"]) for signature in document["signatures"] if signature.get("sig"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TrustError(
            "metadata-unreadable",
            f"metadata {targets}: {error}, expected TUF targets metadata",
            hint="Sign the kit again with: teraferry sign",
            exit_status=24,
            facts={"file": str(targets)},
        ) from error
