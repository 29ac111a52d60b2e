"""``teraferry receipt``: believe a site's receipt, or say why not, and keep it.

1. The file is a receipt. 2. The key that is trusted for this site signed it. 3. It continues every receipt of the site
that was seen before. Only then is it shown, and kept for the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from teraferry.builder.receipt_chain import never_seen, require_continues
from teraferry.builder.sites_folder import EnrolledSite, SitesFolder, read_site_key
from teraferry.bundles.errors import TrustError, UsageError
from teraferry.bundles.limits import MAX_RECEIPT_BYTES
from teraferry.bundles.receipt import Receipt, SignedReceipt, digest_of_receipt, malformed, parse_receipt
from teraferry.keys.metadata import read_capped
from teraferry.keys.public_keys import UnusableKeyError
from teraferry.keys.site_key import fingerprint_of_site_key, parse_site_key, require_signed_by
from teraferry.keys.trust_store import parse_fingerprint


@dataclass(frozen=True, slots=True)
class SeenReceipt:
    """A receipt that is believed."""

    receipt: Receipt
    fingerprint: str  # of the key that signed it
    compared: tuple[int, ...]  # numbers of the receipts seen before that it was held against
    never_seen: tuple[int, ...]  # numbers in between that nobody showed here
    kept: Path | None  # None where the site is not enrolled
    broken: str = ""  # after --replace: why it does not continue what the old key signed

    def fields(self) -> Mapping[str, object]:
        """Return the result fields."""
        receipt = self.receipt
        return {
            "site": receipt.site.name,
            "number": receipt.number,
            "made_utc": receipt.made_utc,
            "fingerprint": self.fingerprint,
            "receipt": digest_of_receipt(receipt),
            "state": receipt.state,
            "installed": receipt.installed,
            "entries": receipt.journal.entries,
            "head": receipt.journal.head,
            "compared_with": list(self.compared),
            "continues": not self.broken if self.broken or self.compared else None,
            "never_seen": list(self.never_seen),
            "kept": None if self.kept is None else str(self.kept),
        }


def show_receipt(file: Path, sites: SitesFolder, *, site_key: Path | None) -> SeenReceipt:
    """Return the receipt in ``file`` if it is to be believed.

    Args:
        file: As it came from the site.
        sites: What home keeps.
        site_key: PEM file of the key to trust; without it the enrolled one.

    Raises:
        UsageError: ``receipt-missing``, ``site-key-not-public``, ``sites-folder-damaged``,
            ``sites-folder-unwritable``, 2.
        TrustError: ``receipt-malformed``, ``site-not-enrolled``, ``receipt-of-another-key``,
            ``receipt-signature-wrong``, ``receipt-chain-broken``, 24; ``receipt-chain-undecided``, 23.
    """
    content, signed = _read(file)
    site = sites.find(signed.signed.site.name)
    if site_key is not None:
        require_signed_by(signed, read_site_key(site_key), name=file.name)
    elif site is None:
        raise _not_enrolled(file, signed)
    if site is None:
        receipt = signed.signed
        return SeenReceipt(receipt, fingerprint_of_site_key(parse_site_key(receipt.site.key)), (), (), None)
    return _seen(file, content, signed, site, sites)


def enroll_site(file: Path, sites: SitesFolder, *, replace: str | None) -> SeenReceipt:
    """Trust the key that signed the receipt in ``file`` for its site from now on; a second time changes nothing.

    Args:
        file: As it came from the site.
        sites: What home keeps.
        replace: Fingerprint of the key that is trusted now and shall be no longer.

    Raises:
        UsageError: As ``show_receipt``; ``fingerprint-malformed``, ``nothing-to-replace``, 2.
        TrustError: As ``show_receipt``; ``replaced-site-key-differs``, 24.
    """
    content, signed = _read(file)
    name = signed.signed.site.name
    try:
        named = parse_site_key(signed.signed.site.key)
    except UnusableKeyError as error:
        raise malformed(file.name, str(error)) from error
    site, fingerprint = sites.find(name), fingerprint_of_site_key(named)
    if replace is not None:
        _require_replaceable(name, site, parse_fingerprint(replace))
    if site is not None and (replace is None or fingerprint == site.fingerprint):
        return _seen(file, content, signed, site, sites)
    receipt = require_signed_by(signed, named, name=file.name)
    if site is None:
        return SeenReceipt(receipt, fingerprint, (), (), sites.enroll(receipt, content))
    # A site that lost its key alone has its journal still; one that lost its state begins anew. A person decides.
    compared: tuple[int, ...] = ()
    broken = ""
    try:
        compared = require_continues(site.receipts, receipt, name=file.name)
    except TrustError as error:
        broken = error.message
    sites.set_aside(name, site.fingerprint)
    return SeenReceipt(receipt, fingerprint, compared, (), sites.enroll(receipt, content), broken)


def _seen(file: Path, content: bytes, signed: SignedReceipt, site: EnrolledSite, sites: SitesFolder) -> SeenReceipt:
    receipt = require_signed_by(signed, site.public, name=file.name)
    compared = require_continues(site.receipts, receipt, name=file.name)
    kept = sites.keep(receipt, content)
    return SeenReceipt(receipt, site.fingerprint, compared, never_seen((*site.receipts, receipt)), kept)


def _read(file: Path) -> tuple[bytes, SignedReceipt]:
    content = read_capped(file, limit_bytes=MAX_RECEIPT_BYTES)
    if content is None:
        raise UsageError(
            "receipt-missing",
            f"receipt {file}: not there, expected a file",
            hint="Check the path. A receipt is written at the site by: teraferry-installer receipt -o FILE",
            facts={"file": str(file)},
        )
    return content, parse_receipt(content, name=file.name)


def _require_replaceable(name: str, site: EnrolledSite | None, old: str) -> None:
    if site is None:
        raise UsageError(
            "nothing-to-replace",
            f"site {name}: no key of it is enrolled, expected {old}",
            hint="Leave --replace out.",
            facts={"site": name},
        )
    if old != site.fingerprint:
        raise TrustError(
            "replaced-site-key-differs",
            f"--replace {old}: site {name} is trusted by key {site.fingerprint}, expected that fingerprint",
            hint="Compare it with what you wrote down when the site was enrolled.",
            exit_status=24,
            facts={"site": name, "enrolled": site.fingerprint, "found": old},
        )


def _not_enrolled(file: Path, signed: SignedReceipt) -> TrustError:
    name = signed.signed.site.name
    return TrustError(
        "site-not-enrolled",
        f"receipt {file.name}: no key of site {name} is enrolled here, expected one to check it with",
        hint=f"Type: teraferry receipt enroll {file}, and compare the fingerprint it prints over the telephone. If the "
        "site was enrolled elsewhere, name that folder with --sites DIR, or its key with --site-key PEM.",
        exit_status=24,
        facts={"file": file.name, "site": name},
    )
