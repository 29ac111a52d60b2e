"""What this site accepted: remembered durably in store and journal, and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from teraferry.installer.ports import Journal
from teraferry.installer.trust.record import ACCEPTED, anchor_of, facts_of, remembered, require_store_current
from teraferry.keys.roots.shown import shown_root
from teraferry.keys.trust_store import Pinned, TrustStore
from teraferry.keys.trusted import TrustedRelease
from teraferry.keys.tuf_metadata import Root, parse_metadata


def accept_release(release: TrustedRelease, *, store: TrustStore, journal: Journal, now: datetime) -> None:
    """Remember durably, in store and journal, that this site accepted ``release``; a second time changes nothing.

    Raises:
        TrustError: 22, 24; see ``TrustStore.accept`` and ``require_store_current``.
        OperatorNeededError: 62. RefusedError: ``journal-not-writable``, 44.
    """
    entries = journal.replay()
    require_store_current(store.load(release.bundle.product), entries)
    accepted = store.accept(release, anchor=anchor_of(entries))
    memory = remembered(entries, accepted.product)
    if memory is None or memory.floor != replace(accepted.floor, built_at=memory.floor.built_at):
        facts = {**facts_of(accepted), "version": release.bundle.version}
        journal.append(time_utc=now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), run="", event=ACCEPTED, facts=facts)


def shown_trust(store: TrustStore, journal: Journal) -> dict[str, object]:
    """Return what the site trusts, for people and scripts; of several products, a row for each.

    Raises:
        TrustError: ``site-not-pinned``, ``trust-store-corrupt``, ``trust-store-rolled-back``,
            ``journal-rolled-back``, 24.
    """
    entries = journal.replay()
    pins = [store.load(product) for product in store.products()] or [store.load()]
    for pinned in pins:
        require_store_current(pinned, entries)
    return shown_pin(pins[0]) if len(pins) == 1 else {"products": [shown_pin(pinned) for pinned in pins]}


def shown_pin(pinned: Pinned) -> dict[str, object]:
    """Return one pin as people and scripts see it: root, keys by role, versions, expiries, floor."""
    root = parse_metadata(Root, pinned.root, what="pinned root")
    shown: Mapping[str, object] = shown_root(root)
    floor = pinned.floor
    expires = {role: f"{moment:%Y-%m-%dT%H:%M:%SZ}" for role, moment in pinned.expires.items() if role != "root"}
    return {
        "product": pinned.product,
        "fingerprint": pinned.fingerprint,
        "first_fingerprint": pinned.first_fingerprint,
        "root_version": floor.root_version,
        "sequence": floor.sequence,
        "newest_signed_at": floor.newest_signed_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "versions": {
            "root": floor.root_version,
            "targets": floor.targets_version,
            "snapshot": floor.snapshot_version,
            "timestamp": floor.timestamp_version,
        },
        "expires": {"root": shown["expires"], **expires},
        "roles": shown["roles"],
        "keys": shown["keys"],
    }
