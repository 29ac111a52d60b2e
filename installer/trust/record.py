"""The trust store and the journal, each held against the other. Pure.

The store says what a site trusts and the journal says how that came about. Whoever puts one of them
back to an older day, or loses it, is told by the other: the store may not be below what the journal
says was accepted, and the journal must still hold the entries that were there when the store was
written. Both put back together, as by the snapshot of a virtual machine, cannot be seen from here.

The store is written first and the journal after it, so a power cut in between leaves the store ahead,
which is no fault; the next acceptance of the same release writes the missing entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import OperatorNeededError, TrustError
from teraferry.installer.ports import Entry
from teraferry.installer.rollout.journal import encode_entry, head_of
from teraferry.keys.trust_file import Anchor, Pinned
from teraferry.keys.trusted import EPOCH, Floor, TrustedRelease

PINNED: Final = "root-pinned"
REPLACED: Final = "root-replaced"
ACCEPTED: Final = "release-accepted"

_NUMBERS: Final = ("root_version", "timestamp_version", "snapshot_version", "targets_version", "sequence")
_DATE: Final = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the newest entry of the journal says of one product's trust."""

    product: str
    first_fingerprint: str
    fingerprint: str
    floor: Floor


def facts_of(pinned: Pinned) -> dict[str, object]:
    """Return what an entry says of a pin, enough to work it out again."""
    numbers = {name: getattr(pinned.floor, name) for name in _NUMBERS}
    return {
        "product": pinned.product,
        "fingerprint": pinned.fingerprint,
        "first_fingerprint": pinned.first_fingerprint,
        "newest_signed_at": pinned.floor.newest_signed_at.astimezone(UTC).strftime(_DATE),
        **numbers,
    }


def remembered(entries: Sequence[Entry], product: str) -> Remembered | None:
    """Return what the journal knows of the trust in ``product``; None when it never heard of it.

    Raises:
        OperatorNeededError: ``journal-corrupt``, 62: an entry of ours that does not say what ours say.
    """
    for entry in reversed(entries):
        if entry.event in (PINNED, REPLACED, ACCEPTED) and entry.facts.get("product") == product:
            return _remembered(entry)
    return None


def remembered_products(entries: Sequence[Entry]) -> list[str]:
    """Return every product that the journal says was pinned here."""
    return sorted({str(entry.facts.get("product")) for entry in entries if entry.event in (PINNED, REPLACED)})


def anchor_of(entries: Sequence[Entry]) -> Anchor:
    """Return how far the journal has come."""
    return Anchor(len(entries), head_of(entries))


def require_store_current(pinned: Pinned, entries: Sequence[Entry]) -> None:
    """Refuse a store or a journal that is older than the other one knows.

    Raises:
        TrustError: ``journal-rolled-back`` or ``trust-store-rolled-back``, 24.
    """
    anchor = pinned.anchor
    newest = entries[anchor.entries - 1 : anchor.entries]
    if anchor.entries and (not newest or digest_of(encode_entry(newest[0])) != anchor.head):
        raise _rolled_back(
            "journal-rolled-back",
            f"journal: {len(entries)} entries, expected the {anchor.entries} that were there when this site last "
            f"accepted a release of {pinned.product}",
            "journal",
            pinned,
        )
    memory = remembered(entries, pinned.product)
    if memory is not None and _is_behind(pinned, memory):
        raise _rolled_back(
            "trust-store-rolled-back",
            f"trust store of {pinned.product}: root {pinned.floor.root_version} and sequence {pinned.floor.sequence}, "
            f"expected root {memory.floor.root_version} and sequence {memory.floor.sequence} of "
            f"{memory.first_fingerprint[:8]}, as the journal says were accepted",
            "trust store",
            pinned,
        )


def _is_behind(pinned: Pinned, memory: Remembered) -> bool:
    if pinned.first_fingerprint != memory.first_fingerprint:
        return True
    # A newer root may have started the desk's versions anew: see keys.trust, TUF 5.3.11.
    is_newer_root = pinned.floor.root_version > memory.floor.root_version
    names = ("targets_version", "sequence") if is_newer_root else _NUMBERS
    return any(getattr(pinned.floor, name) < getattr(memory.floor, name) for name in names)


def _rolled_back(reference: str, message: str, what: str, pinned: Pinned) -> TrustError:
    return TrustError(
        reference,
        message,
        hint=f"Somebody put the {what} back to an older day, or it was lost. Restore the newest copy. If there is "
        "none, pin the root anew, with the fingerprint from your paper: teraferry-installer trust pin ROOT "
        f"--fingerprint HEX --replace {pinned.first_fingerprint}",
        exit_status=24,
        facts={"product": pinned.product, "fingerprint": pinned.first_fingerprint},
    )


def _remembered(entry: Entry) -> Remembered:
    facts: Mapping[str, object] = entry.facts
    try:
        fingerprint = str(facts["fingerprint"])
        numbers = {name: _number(facts[name]) for name in _NUMBERS}
        signed_at = datetime.strptime(str(facts["newest_signed_at"]), _DATE).replace(tzinfo=UTC)
        return Remembered(
            str(facts["product"]),
            str(facts["first_fingerprint"]),
            fingerprint,
            Floor(**numbers, newest_signed_at=signed_at, built_at=EPOCH),
        )
    except (KeyError, ValueError) as error:
        raise OperatorNeededError(
            "journal-corrupt",
            f"journal line {entry.sequence}: {entry.event} without {error}, expected what this site trusts",
            hint="Keep the file as evidence and call your support; nothing is rolled out on a broken journal.",
            exit_status=62,
            facts={"line": entry.sequence},
        ) from error


def _number(found: object) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise ValueError(f"{found!r} where a version belongs")
    return found


def release_facts(release: TrustedRelease) -> Mapping[str, object]:
    """Return what the journal says of a release that was accepted: what it is, and who signed it."""
    signed = release.bundle
    return {
        "bundle": signed.digest,
        "product": signed.product,
        "version": signed.version,
        "sequence": signed.sequence,
        "signers": list(release.signers),
        "openpgp": release.openpgp,
    }
