"""Pinning a root, and the deliberate ways back when the trust store was lost, damaged or put back.

The first visit: a person types the fingerprint that reached the site on paper, and the root is pinned.
Everything later that would change whom a site trusts names the fingerprint that is trusted now
(``--replace``), is journaled with both, and gives up no more of the floor than the new root makes
meaningless: dates stay always; the sequence stays unless the owner's paper names another; versions of
metadata belong to one root's own counter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from teraferry.bundles.errors import TrustError, UsageError
from teraferry.bundles.limits import MAX_ROOT_METADATA_BYTES
from teraferry.installer.ports import Entry, Journal
from teraferry.installer.trust.accepted import shown_pin
from teraferry.installer.trust.record import (
    PINNED,
    REPLACED,
    Remembered,
    anchor_of,
    facts_of,
    remembered,
    require_store_current,
)
from teraferry.keys.metadata import read_capped
from teraferry.keys.trust_store import (
    Pinned,
    TrustStore,
    TypedRoot,
    already_pinned,
    parse_fingerprint,
    verify_typed_root,
)
from teraferry.keys.trusted import Floor

_KEPT = ("root_version", "timestamp_version", "snapshot_version", "targets_version", "sequence", "newest_signed_at")


@dataclass(frozen=True, slots=True)
class Replacement:
    """What a person says beside the new fingerprint when the old one is to be trusted no longer."""

    fingerprint: str  # the one that is pinned now
    sequence: int | None = None  # where the new root's releases begin, as its owner printed it


def pin_root(
    root: Path,
    fingerprint: str,
    *,
    store: TrustStore,
    journal: Journal,
    now: datetime,
    replacing: Replacement | None = None,
) -> dict[str, object]:
    """Pin the root in file ``root`` if it has ``fingerprint``, and journal that it was done.

    On an empty store the root is pinned; the floor is what the journal remembers of that root. On a store
    that trusts it already nothing changes. Everything else needs ``replacing``.

    Raises:
        UsageError: ``root-missing``, ``fingerprint-malformed``, ``nothing-to-replace``, ``sequence-not-lower``, 2.
        TrustError: ``fingerprint-differs``, ``already-pinned``, ``replaced-root-differs``, ``trust-store-corrupt``,
            ``trust-store-rolled-back``, ``journal-rolled-back``, 24; ``older-than-installed``, 22; the root is no root.
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
    entries = journal.replay()
    typed = verify_typed_root(content, fingerprint)
    memory = remembered(entries, typed.product)
    if replacing is not None:
        pinned, was = _replace(typed, replacing, store, entries=entries, memory=memory)
        _append(journal, REPLACED, {**_facts(pinned), **_changes(was, pinned)}, now)
        return shown_pin(pinned)
    pinned, made = _pin(typed, store, entries=entries, memory=memory)
    if made or memory is None:
        # Also where the power failed between store and journal, and a person types it again.
        _append(journal, PINNED, {**_facts(pinned), "again": memory is not None}, now)
    return shown_pin(pinned)


def _pin(
    typed: TypedRoot, store: TrustStore, *, entries: Sequence[Entry], memory: Remembered | None
) -> tuple[Pinned, bool]:
    """Return the pin, and whether it was made just now."""
    known = store.find(typed.product)
    trusted = known or memory
    if trusted is not None and typed.fingerprint not in (trusted.first_fingerprint, trusted.fingerprint):
        # Also where the store was wiped: a wiped store is no way to another root without a word.
        raise already_pinned(typed.product, trusted.first_fingerprint, typed.fingerprint)
    if known is not None:
        require_store_current(known, entries)
        return known, False
    pinned = _again(typed, None, memory, entries=entries)
    store.put(pinned)
    return pinned, True


def _replace(
    typed: TypedRoot,
    replacing: Replacement,
    store: TrustStore,
    *,
    entries: Sequence[Entry],
    memory: Remembered | None,
) -> tuple[Pinned, Pinned | Remembered]:
    """Return the new pin, stored, and what was trusted before it."""
    old = parse_fingerprint(replacing.fingerprint)
    try:
        known, damaged = store.find(typed.product), False
    except TrustError as error:
        if error.reference != "trust-store-corrupt":
            raise
        known, damaged = None, True
    trusted = known or memory
    _require_replaceable(trusted, old, typed.product)
    names = {name for one in (known, memory) if one for name in (one.first_fingerprint, one.fingerprint)}
    if trusted is None:  # said by the line above; for the type checker
        raise ValueError("nothing is trusted")
    if typed.fingerprint in names:
        pinned = _again(typed, known, memory, entries=entries)
    else:
        pinned = typed.pinned(_floor_for_another(typed, known, memory, replacing.sequence), anchor=anchor_of(entries))
    if damaged:
        store.set_aside(typed.product)
    store.put(pinned)
    return pinned, trusted


def _require_replaceable(trusted: Pinned | Remembered | None, old: str, product: str) -> None:
    if trusted is None:
        raise UsageError(
            "nothing-to-replace",
            f"product {product}: neither trust store nor journal know a root of it, expected {old}",
            hint="On a first visit, leave --replace out. If the store is damaged and the journal lost, move the "
            "damaged file away first: then it is a first visit.",
            facts={"product": product},
        )
    if old not in (trusted.first_fingerprint, trusted.fingerprint):
        raise TrustError(
            "replaced-root-differs",
            f"--replace {old}: product {product} trusts {trusted.first_fingerprint}, expected that fingerprint",
            hint="Compare both fingerprints with your papers; teraferry-installer trust show says what is pinned.",
            exit_status=24,
            facts={"product": product, "pinned": trusted.first_fingerprint, "found": old},
        )


def _again(typed: TypedRoot, known: Pinned | None, memory: Remembered | None, *, entries: Sequence[Entry]) -> Pinned:
    """Return a pin of the root that was trusted already, with everything that store and journal remember."""
    floor = _highest(known, memory)
    made = typed.pinned(replace(floor, root_version=typed.version), anchor=anchor_of(entries))
    first = next((one.first_fingerprint for one in (known, memory) if one is not None), typed.fingerprint)
    made = replace(made, first_fingerprint=first)
    if known is not None:
        made = replace(made, expires=known.expires)
        if known.floor.root_version >= typed.version:
            made = replace(made, root=known.root, fingerprint=known.fingerprint)
            made = replace(made, floor=replace(made.floor, root_version=known.floor.root_version))
    if made.floor.root_version < floor.root_version:
        # Its keys may have been revoked since: they would count again.
        raise TrustError(
            "older-than-installed",
            f"root {made.floor.root_version}: older than root {floor.root_version}, which this site trusted, "
            "expected that one or a newer",
            hint=f"Pin metadata/{floor.root_version}.root.json of the newest kit, with its fingerprint from paper: "
            "the release's owner prints it with teraferry trust show.",
            exit_status=22,
            facts={"what": "root", "found": made.floor.root_version, "expected": floor.root_version},
        )
    return made


def _highest(known: Pinned | None, memory: Remembered | None) -> Floor:
    floors = [one.floor for one in (known, memory) if one is not None]
    numbers = {name: max((getattr(floor, name) for floor in floors), default=getattr(Floor(), name)) for name in _KEPT}
    built_at = max((floor.built_at for floor in floors), default=Floor().built_at)
    return Floor(**numbers, built_at=built_at)


def _floor_for_another(
    typed: TypedRoot, known: Pinned | None, memory: Remembered | None, sequence: int | None
) -> Floor:
    floor = _highest(known, memory)
    if sequence is not None and sequence > floor.sequence:
        raise UsageError(
            "sequence-not-lower",
            f"--sequence {sequence}: above {floor.sequence}, which this site accepted, expected at most that",
            hint="Leave --sequence out: then the floor stays where it is.",
        )
    return Floor(
        root_version=typed.version,
        sequence=floor.sequence if sequence is None else sequence,
        newest_signed_at=floor.newest_signed_at,
        built_at=floor.built_at,
    )


def _facts(pinned: Pinned) -> dict[str, object]:
    return {**facts_of(pinned), "version": pinned.floor.root_version}


def _changes(was: Pinned | Remembered, pinned: Pinned) -> dict[str, object]:
    return {"replaced": was.first_fingerprint, "given_up": _given_up(was.floor, pinned.floor)}


def _append(journal: Journal, event: str, facts: Mapping[str, object], now: datetime) -> None:
    journal.append(time_utc=now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), run="", event=event, facts=facts)


def _given_up(before: Floor, after: Floor) -> dict[str, int]:
    numbers = (name for name in _KEPT if name not in ("newest_signed_at", "root_version"))
    return {name: getattr(before, name) for name in numbers if getattr(after, name) < getattr(before, name)}
