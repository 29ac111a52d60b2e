"""What goes into the judgement of a release, and what comes out of it. Pure values.

``keys.trust`` is the only maker of a ``TrustedRelease``: whoever holds one holds verified facts
and never needs to read the metadata again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from teraferry.bundles.digest import Digest
from teraferry.bundles.index import SignedBundle

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""A clock that was never set; the floor of a site that accepted nothing yet."""


@dataclass(frozen=True, slots=True)
class MetadataFiles:
    """The unverified bytes of a kit's ``metadata/``; what is not there is None."""

    roots: Mapping[int, bytes]  # by the number in the file name, only those after the pinned root
    timestamp: bytes | None
    snapshot: bytes | None
    targets: bytes | None


@dataclass(frozen=True, slots=True)
class Floor:
    """The highest that was ever accepted; nothing below it is accepted again."""

    root_version: int = 0
    timestamp_version: int = 0
    snapshot_version: int = 0
    targets_version: int = 0
    sequence: int = 0  # of the product
    newest_signed_at: datetime = EPOCH  # only from threshold-signed targets: one desk key cannot raise it
    built_at: datetime = EPOCH  # when this installer was built


@dataclass(frozen=True, slots=True)
class SignedFile:
    """Length and digest of one file of the kit, as signed."""

    length_bytes: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should know that refuses nothing."""

    reference: str
    text: str


@dataclass(frozen=True, slots=True)
class TrustedRelease:
    """A release that was judged good, and what the site must remember of it."""

    bundle: SignedBundle
    targets: Mapping[str, SignedFile]  # by file name in the kit, the bundle among them
    signers: tuple[str, ...]  # ids of the release keys that signed, one id a key
    root: bytes  # the newest root of the chain: what the site pins from now on
    root_version: int
    fingerprint: str  # of that root: 64 hex digits
    versions: Mapping[str, int]  # by role
    expires: Mapping[str, datetime]  # by role
    floor: Floor  # what the site stores once it accepts this release
    notices: tuple[Notice, ...] = field(default=())
    openpgp: str | None = None  # fingerprint of the OpenPGP key that signed as well, where the site demands one
