"""What home keeps of sites: each one's public key, and every receipt that was seen.

``NAME/site.pem`` the key, enrolled once; ``NAME/receipts/N.json`` the receipts as they came; a key that was replaced
stays beside it with its receipts, as ``NAME~<8 digits>``. Nothing here is secret, and all of it is evidence:
back it up. A folder that lost its receipts could not tell a journal that was written anew.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from teraferry.bundles.errors import TeraFerryError, UsageError
from teraferry.bundles.limits import MAX_RECEIPT_BYTES
from teraferry.bundles.receipt import Receipt, parse_receipt
from teraferry.bundles.system.durable import sync_directory, write_durably
from teraferry.keys.metadata import read_capped
from teraferry.keys.public_keys import UnusableKeyError
from teraferry.keys.site_key import fingerprint_of_site_key, parse_site_key, require_signed_by

KEY: Final = "site.pem"
RECEIPTS: Final = "receipts"
_MAX_PEM_BYTES: Final = 4096
"""A P-256 public key as PEM is 178 bytes."""


@dataclass(frozen=True, slots=True)
class EnrolledSite:
    """One site as home knows it."""

    public: ec.EllipticCurvePublicKey
    receipts: tuple[Receipt, ...]  # verified anew when they were read; the oldest first

    @property
    def fingerprint(self) -> str:
        """Of its key."""
        return fingerprint_of_site_key(self.public)


class SitesFolder:
    """The folder. Site names come from receipts, whose form allows no way out of it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, name: str) -> EnrolledSite | None:
        """Return the site ``name``; None when it was never enrolled.

        Raises:
            UsageError: ``sites-folder-damaged``, 2.
        """
        folder = self._path / name
        if not os.path.lexists(folder):
            return None
        try:
            public = read_site_key(folder / KEY)
            paths = sorted((folder / RECEIPTS).glob("*.json"), key=lambda path: (len(path.name), path.name))
            receipts = tuple(_read_receipt(path, public) for path in paths)
        except TeraFerryError as error:
            raise self._damaged(folder, error.message) from error
        if not receipts:
            raise self._damaged(folder, "no receipt in it, expected at least the one it was enrolled with")
        return EnrolledSite(public, receipts)

    def enroll(self, receipt: Receipt, content: bytes) -> Path:
        """Keep a site's key and the verified receipt that it came in, both or neither; return the receipt's file.

        Raises:
            UsageError: ``sites-folder-unwritable``, 2.
        """
        folder, part = self._path / receipt.site.name, self._path / f".{receipt.site.name}.part"
        try:
            self._make(part / RECEIPTS)
            write_durably(part / KEY, receipt.site.key.encode("ascii"))
            write_durably(_file_of(part, receipt), content)
            part.rename(folder)
            sync_directory(self._path)
        except OSError as error:
            raise self._unwritable(error) from error
        return _file_of(folder, receipt)

    def keep(self, receipt: Receipt, content: bytes) -> Path:
        """Keep a verified receipt of an enrolled site, durably; return its file.

        Raises:
            UsageError: ``sites-folder-unwritable``, 2.
        """
        kept = _file_of(self._path / receipt.site.name, receipt)
        try:
            write_durably(kept, content)
        except OSError as error:
            raise self._unwritable(error) from error
        return kept

    def set_aside(self, name: str, fingerprint: str) -> Path:
        """Keep a site whose key was replaced under another name, as evidence; return that name.

        Raises:
            UsageError: ``sites-folder-unwritable``, 2.
        """
        aside = self._path / f"{name}~{fingerprint[:8]}"  # no site is called so
        try:
            (self._path / name).rename(aside)
            sync_directory(self._path)
        except OSError as error:
            raise self._unwritable(error) from error
        return aside

    def _make(self, folder: Path) -> None:
        made = [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for each in made:
            sync_directory(each.parent)

    def _unwritable(self, error: OSError) -> UsageError:
        return UsageError(
            "sites-folder-unwritable",
            f"sites folder {self._path}: {error.strerror or error}, expected a folder to keep receipts in",
            hint="Name another folder with --sites DIR, or make room.",
            facts={"path": str(self._path)},
        )

    def _damaged(self, folder: Path, found: str) -> UsageError:
        return UsageError(
            "sites-folder-damaged",
            f"sites folder {folder}: {found}",
            hint="Restore this folder from its backup. Without its receipts a journal that was written anew could not "
            "be told from the true one.",
            facts={"path": str(folder)},
        )


def read_site_key(path: Path) -> ec.EllipticCurvePublicKey:
    """Return the public key in a PEM file.

    Raises:
        UsageError: ``site-key-not-public``, 2.
    """
    content = read_capped(path, limit_bytes=_MAX_PEM_BYTES)
    try:
        if content is None:
            raise UnusableKeyError("not there")
        return parse_site_key(content.decode("ascii"))
    except ValueError as error:
        raise UsageError(
            "site-key-not-public",
            f"site key {path}: {error}, expected a P-256 public key as PEM",
            hint="Give the site.pem that receipt enroll kept, or the key of a receipt: jq -r .signed.site.key FILE",
            facts={"path": str(path)},
        ) from error


def _file_of(folder: Path, receipt: Receipt) -> Path:
    return folder / RECEIPTS / f"{receipt.number}.json"


def _read_receipt(path: Path, public: ec.EllipticCurvePublicKey) -> Receipt:
    content = read_capped(path, limit_bytes=MAX_RECEIPT_BYTES) or b""
    return require_signed_by(parse_receipt(content, name=str(path)), public, name=str(path))
