"""Receipts in memory, signed with site keys that are always the same."""

from __future__ import annotations

import hashlib
from functools import cache

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from teraferry.bundles.digest import digest_of
from teraferry.bundles.receipt import (
    EarlierReceipt,
    InstalledRelease,
    JournalHead,
    LostKey,
    PendingWrites,
    Receipt,
    ReceiptRun,
    ReceiptSite,
    digest_of_receipt,
)
from teraferry.keys.site_key import SiteKey

BUNDLE = digest_of(b"bundle")


@cache
def site_key(name: str) -> SiteKey:
    """Return the key that the site ``name`` always has."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big")
    return SiteKey(ec.derive_private_key(seed % 2**255 + 1, ec.SECP256R1()))


def head(entries: int, journal: str = "journal") -> JournalHead:
    """Return how far ``journal`` has come, which is another one for every name."""
    return JournalHead(entries=entries, head=digest_of(f"{journal} {entries}".encode()))


@cache
def first_receipt() -> Receipt:
    """Return the receipt of a site where nothing is installed yet."""
    return Receipt(
        format=1,
        kind="receipt",
        number=1,
        made_utc="2026-05-04T03:02:01Z",
        site=ReceiptSite(name="hanoi-dc1", key=site_key("site").public_pem),
        state="nothing installed",
        installed=(),
        runs=(),
        runs_left_out=0,
        pending=None,
        conflicts=False,
        keys_lost=(),
        journal=head(2),
        earlier=(),
    )


def next_receipt(before: Receipt, *, entries: int, journal: str = "journal") -> Receipt:
    """Return the receipt after ``before`` of a site whose ``journal`` grew to ``entries``."""
    quoted = EarlierReceipt(receipt=digest_of_receipt(before), journal=before.journal)
    return msgspec.structs.replace(
        before, number=before.number + 1, journal=head(entries, journal), earlier=(*before.earlier, quoted)
    )


@cache
def full_receipt() -> Receipt:
    """Return the second receipt of a tier 2 site where all went wrong that a receipt can tell."""
    run = ReceiptRun(
        run="terachat-4.2.0-3",
        kind="install",
        product="terachat",
        version="4.2.0",
        bundle=BUNDLE,
        outcome="rolled-back",
        began_utc="2026-05-05T03:02:01Z",
        ended_utc="2026-05-05T04:02:01Z",
        trouble="unstable",
    )
    back = msgspec.structs.replace(
        run,
        run="rollback-9",
        kind="rollback",
        product=None,
        version=None,
        bundle=None,
        outcome="half-done",
        ended_utc=None,
    )
    blue = InstalledRelease(product="terachat", version="4.1.0", sequence=3, bundle=BUNDLE, cluster="blue", stands=True)
    return msgspec.structs.replace(
        next_receipt(first_receipt(), entries=40),
        state="key continuity lost",
        installed=(blue, msgspec.structs.replace(blue, version="4.0.0", cluster="green", stands=False)),
        runs=(run, back),
        runs_left_out=1,
        pending=PendingWrites(cluster="green", count=None),
        conflicts=True,
        keys_lost=(LostKey(key="Company_Key", node="vol-1"),),
    )
