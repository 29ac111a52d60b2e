"""Sign a kit: each person's key adds a signature, and the release desk closes it.

The first signer's run writes what is signed (page, ``SHA256SUMS``, targets); every later one
only checks that the kit is still that, byte for byte, and adds to it. Snapshot and timestamp
come last: once they are there, enough release keys have signed.

The trust folder's numbers are taken durably before a file bears them, and every file is
replaced whole, so that a crash at any point leaves a kit that can be signed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tuf.api.metadata import Metadata, Root, Targets

from teraferry.builder.kit import Kit
from teraferry.builder.sign_closing import compose_closing, load_closing, read_back, sign_closing, store_closing
from teraferry.builder.sign_targets import load_or_compose
from teraferry.builder.signing_room import SigningRoom, write_metadata
from teraferry.bundles import layout
from teraferry.bundles.index import SignedBundle
from teraferry.bundles.system.durable import write_durably
from teraferry.keys.evidence import encode_evidence
from teraferry.keys.release_facts import read_bundle
from teraferry.keys.signers import KeySigner
from teraferry.keys.threshold import distinct_signers
from teraferry.keys.trusted import Notice
from teraferry.keys.tuf_metadata import is_signed_by, materials_of, signed_bytes


@dataclass(frozen=True, slots=True)
class SigningOutcome:
    """What one run of ``sign`` did and what is still missing."""

    signed: tuple[str, ...]  # ids of the keys that this run signed with
    missing: Mapping[str, Mapping[str, int]]  # by role: have, need; empty once the kit is whole
    product: str
    version: str
    sequence: int
    notices: tuple[Notice, ...]


def sign_kit(kit: Kit, room: SigningRoom, *, keys: Sequence[str], desk_key: str | None) -> SigningOutcome:
    """Add the signatures of ``keys`` to ``kit``; with enough of them, let ``desk_key`` close it.

    Args:
        kit: What ``build`` wrote, signed by others already or not.
        room: Where signatures come from.
        keys: URIs of release keys.
        desk_key: URI of the desk key, or None.

    Raises:
        UsageError: 2; see ``TrustFolder`` and ``parse_key_uri``.
        BuildError: ``kit-changed``, ``product-differs``, ``key-not-in-role``, ``kit-of-another-trust-folder``,
            ``kit-of-older-root``, or why a key could not sign, 31.
        BundleError: The kit is incomplete or bad, 10 or 11.
    """
    with room.folder.locked():
        root = room.folder.load_root()
        signers = [room.open_key(uri, root.signed, role="targets") for uri in keys]
        desk = None if desk_key is None else room.open_key(desk_key, root.signed, role="timestamp")
        targets, notices = load_or_compose(kit, room, root)
        room.publish_roots(kit)
        bundle = read_bundle(targets.signed)
        for signer in signers:
            _add_signature(kit, signer, targets, bundle=bundle, now=room.now)
        have = _have(root.signed, targets)
        if desk is not None and have < root.signed.roles["targets"].threshold:
            notices = (*notices, Notice("desk-key-waits", "The desk key signs once enough release keys have signed."))
        elif desk is not None and _missing(kit, root.signed, have):
            _close(kit, room, targets, desk)
            signers.append(desk)
        missing = _missing(kit, root.signed, have)
        if not missing:
            read_back(kit, room)
        return SigningOutcome(
            signed=tuple(signer.key.keyid for signer in signers),
            missing=missing,
            product=bundle.product,
            version=bundle.version,
            sequence=bundle.sequence,
            notices=notices,
        )


def _add_signature(
    kit: Kit, signer: KeySigner, targets: Metadata[Targets], *, bundle: SignedBundle, now: datetime
) -> None:
    # Targets last: a signature in them promises that its file over SHA256SUMS is there too.
    key_id = signer.key.keyid
    checksums = kit.checksums() or b""
    write_durably(kit.folder / layout.signature_name(key_id), signer.sign_sha256(checksums))
    evidence = kit.folder / layout.METADATA_DIR / layout.EVIDENCE_DIR / f"{key_id[:8]}.json"
    write_durably(evidence, encode_evidence(signer, bundle, now=now))
    targets.signatures[key_id] = signer.sign_metadata(signed_bytes(targets))
    write_metadata(kit, layout.TARGETS, targets)


def _close(kit: Kit, room: SigningRoom, targets: Metadata[Targets], desk: KeySigner) -> None:
    """Sign snapshot and timestamp, of the targets' own version.

    So kits are ordered by their first signing: whichever is closed first, a site that goes from
    one to the next never sees a version fall.
    """
    days = room.folder.load_state().expires_days
    closing = compose_closing(
        targets.signed,
        version=targets.signed.version,
        snapshot_expires=room.now + timedelta(days=days["snapshot"]),
        timestamp_expires=room.now + timedelta(days=days["timestamp"]),
    )
    sign_closing(closing, desk)
    store_closing(kit, closing)


def _have(root: Root, targets: Metadata[Targets]) -> int:
    signed = [key_id for key_id in root.roles["targets"].keyids if is_signed_by(root.keys[key_id], targets)]
    return len(distinct_signers(materials_of(root, "targets"), signed))


def _missing(kit: Kit, root: Root, have: int) -> dict[str, dict[str, int]]:
    missing = {}
    need = root.roles["targets"].threshold
    if have < need:
        missing["targets"] = {"have": have, "need": need}
    closing = load_closing(kit)
    if closing is None or not closing.is_signed(root):
        for role in ("snapshot", "timestamp"):
            missing[role] = {"have": 0, "need": root.roles[role].threshold}
    return missing
