"""What a release holds, as signed, for people who have its metadata but not its kit. Pure.

The chain has no gap: targets sign the digest of the index range, the index names the digest of
``bundle.json``, and that names every image and file. So the index range and ``bundle.json``,
a few kB, prove what gigabytes hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tuf.api.metadata import Targets

from teraferry.bundles import layout
from teraferry.bundles.digest import digest_of
from teraferry.bundles.entry_header import read_index_entry
from teraferry.bundles.errors import BundleError
from teraferry.bundles.index import SignedBundle
from teraferry.bundles.index_check import parse_index
from teraferry.bundles.limits import MAX_INDEX_PLAIN_BYTES
from teraferry.bundles.manifest import Manifest, parse_manifest
from teraferry.bundles.member_reading import Place
from teraferry.keys.release.facts import read_bundle, read_targets
from teraferry.keys.trusted import SignedFile


@dataclass(frozen=True, slots=True)
class ReleaseContents:
    """A release, down to each image and file."""

    bundle: SignedBundle
    files: Mapping[str, SignedFile]  # of the kit, by name
    manifest: Manifest


def read_contents(targets: Targets, *, index: bytes, manifest: bytes) -> ReleaseContents:
    """Return what ``targets`` describe.

    Args:
        targets: Whoever signed them, or is about to.
        index: The raw bytes from the bundle's index member to its end.
        manifest: ``bundle.json``.

    Raises:
        BundleError: 10; ``contents-not-signed``: these are not the bytes that ``targets`` speak of; see also
            ``parse_index``.
        TrustError: ``bundle-not-described``, 24.
    """
    bundle = read_bundle(targets)
    _require_equal("the index range", digest_of(index), bundle.index_digest)
    _require_equal("the end of the bundle", bundle.index_offset_bytes + len(index), bundle.length_bytes)
    place = Place(bundle.name, layout.INDEX)
    content, _ = read_index_entry(
        index, place, offset_bytes=bundle.index_offset_bytes, limit_bytes=MAX_INDEX_PLAIN_BYTES
    )
    parsed = parse_index(content, file=bundle.name, index_offset_bytes=bundle.index_offset_bytes)
    row = next(entry for entry in parsed.entries if entry.name == layout.MANIFEST)
    _require_equal(layout.MANIFEST, digest_of(manifest), row.digest)
    described = parse_manifest(manifest)
    _require_equal("the product", described.release.product, bundle.product)
    _require_equal("the version", described.release.version, bundle.version)
    return ReleaseContents(bundle, read_targets(targets), described)


def _require_equal(what: str, found: str | int, expected: str | int) -> None:
    if found != expected:
        raise BundleError(
            "contents-not-signed",
            f"{what}: {found}, expected {expected}, as signed",
            hint="Do not use this file; ask its sender for another copy.",
            exit_status=10,
            facts={"what": what, "found": found, "expected": expected},
        )
