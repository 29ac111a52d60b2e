"""What a site trusts: the root it pinned, and the highest versions it ever accepted. Durable.

One file a product, replaced whole. A store that was wiped looks exactly like one that never was, so
an empty store refuses, whatever lies on the medium, until a person pins a root whose
fingerprint reached the site another way. A store that cannot be read refuses too: guessing
would lower the floor.
"""

from __future__ import annotations

import os
import re
import stat
from base64 import b64decode, b64encode
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.errors import TrustError, UsageError
from teraferry.bundles.limits import MAX_ROOT_METADATA_BYTES
from teraferry.bundles.manifest import Product
from teraferry.bundles.model import Model
from teraferry.bundles.system.durable import sync_directory, write_durably
from teraferry.keys.metadata import read_capped
from teraferry.keys.trust import verify_pinned_root
from teraferry.keys.trusted import Floor, TrustedRelease
from teraferry.keys.tuf_metadata import fingerprint_of, product_of

PIN_HINT: Final = "On paper, not on this medium, you have a fingerprint: type teraferry-installer trust pin ROOT \
--fingerprint HEX (ROOT is KIT/metadata/1.root.json)."

_MAX_STORE_BYTES: Final = 2 * MAX_ROOT_METADATA_BYTES
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}\Z")

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


class StoredPin(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One product's pin."""

    format: Literal[1]
    product: Product
    first_fingerprint: str  # of the root that a person pinned; later ones follow by the signed chain
    root: str  # the newest root, base64
    floor: StoredFloor


class StoredFile(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file: the pin, and its digest, so that one flipped bit cannot lower the floor unseen."""

    pin: StoredPin
    digest: Digest


@dataclass(frozen=True, slots=True)
class Pinned:
    """What the site trusts for one product."""

    product: str
    root: bytes  # the newest root that was accepted
    fingerprint: str  # of that root
    first_fingerprint: str  # of the root that a person pinned
    floor: Floor


class TrustStore:
    """The pins of a site, in one folder that only its owner may write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def pin(self, root: bytes, fingerprint: str) -> Pinned:
        """Trust ``root`` from now on, if its fingerprint is the one a person typed.

        Pinning the root that is pinned already changes nothing; the floor never falls.

        Raises:
            UsageError: ``fingerprint-malformed``, 2.
            TrustError: ``fingerprint-differs``, 24; ``already-pinned``, 24; the root is not whole, 20, 23 or 24.
        """
        typed = _parse_fingerprint(fingerprint)
        metadata = verify_pinned_root(root)
        found = fingerprint_of(metadata)
        if found != typed:
            raise TrustError(
                "fingerprint-differs",
                f"root {metadata.signed.version}: fingerprint {found}, expected {typed}, as typed",
                hint="Compare every digit with your paper. If it is typed rightly, do not use this medium: call the "
                "person who sent it.",
                exit_status=24,
                facts={"found": found, "expected": typed},
            )
        product = product_of(metadata.signed)
        pinned = next((known for known in self._pins() if known.product == product), None)
        if pinned is not None:
            if found not in (pinned.first_fingerprint, pinned.fingerprint):
                raise _already_pinned(pinned, found)
            return pinned
        made = Pinned(product, root, found, found, Floor(root_version=metadata.signed.version))
        self._store(made)
        return made

    def load(self, product: str | None = None) -> Pinned:
        """Return what the site trusts for ``product``, or for its only one.

        Raises:
            TrustError: ``site-not-pinned``, 24; ``trust-store-corrupt``, 24; ``trust-store-exposed``, 24.
            UsageError: ``product-not-named``, 2: several products are pinned and none is named.
        """
        pins = [pinned for pinned in self._pins() if product in (None, pinned.product)]
        if not pins:
            raise TrustError(
                "site-not-pinned",
                f"trust store {self._folder}: no root{f' for {product}' if product else ''}, expected one that a "
                "person pinned",
                hint=PIN_HINT,
                exit_status=24,
                facts={"store": str(self._folder), "product": product},
            )
        if len(pins) > 1:
            names = sorted(pinned.product for pinned in pins)
            raise UsageError(
                "product-not-named",
                f"trust store {self._folder}: {', '.join(names)} are pinned, expected one product to be named",
                hint="Name the product of the kit.",
                facts={"products": names},
            )
        return pins[0]

    def products(self) -> list[str]:
        """Return every product that is pinned."""
        return sorted(pinned.product for pinned in self._pins())

    def accept(self, release: TrustedRelease) -> Pinned:
        """Remember that the site accepted ``release``: its root and its floor, durably.

        Raises:
            TrustError: ``older-than-installed``, 22: something newer was accepted since it was verified.
                ``site-not-pinned``, ``trust-store-corrupt``, ``trust-store-exposed``, 24.
        """
        pinned = self.load(release.bundle.product)
        known, new = pinned.floor, release.floor
        if new.sequence < known.sequence or new.root_version < known.root_version:
            raise TrustError(
                "older-than-installed",
                f"release {release.bundle.version}: sequence {new.sequence}, expected at least {known.sequence}",
                hint="Another installer accepted a newer release meanwhile: use the newest kit.",
                exit_status=22,
                facts={"what": "sequence", "found": new.sequence, "expected": known.sequence},
            )
        floor = replace(
            new,
            targets_version=max(known.targets_version, new.targets_version),
            newest_signed_at=max(known.newest_signed_at, new.newest_signed_at),
            built_at=max(known.built_at, new.built_at),
        )
        accepted = replace(pinned, root=release.root, fingerprint=release.fingerprint, floor=floor)
        self._store(accepted)
        return accepted

    def _pins(self) -> list[Pinned]:
        if not self._folder.exists():
            return []
        _require_private(self._folder)
        return [self._read(path) for path in sorted(self._folder.glob("*.json"))]

    def _read(self, path: Path) -> Pinned:
        _require_private(path)
        content = read_capped(path, limit_bytes=_MAX_STORE_BYTES)
        try:
            stored = msgspec.json.decode(content or b"", type=StoredFile)
            pin = stored.pin
            if stored.digest != digest_of(_encode(pin)):
                raise ValueError("its digest differs")
            root = b64decode(pin.root, validate=True)
            metadata = verify_pinned_root(root)
        except (msgspec.MsgspecError, ValueError, TrustError) as error:
            raise _corrupt(path, str(error)) from error
        if product_of(metadata.signed) != pin.product or metadata.signed.version != pin.floor.root_version:
            raise _corrupt(path, "its root is another one than it says")
        floor = Floor(**msgspec.structs.asdict(pin.floor))
        return Pinned(pin.product, root, fingerprint_of(metadata), pin.first_fingerprint, floor)

    def _store(self, pinned: Pinned) -> None:
        if not self._folder.is_dir():
            self._folder.mkdir(parents=True, mode=0o700)
            sync_directory(self._folder.parent)
        _require_private(self._folder)
        floor = StoredFloor(**{name: getattr(pinned.floor, name) for name in StoredFloor.__struct_fields__})
        pin = StoredPin(
            format=1,
            product=pinned.product,
            first_fingerprint=pinned.first_fingerprint,
            root=b64encode(pinned.root).decode("ascii"),
            floor=floor,
        )
        encoded = msgspec.json.encode(StoredFile(pin=pin, digest=digest_of(_encode(pin))))
        write_durably(self._folder / f"{pinned.product}.json", encoded + b"\n", mode=0o600)


def _encode(pin: StoredPin) -> bytes:
    return msgspec.json.encode(pin, order="sorted")


def _parse_fingerprint(typed: str) -> str:
    # People type it from paper: in groups, in capitals, with colons.
    digits = re.sub(r"[\s:]", "", typed.strip().lower().removeprefix("sha256:"))
    if not _FINGERPRINT.match(digits):
        raise UsageError(
            "fingerprint-malformed",
            f"fingerprint: {len(digits)} characters, expected 64 hex digits",
            hint="Type the whole fingerprint from your paper; spaces and capitals do not matter.",
        )
    return digits


def _require_private(path: Path) -> None:
    status = os.lstat(path)
    is_owned = status.st_uid in (0, os.geteuid())
    if not is_owned or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or stat.S_ISLNK(status.st_mode):
        raise TrustError(
            "trust-store-exposed",
            f"trust store {path}: owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):o}, expected to be owned "
            "by root and writable by nobody else",
            hint=f"Find out who changed it. Then type: chown root {path} && chmod go-w {path}",
            exit_status=24,
            facts={"path": str(path), "owner": status.st_uid, "mode": f"{stat.S_IMODE(status.st_mode):o}"},
        )


def _corrupt(path: Path, found: str) -> TrustError:
    return TrustError(
        "trust-store-corrupt",
        f"trust store {path}: {found[:200]}, expected what TeraFerry wrote",
        hint="Restore this file from the site's backup and call the release's owner: without it nobody here can tell "
        "an old release from a new one.",
        exit_status=24,
        facts={"path": str(path)},
    )


def _already_pinned(pinned: Pinned, found: str) -> TrustError:
    return TrustError(
        "already-pinned",
        f"product {pinned.product}: root {pinned.first_fingerprint} is pinned, expected {found} to be pinned first",
        hint="A new root is accepted by itself when the old one's keys signed it; ask the release's owner for such a "
        "kit.",
        exit_status=24,
        facts={"product": pinned.product, "pinned": pinned.first_fingerprint, "found": found},
    )
