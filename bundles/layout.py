"""Every file name inside a kit, a bundle and the OCI layout in it. Nowhere else is one spelled."""

from __future__ import annotations

from typing import Final

from teraferry.bundles.digest import Digest, hex_of

# The kit, a folder on the medium.
START_PAGE: Final = "START-HERE.html"
INSTALLER: Final = "teraferry-installer"
CHECKSUMS: Final = "SHA256SUMS"
OPENPGP_SIGNATURE: Final = "SHA256SUMS.asc"
METADATA_DIR: Final = "metadata"
EVIDENCE_DIR: Final = "evidence"
TIMESTAMP: Final = "timestamp.json"
SNAPSHOT: Final = "snapshot.json"
TARGETS: Final = "targets.json"

# The bundle, in this order; the blobs lie sorted between the manifest and the index.
OCI_LAYOUT: Final = "oci-layout"
OCI_INDEX: Final = "index.json"
DOCKER_MANIFEST: Final = "manifest.json"
MANIFEST: Final = "bundle.json"
INDEX: Final = "bundle.index.json"
BLOB_PREFIX: Final = "blobs/sha256/"


def bundle_name(product: str, version: str) -> str:
    """Return the bundle's file name inside its kit."""
    return f"{product}-{version}.tar.gz"


def blob_name(digest: Digest) -> str:
    """Return the entry name of the blob ``digest`` names."""
    return BLOB_PREFIX + hex_of(digest)


def root_name(version: int) -> str:
    """Return the file name of root metadata ``version``."""
    return f"{version}.root.json"


def signature_name(key_id: str) -> str:
    """Return the file name of one release key's signature over ``SHA256SUMS``."""
    return f"{CHECKSUMS}.{key_id[:8]}.sig"


def evidence_name(key_id: str) -> str:
    """Return the file name of one signer's evidence, in ``EVIDENCE_DIR``."""
    return f"{key_id[:8]}.json"
