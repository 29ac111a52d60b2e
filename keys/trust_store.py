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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from teraferry.bundles.errors import RefusedError, TrustError, UsageError
from teraferry.bundles.limits import MAX_ROOT_METADATA_BYTES
from teraferry.bundles.system.durable import make_folder_durably, sync_directory, write_durably
from teraferry.keys.metadata import read_capped
from teraferry.keys.trust import verify_pinned_root
from teraferry.keys.trust_file import NO_JOURNAL, Anchor, Pinned, encode_pinned, parse_pinned
from teraferry.keys.trusted import Floor, TrustedRelease
from teraferry.keys.tuf_metadata import fingerprint_of, product_of

__all__ = ["PIN_HINT", "Pinned", "TrustStore", "TypedRoot", "already_pinned", "parse_fingerprint", "verify_typed_root"]

PIN_HINT: Final = "On paper, not on this medium, you have a fingerprint: type teraferry-installer trust pin ROOT \
--fingerprint HEX (ROOT is KIT/metadata/1.root.json)."

_MAX_STORE_BYTES: Final = 2 * MAX_ROOT_METADATA_BYTES
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class TypedRoot:
    """A root whose fingerprint a person typed."""

    content: bytes
    product: str
    version: int
    fingerprint: str

    def pinned(self, floor: Floor, *, anchor: Anchor) -> Pinned:
        """Return a pin that begins with this root."""
        return Pinned(self.product, self.content, self.fingerprint, self.fingerprint, floor, anchor=anchor)


def verify_typed_root(root: bytes, fingerprint: str) -> TypedRoot:
    """Return ``root`` if its fingerprint is the one a person typed.

    Raises:
        UsageError: ``fingerprint-malformed``, 2.
        TrustError: ``fingerprint-differs``, 24; the root is not whole, 20, 23 or 24.
    """
    typed = parse_fingerprint(fingerprint)
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
    return TypedRoot(root, product_of(metadata.signed), metadata.signed.version, found)


class TrustStore:
    """The pins of a site, in one folder that only its owner may write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def pin(self, root: bytes, fingerprint: str, *, anchor: Anchor = NO_JOURNAL) -> Pinned:
        """Trust ``root`` from now on, if its fingerprint is the one a person typed.

        Pinning the root that is pinned already changes nothing; the floor never falls.

        Raises:
            UsageError: ``fingerprint-malformed``, 2.
            TrustError: ``fingerprint-differs``, 24; ``already-pinned``, 24; the root is not whole, 20, 23 or 24.
        """
        typed = verify_typed_root(root, fingerprint)
        pinned = self.find(typed.product)
        if pinned is not None:
            if typed.fingerprint not in (pinned.first_fingerprint, pinned.fingerprint):
                raise already_pinned(pinned.product, pinned.first_fingerprint, typed.fingerprint)
            return pinned
        made = typed.pinned(Floor(root_version=typed.version), anchor=anchor)
        self.put(made)
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

    def accept(self, release: TrustedRelease, *, anchor: Anchor = NO_JOURNAL) -> Pinned:
        """Remember that the site accepted ``release``: its root, its floor and its dates, durably.

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
        accepted = replace(
            pinned,
            root=release.root,
            fingerprint=release.fingerprint,
            floor=floor,
            expires=release.expires,
            anchor=anchor,
        )
        self.put(accepted)
        return accepted

    def find(self, product: str) -> Pinned | None:
        """Return what the site trusts for ``product``, None when nothing is pinned; other products are not looked at.

        Raises:
            TrustError: ``trust-store-corrupt``, ``trust-store-exposed``, 24.
        """
        if not self._folder.exists():
            return None
        _require_private(self._folder)
        path = self._path(product)
        return self._read(path) if os.path.lexists(path) else None

    def put(self, pinned: Pinned) -> None:
        """Replace what the site trusts for one product, durably. Deciding it is the caller's.

        Raises:
            TrustError: ``trust-store-exposed``, 24.
            RefusedError: ``trust-store-not-writable``, 44: no space or a read-only disk; what was there stays.
        """
        try:
            make_folder_durably(self._folder, mode=0o700)
            _require_private(self._folder)
            write_durably(self._path(pinned.product), encode_pinned(pinned), mode=0o600)
        except OSError as error:
            raise RefusedError(
                "trust-store-not-writable",
                f"trust store {self._folder}: {error.strerror}, expected room for what is trusted from now on",
                hint="Free space on that disk, then type the same command again; nothing was changed.",
                exit_status=44,
                facts={"store": str(self._folder)},
            ) from error

    def set_aside(self, product: str) -> Path:
        """Keep a damaged file as evidence under another name, so that a person can pin anew; return that name."""
        path = self._path(product)
        aside = path.with_suffix(".damaged")
        path.replace(aside)
        sync_directory(self._folder)
        return aside

    def _path(self, product: str) -> Path:
        return self._folder / f"{product}.json"

    def _pins(self) -> list[Pinned]:
        if not self._folder.exists():
            return []
        _require_private(self._folder)
        return [self._read(path) for path in sorted(self._folder.glob("*.json"))]

    def _read(self, path: Path) -> Pinned:
        _require_private(path)
        content = read_capped(path, limit_bytes=_MAX_STORE_BYTES)
        try:
            pinned = parse_pinned(content or b"")
        except ValueError as error:
            raise _corrupt(path, str(error)) from error
        if self._path(pinned.product) != path:
            raise _corrupt(path, f"it is product {pinned.product}'s")
        return pinned


def parse_fingerprint(typed: str) -> str:
    """Return the fingerprint of a root as 64 lowercase hex digits.

    Raises:
        UsageError: ``fingerprint-malformed``, 2.
    """
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
        hint="Restore this file from the site's backup. If there is none, pin the root anew, with the fingerprints "
        "from your paper: teraferry-installer trust pin ROOT --fingerprint HEX --replace HEX. The journal remembers "
        "what this site accepted.",
        exit_status=24,
        facts={"path": str(path)},
    )


def already_pinned(product: str, pinned: str, found: str) -> TrustError:
    """Return the refusal to trust another root of a product without a word about the one that is trusted."""
    return TrustError(
        "already-pinned",
        f"product {product}: root {pinned} is pinned, expected {found} to be pinned first",
        hint="A new root is accepted by itself when the old one's keys signed it; ask the release's owner for such a "
        "kit.",
        exit_status=24,
        facts={"product": product, "pinned": pinned, "found": found},
    )
