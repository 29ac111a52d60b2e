"""Keep what was signed in the trust folder's ledger, and find the release before this one there."""

from __future__ import annotations

from tuf.api.metadata import Metadata, Targets

from teraferry.builder.kit import Kit
from teraferry.bundles import layout
from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.errors import BundleError
from teraferry.bundles.index import SignedBundle
from teraferry.bundles.limits import MAX_MANIFEST_BYTES
from teraferry.keys.release.facts import read_bundle
from teraferry.keys.release.record import ReleaseRecord, make_record


def read_record(kit: Kit, targets: Metadata[Targets]) -> ReleaseRecord:
    """Return the record of what ``targets`` say of ``kit``; few bytes of the bundle are read.

    Raises:
        BundleError: 10 or 11; the bundle is not what ``targets`` describe.
    """
    bundle = read_bundle(targets.signed)
    with BundleReader(kit.bundle, bundle) as reader:
        manifest = reader.read_entry(layout.MANIFEST, limit_bytes=MAX_MANIFEST_BYTES)
    return make_record(targets.to_bytes(), index=read_index_range(kit, bundle), manifest=manifest)


def read_index_range(kit: Kit, bundle: SignedBundle) -> bytes:
    """Return the raw bytes of the bundle from its index to its end; the caller compares their digest.

    Raises:
        BundleError: ``medium-unreadable``, 11.
    """
    try:
        with kit.bundle.open("rb") as file:
            file.seek(bundle.index_offset_bytes)
            return file.read(bundle.length_bytes - bundle.index_offset_bytes)
    except OSError as error:
        raise BundleError(
            "medium-unreadable",
            f"bundle {kit.bundle}: {error.strerror or 'not readable'}, expected a readable file",
            hint="Check the disk, then type the same command again.",
            exit_status=11,
            facts={"path": str(kit.bundle)},
        ) from error
