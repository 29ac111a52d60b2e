"""One product's pin as it lies on the site's disk: encode, parse, and nothing that touches a disk. Pure.

The file carries its own digest, so that one flipped bit cannot lower the floor unseen, and how far the
site's journal had come when it was written, so that neither can be put back to an older day alone.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.errors import TrustError
from teraferry.bundles.manifest import Product
from teraferry.bundles.model import Model
from teraferry.keys.trust import verify_pinned_root
from teraferry.keys.trusted import Floor
from teraferry.keys.tuf_metadata import fingerprint_of, product_of

Version = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class StoredFloor(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``keys.trusted.Floor`` as it lies on the disk."""

    root_version: Version
    timestamp_version: Version
    snapshot_version: Version
    targets_version: Version
    sequence: Version
    newest_signed_at: Moment
    built_at: Moment


class StoredAnchor(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``Anchor`` as it lies on the disk."""

    entries: Version
    head: Digest


class StoredPin(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One product's pin."""

    format: Literal[1]
    product: Product
    first_fingerprint: str  # of the root that a person pinned; later ones follow by the signed chain
    root: str  # the newest root, base64
    floor: StoredFloor
    expires: dict[str, Moment]
    journal: StoredAnchor


class StoredFile(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file: the pin, and its digest."""

    pin: StoredPin
    digest: Digest


@dataclass(frozen=True, slots=True)
class Anchor:
    """How far the site's journal had come when the store was written: so much must still be there."""

    entries: int
    head: Digest  # of the newest line then


NO_JOURNAL: Final = Anchor(0, digest_of(b""))
"""Of a site whose journal had no entry yet."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """What the site trusts for one product."""

    product: str
    root: bytes  # the newest root that was accepted
    fingerprint: str  # of that root
    first_fingerprint: str  # of the root that a person pinned
    floor: Floor
    expires: Mapping[str, datetime] = field(default_factory=dict)  # by role, of the release accepted last
    anchor: Anchor = NO_JOURNAL


def encode_pinned(pinned: Pinned) -> bytes:
    """Return the file that holds ``pinned``."""
    floor = StoredFloor(**{name: getattr(pinned.floor, name) for name in StoredFloor.__struct_fields__})
    pin = StoredPin(
        format=1,
        product=pinned.product,
        first_fingerprint=pinned.first_fingerprint,
        root=b64encode(pinned.root).decode("ascii"),
        floor=floor,
        expires=dict(pinned.expires),
        journal=StoredAnchor(entries=pinned.anchor.entries, head=pinned.anchor.head),
    )
    return msgspec.json.encode(StoredFile(pin=pin, digest=digest_of(_signed_part(pin)))) + b"\n"


def parse_pinned(content: bytes) -> Pinned:
    """Return what the file ``content`` holds.

    Raises:
        ValueError: It is not what ``encode_pinned`` wrote.
    """
    try:
        stored = msgspec.json.decode(content, type=StoredFile)
        pin = stored.pin
        if stored.digest != digest_of(_signed_part(pin)):
            raise ValueError("its digest differs")
        root = b64decode(pin.root, validate=True)
        metadata = verify_pinned_root(root)
    except (msgspec.MsgspecError, TrustError) as error:
        raise ValueError(str(error)) from error
    if product_of(metadata.signed) != pin.product or metadata.signed.version != pin.floor.root_version:
        raise ValueError("its root is another one than it says")
    return Pinned(
        pin.product,
        root,
        fingerprint_of(metadata),
        pin.first_fingerprint,
        Floor(**msgspec.structs.asdict(pin.floor)),
        pin.expires,
        Anchor(pin.journal.entries, pin.journal.head),
    )


def _signed_part(pin: StoredPin) -> bytes:
    return msgspec.json.encode(pin, order="sorted")
