"""The first visit: a person types the fingerprint that reached the site on paper, and the root is pinned."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from teraferry.bundles.errors import UsageError
from teraferry.bundles.limits import MAX_ROOT_METADATA_BYTES
from teraferry.installer.ports import Journal
from teraferry.keys.metadata import read_capped
from teraferry.keys.trust_store import Pinned, TrustStore


def pin_root(root: Path, fingerprint: str, *, store: TrustStore, journal: Journal, now: datetime) -> dict[str, object]:
    """Pin the root in file ``root`` if it has ``fingerprint``, and journal that it was done.

    Raises:
        UsageError: ``root-missing``, 2. TrustError: 24, the fingerprint differs or the root is no root.
        OperatorNeededError: ``journal-corrupt``, 62; nothing was pinned.
    """
    content = read_capped(root, limit_bytes=MAX_ROOT_METADATA_BYTES)
    if content is None:
        raise UsageError(
            "root-missing",
            f"root {root}: no such file, expected root metadata such as metadata/1.root.json of a kit",
            hint="teraferry-installer trust pin KIT/metadata/1.root.json --fingerprint HEX",
        )
    # A broken journal refuses before the first write, not after it.
    journal.replay()
    pinned = store.pin(content, fingerprint)
    journal.append(
        time_utc=now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        run="",
        event="root-pinned",
        facts={"fingerprint": pinned.fingerprint, "product": pinned.product, "version": pinned.floor.root_version},
    )
    return _shown(pinned)


def shown_trust(store: TrustStore) -> dict[str, object]:
    """Return what the site trusts, for people and scripts; of several products, a row for each.

    Raises:
        TrustError: ``site-not-pinned``, 24; ``trust-store-corrupt``, 24.
    """
    products = store.products()
    if len(products) > 1:
        return {"products": [_shown(store.load(product)) for product in products]}
    return _shown(store.load())


def _shown(pinned: Pinned) -> dict[str, object]:
    floor = pinned.floor
    return {
        "product": pinned.product,
        "fingerprint": pinned.fingerprint,
        "root_version": floor.root_version,
        "sequence": floor.sequence,
        "newest_signed_at": floor.newest_signed_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
