"""What a key is asked to sign: exact bytes, the role that they are signed for, and what they mean.

A request carries it across the room, and a kit holds the same; an answer belongs to a kit exactly
when the two agree. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from teraferry.bundles import layout
from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.index import SignedBundle
from teraferry.keys.tuf_metadata import signed_bytes

RELEASE: Final = "release"
DESK: Final = "desk"

ROLES: Final[Mapping[str, str]] = {RELEASE: Targets.type, DESK: Timestamp.type}
"""Kind of request -> the TUF role whose keys answer it; the desk's two roles have the same key."""


@dataclass(frozen=True, slots=True)
class ToSign:
    """The documents of one kind of request, and the root that says who may sign them."""

    kind: str
    root: Metadata[Root]  # the newest
    production: bool  # only keys that cannot leave their token sign
    bundle: SignedBundle  # the release that it is about
    documents: Mapping[str, Metadata[Any]]  # by file name; each gets a TUF signature
    checksums: bytes | None  # SHA256SUMS, signed for stock openssl; the desk signs none

    @property
    def role(self) -> str:
        """The TUF role whose keys may sign."""
        return ROLES[self.kind]

    def digests(self) -> dict[str, Digest]:
        """Return the digest of every sequence of bytes that is signed, by file name."""
        found = {name: digest_of(signed_bytes(metadata)) for name, metadata in self.documents.items()}
        if self.checksums is not None:
            found[layout.CHECKSUMS] = digest_of(self.checksums)
        return found


def release_to_sign(
    root: Metadata[Root], targets: Metadata[Targets], *, bundle: SignedBundle, checksums: bytes, production: bool
) -> ToSign:
    """Return what a release key signs."""
    return ToSign(RELEASE, root, production, bundle, {layout.TARGETS: targets}, checksums)


def desk_to_sign(
    root: Metadata[Root],
    snapshot: Metadata[Snapshot],
    timestamp: Metadata[Timestamp],
    *,
    bundle: SignedBundle,
    production: bool,
) -> ToSign:
    """Return what the desk key signs."""
    documents: dict[str, Metadata[Any]] = {layout.SNAPSHOT: snapshot, layout.TIMESTAMP: timestamp}
    return ToSign(DESK, root, production, bundle, documents, None)
