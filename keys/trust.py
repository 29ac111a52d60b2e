"""Decide whether a kit's metadata may be trusted, and say what it then means. Offline and pure.

The ground is one root that reached the site apart from the medium and was pinned there. A root
that lies on the medium is believed only as the next link of a chain that starts at that one.
Nothing here opens a file or asks for the time: bytes, floor and ``now`` are arguments.

Source: TUF specification 1.0, section 5; the numbers in brackets are its clauses. Stricter than
the specification: equal key material counts once, JSON has one reading, only the offered kinds
of keys count, delegations are refused, and a site's floor also holds sequence and dates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import Metadata, Root, Signed, Snapshot, Targets, Timestamp

from teraferry.bundles.errors import TrustError
from teraferry.bundles.index import SignedBundle
from teraferry.bundles.layout import SNAPSHOT, TARGETS
from teraferry.keys.release.facts import read_bundle, read_targets
from teraferry.keys.roots.chain import disagrees, follow_roots
from teraferry.keys.threshold import threshold_not_met
from teraferry.keys.trusted import Floor, MetadataFiles, Notice, TrustedRelease
from teraferry.keys.tuf_metadata import (
    T,
    fingerprint_of,
    materials_of,
    parse_metadata,
    product_of,
    require_signed,
)

CLOCK_TOLERANCE: Final = timedelta(days=1)
"""How far a signed date may be ahead of the clock without a word: time zones set wrongly by hand."""

_HINT_NEWER_KIT: Final = "Use the newest kit of this product. This site never goes back to an older release this way."
_HINT_RENEWED_COPY: Final = "Use the renewed copy of this kit; this site has already accepted it."


def verify_release(files: MetadataFiles, *, trusted_root: bytes, floor: Floor, now: datetime) -> TrustedRelease:
    """Return what the release signatures say, or refuse.

    The caller has (0) read the files with caps, and taken ``trusted_root`` and ``floor`` from the
    site's store and never from the medium. Then:

    (1) The pinned root is taken as it is; it is not older than the newest root this site used.
    (2) Each next root on the medium is signed by the threshold of the one before it and by its
        own, is numbered one higher and speaks of the same product [5.3].
    (3) targets, snapshot and timestamp are signed by the threshold of their role in the last
        root [5.4.2, 5.5.3, 5.6.3]; a file that is missing is signed by nobody.
    (4) timestamp names this snapshot, and snapshot these targets [5.5.2, 5.5.4, 5.6.2, 5.6.4].
    (5) targets describe exactly one bundle, and it is of the pinned product.
    (6) No version, and not the sequence, is below the floor [5.4.3, 5.5.5].
    (7) Nothing is expired at the latest of clock, newest accepted signed date and build
        date [5.3.10, 5.4.4, 5.5.6, 5.6.5].
    (8) The answer carries the floor to store; the caller stores it when it accepts the release,
        and checks the bundle's bytes against the answer.

    Args:
        files: The unverified bytes of the kit's metadata.
        trusted_root: Bytes of the root this site pinned.
        floor: Highest versions this site accepted, and the dates its clock cannot be behind.
        now: System clock, aware, UTC. It may lie.

    Raises:
        TrustError: 20 ``threshold-not-met``, ``signature-invalid``; 21 ``metadata-expired``;
            22 ``older-than-installed``; 23 ``signature-undecided``; 24 ``metadata-unreadable``, ``metadata-disagrees``,
            ``root-chain-broken``, ``product-differs``, ``bundle-not-described``.
    """
    # (1)
    pinned = parse_metadata(Root, trusted_root, what="pinned root")
    product = product_of(pinned.signed)
    if pinned.signed.version < floor.root_version:
        raise _older("root", pinned.signed.version, floor.root_version, hint=_HINT_NEWER_KIT)
    # (2)
    root, root_bytes = follow_roots(files.roots, pinned, trusted_root)
    _require_plain_names(root.signed)
    # (3)
    targets, signers = _require_role(Targets, files.targets, root.signed)
    snapshot, _ = _require_role(Snapshot, files.snapshot, root.signed)
    timestamp, _ = _require_role(Timestamp, files.timestamp, root.signed)
    # (4)
    _require_agreement(files, timestamp.signed, snapshot.signed, targets.signed)
    # (5)
    bundle = read_bundle(targets.signed)
    _require_product(bundle, product)
    # (6)
    floor = _without_rotated_desk_keys(floor, pinned.signed, root.signed)
    _require_floor(floor, bundle, (targets.signed, snapshot.signed, timestamp.signed))
    # (7)
    effective_now = max(now, floor.newest_signed_at, floor.built_at)
    documents = (root.signed, timestamp.signed, snapshot.signed, targets.signed)
    for document in documents:
        _require_unexpired(document, effective_now)
    # (8)
    versions = {document.type: document.version for document in documents}
    return TrustedRelease(
        bundle=bundle,
        targets=read_targets(targets.signed),
        signers=tuple(signers),
        root=root_bytes,
        root_version=root.signed.version,
        fingerprint=fingerprint_of(root),
        versions=versions,
        expires={document.type: document.expires for document in documents},
        floor=_raised(floor, bundle, versions, effective_now),
        notices=_notices(now, effective_now, bundle.signed_at),
    )


def verify_pinned_root(root_bytes: bytes) -> Metadata[Root]:
    """Return a root that is about to be pinned: whole, ours, and signed by its own threshold.

    Who it belongs to is not decided here: that is what the fingerprint is for.

    Raises:
        TrustError: ``threshold-not-met``, 20; ``signature-undecided``, 23; ``metadata-unreadable``, 24.
    """
    root = parse_metadata(Root, root_bytes, what="root")
    product_of(root.signed)
    require_signed(root.signed, "root", root)
    return root


def verify_roots(contents: Sequence[bytes]) -> list[Metadata[Root]]:
    """Return every root of a chain, the first one first; who that one belongs to is not decided here.

    Raises:
        TrustError: See ``verify_pinned_root`` and ``follow_roots``.
    """
    roots = [verify_pinned_root(contents[0])]
    for before, content in pairwise(contents):
        roots.append(follow_roots({roots[-1].signed.version + 1: content}, roots[-1], before)[0])
    return roots


def _require_role(kind: type[T], content: bytes | None, root: Root) -> tuple[Metadata[T], list[str]]:
    role = kind.type
    if content is None:
        # What is not there is signed by nobody, and the refusal says how many signatures are wanted.
        raise threshold_not_met(materials_of(root, role), {})
    metadata = parse_metadata(kind, content, what=f"{role}.json")
    return metadata, require_signed(root, role, metadata)


def _require_plain_names(root: Root) -> None:
    """Refuse a root that sends clients to files named by version or digest: a kit has none, and others have one name.

    Source: TUF specification 1.0, 6.2.
    """
    if root.consistent_snapshot:
        raise disagrees(f"{root.version}.root.json", "consistent snapshots", "none")


def _require_agreement(files: MetadataFiles, timestamp: Timestamp, snapshot: Snapshot, targets: Targets) -> None:
    listed = snapshot.meta.get(TARGETS)
    if listed is None or len(snapshot.meta) > 1:
        # Of other entries a client must remember the versions; delegations are refused, so we list none.
        raise disagrees(SNAPSHOT, f"entries for {', '.join(sorted(snapshot.meta))[:200] or 'nothing'}", TARGETS)
    for name, entry, version, content in (
        (SNAPSHOT, timestamp.snapshot_meta, snapshot.version, files.snapshot),
        (TARGETS, listed, targets.version, files.targets),
    ):
        if version != entry.version:
            raise disagrees(name, f"version {version}", f"the signed version {entry.version}")
        try:
            # We sign versions only, but a length or digest that is signed holds too.
            entry.verify_length_and_hashes(content or b"")
        except LengthOrHashMismatchError as error:
            raise disagrees(name, str(error), "the signed length and digest") from error


def _require_product(bundle: SignedBundle, product: str) -> None:
    if bundle.product != product:
        raise TrustError(
            "product-differs",
            f"bundle {bundle.name}: product {bundle.product}, expected {product}, the product of the pinned root",
            hint=f"Bring the kit of {product}, or pin the root of {bundle.product} first.",
            exit_status=24,
            facts={"found": bundle.product, "expected": product},
        )


def _without_rotated_desk_keys(floor: Floor, pinned: Root, last: Root) -> Floor:
    """Return the floor, without versions that only keys since revoked vouched for.

    A stolen desk key can sign a version so high that no later kit reaches it; taking the key away
    must heal that. A key that joins takes nothing away, so old kits stay old. Sequence and targets
    versions are the release keys' word and stay.

    Source: TUF specification 1.0, 5.3.11.
    """
    for role in (Timestamp.type, Snapshot.type):
        before, after = (set(materials_of(root, role).materials.values()) for root in (pinned, last))
        if before - after:
            return replace(floor, timestamp_version=0, snapshot_version=0)
    return floor


def _require_floor(floor: Floor, bundle: SignedBundle, documents: tuple[Targets, Snapshot, Timestamp]) -> None:
    if bundle.sequence < floor.sequence:
        raise _older("sequence", bundle.sequence, floor.sequence, hint=_HINT_NEWER_KIT)
    hint = _HINT_RENEWED_COPY if bundle.sequence == floor.sequence else _HINT_NEWER_KIT
    lowest = (floor.targets_version, floor.snapshot_version, floor.timestamp_version)
    for document, version in zip(documents, lowest, strict=True):
        if document.version < version:
            raise _older(document.type, document.version, version, hint=hint)


def _require_unexpired(document: Signed, effective_now: datetime) -> None:
    if effective_now >= document.expires:
        raise TrustError(
            "metadata-expired",
            f"metadata {document.type}: expired {_stamp(document.expires)}, expected later than "
            f"{_stamp(effective_now)}",
            hint="Check this machine's clock first (type: date -u). If it is right, ask the release's owner for a "
            "renewed copy of this kit.",
            exit_status=21,
            facts={"role": document.type, "expires": _stamp(document.expires), "now": _stamp(effective_now)},
        )


def _raised(floor: Floor, bundle: SignedBundle, versions: Mapping[str, int], effective_now: datetime) -> Floor:
    return replace(
        floor,
        root_version=versions[Root.type],
        timestamp_version=versions[Timestamp.type],
        snapshot_version=versions[Snapshot.type],
        targets_version=versions[Targets.type],
        sequence=bundle.sequence,
        # A wrong date far ahead would make every later release look expired.
        newest_signed_at=floor.newest_signed_at
        if _is_ahead(bundle.signed_at, effective_now)
        else max(floor.newest_signed_at, bundle.signed_at),
    )


def _is_ahead(signed_at: datetime, effective_now: datetime) -> bool:
    return signed_at > effective_now + CLOCK_TOLERANCE


def _notices(now: datetime, effective_now: datetime, signed_at: datetime) -> tuple[Notice, ...]:
    notices = []
    if now < effective_now:
        text = (
            f"This machine's clock says {_stamp(now)}, which is before {_stamp(effective_now)}, a date already "
            "proven to be past. The later one is used. Set the clock."
        )
        notices.append(Notice("clock-behind", text))
    if _is_ahead(signed_at, effective_now):
        text = (
            f"This release says it was signed on {_stamp(signed_at)}, but it is {_stamp(effective_now)} here. "
            "Set the clock, or tell the release's owner; the date is not remembered."
        )
        notices.append(Notice("signed-in-the-future", text))
    return tuple(notices)


def _older(what: str, found: int, lowest: int, *, hint: str) -> TrustError:
    return TrustError(
        "older-than-installed",
        f"{what} of this kit: {found}, expected at least {lowest}, which this site accepted before",
        hint=hint,
        exit_status=22,
        facts={"what": what, "found": found, "expected": lowest},
    )


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
