"""Whether a bundle holds what its manifest names. Few bytes are read: rows of the index, and the images' documents.

A site finds the same out when it loads and rolls out. Asked before anybody signs, a manifest that
promises what is not there never leaves the building.
"""

from __future__ import annotations

from teraferry.bundles import layout
from teraferry.bundles.image_plan import ReadsDocuments, blob_lengths, plan_images
from teraferry.bundles.index_check import entry_missing
from teraferry.bundles.manifest import Chart, File, Manifest
from teraferry.bundles.member_reading import Place


def require_held(manifest: Manifest, reader: ReadsDocuments, *, file: str) -> None:
    """Refuse a manifest that names a file, chart or image which is not in the bundle as it says.

    Args:
        manifest: What the bundle claims to hold.
        reader: Hands out the bundle's documents.
        file: The bundle, for messages.

    Raises:
        BundleError: 10; ``entry-missing``, ``manifest-disagrees``, and see ``image_plan.plan_image``.
    """
    lengths = blob_lengths(reader.index)
    named: tuple[File | Chart, ...] = (*manifest.files, *manifest.charts)
    for item in named:
        name = layout.blob_name(item.digest)
        found = lengths.get(item.digest)
        if found is None:
            raise entry_missing(file, name)
        if found != item.length_bytes:
            expected = f"{item.length_bytes}, as {layout.MANIFEST} says of {item.name}"
            raise Place(file, name).refusal("manifest-disagrees", found=f"{found} bytes", expected=expected)
    plan_images(manifest, reader)
