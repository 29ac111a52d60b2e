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

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from teraferry.builder.describe import BuiltBundle, describe_bundle
from teraferry.builder.kit import Kit
from teraferry.builder.signed_kit import (
    compose_bundle,
    compose_checksums,
    compose_targets,
    kit_changed,
    names_that_differ,
    whole_seconds,
)
from teraferry.builder.start_page import render_start_page
from teraferry.bundles import layout
from teraferry.bundles.errors import BuildError
from teraferry.bundles.index import SignedBundle
from teraferry.bundles.limits import MAX_METADATA_BYTES
from teraferry.bundles.progress import Progress
from teraferry.bundles.system.durable import write_durably
from teraferry.keys.ceremony import require_production
from teraferry.keys.evidence import encode_evidence
from teraferry.keys.metadata import read_capped, read_metadata
from teraferry.keys.release_facts import read_bundle
from teraferry.keys.signers import KeyRing, KeySigner
from teraferry.keys.threshold import distinct_signers
from teraferry.keys.trust import verify_pinned_root, verify_release
from teraferry.keys.trust_folder import TrustFolder
from teraferry.keys.trusted import Floor, Notice
from teraferry.keys.tuf_metadata import T, is_signed_by, materials_of, parse_metadata, product_of, signed_bytes


@dataclass(frozen=True, slots=True)
class SigningOutcome:
    """What one run of ``sign`` did and what is still missing."""

    signed: tuple[str, ...]  # ids of the keys that this run signed with
    missing: Mapping[str, Mapping[str, int]]  # by role: have, need; empty once the kit is whole
    product: str
    version: str
    sequence: int
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True)
class SigningRoom:
    """The trust folder and the machine's rim, for one run of ``sign``."""

    folder: TrustFolder
    ring: KeyRing
    progress: Progress
    now: datetime


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
            or why a key could not sign, 31.
        BundleError: The kit is incomplete or bad, 10 or 11.
    """
    with room.folder.locked():
        root = room.folder.load_root()
        signers = [_open(room, uri, root.signed, role="targets") for uri in keys]
        desk = None if desk_key is None else _open(room, desk_key, root.signed, role="timestamp")
        targets, notices = _load_or_compose(kit, room, root)
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
            _read_back(kit, room)
        return SigningOutcome(
            signed=tuple(signer.key.keyid for signer in signers),
            missing=missing,
            product=bundle.product,
            version=bundle.version,
            sequence=bundle.sequence,
            notices=notices,
        )


def _load_or_compose(kit: Kit, room: SigningRoom, root: Metadata[Root]) -> tuple[Metadata[Targets], tuple[Notice, ...]]:
    """Return the targets to sign: those on the kit if they still describe it, else new ones."""
    built = describe_bundle(kit.bundle, progress=room.progress)
    release = built.manifest.release
    if release.product != product_of(root.signed):
        raise BuildError(
            "product-differs",
            f"kit {kit.folder}: product {release.product}, expected {product_of(root.signed)}, the trust folder's",
            hint="Give --trust the trust folder of this product; one folder is one product.",
            exit_status=31,
            facts={"found": release.product, "expected": product_of(root.signed)},
        )
    if kit.bundle.name != layout.bundle_name(release.product, release.version):
        raise kit_changed(str(kit.folder), [kit.bundle.name])
    content = read_capped(kit.folder / layout.METADATA_DIR / layout.TARGETS, limit_bytes=MAX_METADATA_BYTES)
    if content is not None:
        targets = parse_metadata(Targets, content, what=layout.TARGETS)
        _require_unchanged(kit, room, built, targets=targets, root=root.signed)
        return targets, ()
    return _compose_first(kit, room, built)


def _compose_first(kit: Kit, room: SigningRoom, built: BuiltBundle) -> tuple[Metadata[Targets], tuple[Notice, ...]]:
    room.progress.start("digest", detail=layout.INSTALLER)
    installer = kit.measure(layout.INSTALLER, room.progress)
    release = built.manifest.release
    numbers = room.folder.number(release.version)
    roots = room.folder.load_roots()
    page = render_start_page(
        product=release.product,
        version=release.version,
        roots=[verify_pinned_root(content) for content in roots.values()],
    )
    write_durably(kit.folder / layout.START_PAGE, page)
    (kit.folder / layout.METADATA_DIR / layout.EVIDENCE_DIR).mkdir(parents=True, exist_ok=True)
    for version, content in roots.items():
        write_durably(kit.folder / layout.METADATA_DIR / layout.root_name(version), content)
    bundle = compose_bundle(built, sequence=numbers.sequence, signed_at=room.now)
    files = {layout.START_PAGE: kit.measure(layout.START_PAGE, room.progress), layout.INSTALLER: installer}
    write_durably(kit.folder / layout.CHECKSUMS, compose_checksums(files, bundle))
    days = room.folder.load_state().expires_days["targets"]
    targets = compose_targets(files, bundle, version=numbers.metadata_version, expires=room.now + timedelta(days=days))
    return Metadata(targets), _notices_of_order(release.version, numbers.newer_release)


def _require_unchanged(
    kit: Kit, room: SigningRoom, built: BuiltBundle, *, targets: Metadata[Targets], root: Root
) -> None:
    """Refuse to add a signature to something else than the people before signed."""
    signed = read_bundle(targets.signed)
    sequence = room.folder.load_state().sequences.get(signed.version)
    if sequence != signed.sequence:
        raise BuildError(
            "kit-of-another-trust-folder",
            f"kit {kit.folder}: sequence {signed.sequence}, expected {sequence}, as the trust folder numbered it",
            hint="Give --trust the folder that the first signer used, or a copy of it as new as the kit.",
            exit_status=31,
            facts={"found": signed.sequence, "expected": sequence},
        )
    bundle = compose_bundle(built, sequence=signed.sequence, signed_at=signed.signed_at)
    room.progress.start("digest", detail=layout.INSTALLER)
    files = {name: kit.measure(name, room.progress) for name in (layout.START_PAGE, layout.INSTALLER)}
    now = compose_targets(files, bundle, version=targets.signed.version, expires=targets.signed.expires)
    if now.to_dict() != targets.signed.to_dict():
        raise kit_changed(str(kit.folder), names_that_differ(now, targets.signed))
    if kit.checksums() != compose_checksums(files, bundle):
        raise kit_changed(str(kit.folder), [layout.CHECKSUMS])
    for key_id in root.roles["targets"].keyids:
        if key_id in targets.signatures and not is_signed_by(root.keys[key_id], targets):
            raise kit_changed(str(kit.folder), [layout.TARGETS])


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
    _write_metadata(kit, layout.TARGETS, targets)


def _close(kit: Kit, room: SigningRoom, targets: Metadata[Targets], desk: KeySigner) -> None:
    """Sign snapshot and timestamp, of the targets' own version.

    So kits are ordered by their first signing: whichever is closed first, a site that goes from
    one to the next never sees a version fall.
    """
    version = targets.signed.version
    days = room.folder.load_state().expires_days
    snapshot = Metadata(
        Snapshot(
            version=version,
            expires=whole_seconds(room.now + timedelta(days=days["snapshot"])),
            meta={layout.TARGETS: MetaFile(version)},
        )
    )
    timestamp = Metadata(
        Timestamp(
            version=version,
            expires=whole_seconds(room.now + timedelta(days=days["timestamp"])),
            snapshot_meta=MetaFile(version),
        )
    )
    snapshot.signatures[desk.key.keyid] = desk.sign_metadata(signed_bytes(snapshot))
    timestamp.signatures[desk.key.keyid] = desk.sign_metadata(signed_bytes(timestamp))
    _write_metadata(kit, layout.SNAPSHOT, snapshot)
    _write_metadata(kit, layout.TIMESTAMP, timestamp)


def _read_back(kit: Kit, room: SigningRoom) -> None:
    """Judge the whole kit as a site that pinned root 1 will: here a mistake costs minutes, there a journey."""
    roots = room.folder.load_roots()
    files = read_metadata(kit.folder, after_root=1)
    verify_release(files, trusted_root=roots[1], floor=Floor(), now=room.now)


def _open(room: SigningRoom, uri: str, root: Root, *, role: str) -> KeySigner:
    signer = room.ring.open(uri)
    if room.folder.load_state().production:
        require_production(signer)
    if signer.key.keyid not in root.roles[role].keyids:
        raise BuildError(
            "key-not-in-role",
            f"{signer.name}: key {signer.key.keyid[:8]} is none of the {role} keys of root {root.version}, "
            "expected one of them",
            hint="See who may sign with: teraferry trust show DIR",
            exit_status=31,
            facts={"key_id": signer.key.keyid, "role": role},
        )
    return signer


def _have(root: Root, targets: Metadata[Targets]) -> int:
    signed = [key_id for key_id in root.roles["targets"].keyids if is_signed_by(root.keys[key_id], targets)]
    return len(distinct_signers(materials_of(root, "targets"), signed))


def _missing(kit: Kit, root: Root, have: int) -> dict[str, dict[str, int]]:
    missing = {}
    need = root.roles["targets"].threshold
    if have < need:
        missing["targets"] = {"have": have, "need": need}
    for role, name in (("snapshot", layout.SNAPSHOT), ("timestamp", layout.TIMESTAMP)):
        if not (kit.folder / layout.METADATA_DIR / name).is_file():
            missing[role] = {"have": 0, "need": root.roles[role].threshold}
    return missing


def _notices_of_order(version: str, newer: str | None) -> tuple[Notice, ...]:
    if newer is None:
        return ()
    text = (
        f"{version} was numbered before {newer}. A site that installs this new signing of {version} accepts {newer} "
        f"only from a kit that is signed or renewed after it."
    )
    return (Notice("older-release-signed-again", text),)


def _write_metadata(kit: Kit, name: str, metadata: Metadata[T]) -> None:
    write_durably(kit.folder / layout.METADATA_DIR / name, metadata.to_bytes())
