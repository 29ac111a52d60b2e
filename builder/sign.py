"""Sign a kit: each person's key adds a signature, and the release desk closes it.

The first signer's run writes what is signed (page, ``SHA256SUMS``, targets); every later one
only checks that the kit is still that, byte for byte, and adds to it. Snapshot and timestamp
come last: once they are there, enough release keys have signed.

The trust folder's numbers are taken durably before a file bears them, and every file is
replaced whole, so that a crash at any point leaves a kit that can be signed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tuf.api.metadata import Metadata, Root, Targets

from teraferry.builder.kit import Kit
from teraferry.builder.release_ledger import read_record
from teraferry.builder.sign_answers import (
    AnswerFile,
    Brought,
    attach_desk,
    attach_release,
    check_answers,
    open_answers,
)
from teraferry.builder.sign_closing import compose_first_closing, load_closing, read_back, sign_closing, store_closing
from teraferry.builder.sign_targets import load_or_compose
from teraferry.builder.signing_room import SigningRoom, write_metadata
from teraferry.bundles import layout
from teraferry.bundles.index import SignedBundle
from teraferry.bundles.system.durable import write_durably
from teraferry.keys.evidence import encode_evidence
from teraferry.keys.quorum import Quorum, release_quorum
from teraferry.keys.release.facts import read_bundle
from teraferry.keys.release.record import store_record
from teraferry.keys.room.answer import CheckedAnswer
from teraferry.keys.signers import KeySigner
from teraferry.keys.trusted import Notice
from teraferry.keys.tuf_metadata import is_signed_by, signed_bytes


@dataclass(frozen=True, slots=True)
class Awaited:
    """A key that may still sign, and by which people know it."""

    role: str
    key_id: str
    name: str  # where it lies; "" until it has signed something here


@dataclass(frozen=True, slots=True)
class SigningOutcome:
    """What one run of ``sign`` did and what is still missing."""

    signed: tuple[str, ...]  # ids of the keys whose signatures this run added
    missing: Mapping[str, Mapping[str, int]]  # by role: have, need; empty once the kit is whole
    awaited: tuple[Awaited, ...]  # keys that can make up for what is missing now
    product: str
    version: str
    sequence: int
    notices: tuple[Notice, ...]


def sign_kit(
    kit: Kit,
    room: SigningRoom,
    *,
    keys: Sequence[str],
    desk_key: str | None,
    answers: Sequence[AnswerFile] = (),
) -> SigningOutcome:
    """Add signatures to ``kit``: of ``answers`` and of ``keys``; with enough of them, let the desk close it.

    Args:
        kit: What ``build`` wrote, signed by others already or not.
        room: Where signatures come from.
        keys: URIs of release keys.
        desk_key: URI of the desk key, or None.
        answers: Files that came back from other places.

    Raises:
        UsageError: 2; see ``TrustFolder`` and ``parse_key_uri``.
        BuildError: ``kit-changed``, ``product-differs``, ``key-not-in-role``, ``kit-of-another-trust-folder``,
            ``kit-of-older-root``, why an answer does not belong here, or why a key could not sign, 31.
        BundleError: The kit is incomplete or bad, 10 or 11.
    """
    with room.folder.locked():
        root = room.folder.load_root()
        signers = [room.open_key(uri, root.signed, role="targets") for uri in keys]
        desk = None if desk_key is None else room.open_key(desk_key, root.signed, role="timestamp")
        opened = open_answers(kit, room, answers)
        targets, notices = load_or_compose(kit, room, root)
        brought = check_answers(kit, room, root, targets=targets, opened=opened)
        room.publish_roots(kit)
        attached = [answer for answer in brought.release if attach_release(kit, targets, answer)]
        bundle = read_bundle(targets.signed)
        for signer in signers:
            _add_signature(kit, signer, targets, bundle=bundle, now=room.now)
        signed = [*(answer.key.keyid for answer in attached), *(signer.key.keyid for signer in signers)]
        notices = (*notices, *_told_twice(len(brought.release) - len(attached)))
        if release_quorum(root.signed, targets).is_met:
            store_record(room.folder.path, bundle.version, read_record(kit, targets))
            signed += _close(kit, room, root, targets=targets, desk=desk, answers=brought.desk)
        elif desk is not None:
            notices = (*notices, Notice("desk-key-waits", "The desk key signs once enough release keys have signed."))
        for key_id, name in _names(signers, desk, brought):
            room.folder.note_name(key_id, name)
        outcome = outcome_of(kit, room, root, targets=targets, signed=signed, notices=notices)
        if not outcome.missing:
            read_back(kit, room)
        return outcome


def outcome_of(
    kit: Kit,
    room: SigningRoom,
    root: Metadata[Root],
    *,
    targets: Metadata[Targets],
    signed: Sequence[str],
    notices: Sequence[Notice],
) -> SigningOutcome:
    """Return what stands in ``kit`` now, after ``signed`` was added."""
    bundle = read_bundle(targets.signed)
    missing = _missing(kit, root.signed, release_quorum(root.signed, targets))
    return SigningOutcome(
        signed=tuple(signed),
        missing=missing,
        awaited=_awaited(root.signed, targets, missing, names=room.folder.load_state().names),
        product=bundle.product,
        version=bundle.version,
        sequence=bundle.sequence,
        notices=tuple(notices),
    )


def _add_signature(
    kit: Kit, signer: KeySigner, targets: Metadata[Targets], *, bundle: SignedBundle, now: datetime
) -> None:
    # Targets last: a signature in them promises that its file over SHA256SUMS is there too.
    key_id = signer.key.keyid
    checksums = kit.checksums() or b""
    write_durably(kit.folder / layout.signature_name(key_id), signer.sign_sha256(checksums))
    evidence = kit.folder / layout.METADATA_DIR / layout.EVIDENCE_DIR / layout.evidence_name(key_id)
    write_durably(evidence, encode_evidence(signer, bundle, now=now))
    targets.signatures[key_id] = signer.sign_metadata(signed_bytes(targets))
    write_metadata(kit, layout.TARGETS, targets)


def _close(
    kit: Kit,
    room: SigningRoom,
    root: Metadata[Root],
    *,
    targets: Metadata[Targets],
    desk: KeySigner | None,
    answers: Sequence[CheckedAnswer],
) -> list[str]:
    """Let the desk close ``kit`` unless it did; return the id of the key that signed, if one did."""
    closing = load_closing(kit)
    if closing is not None and closing.is_signed(root.signed):
        return []
    if closing is not None and answers:
        attach_desk(kit, closing, answers[0])
        return [answers[0].key.keyid]
    if desk is None:
        return []
    closing = compose_first_closing(room, targets.signed)
    sign_closing(closing, desk)
    store_closing(kit, closing)
    return [desk.key.keyid]


def _names(signers: Sequence[KeySigner], desk: KeySigner | None, brought: Brought) -> Iterable[tuple[str, str]]:
    yield from ((signer.key.keyid, signer.evidence.where) for signer in (*signers, *([] if desk is None else [desk])))
    yield from ((answer.key.keyid, answer.name) for answer in (*brought.release, *brought.desk))


def _told_twice(count: int) -> Iterable[Notice]:
    if count:
        text = f"{count} of the answers are of keys that have signed already; each key counts once."
        yield Notice("already-signed", text)


def _awaited(
    root: Root, targets: Metadata[Targets], missing: Mapping[str, object], *, names: Mapping[str, str]
) -> tuple[Awaited, ...]:
    # The desk is asked last, so it is awaited only once the release keys are done.
    role = next((name for name in ("targets", "timestamp") if name in missing), None)
    if role is None:
        return ()
    waiting = [
        key_id
        for key_id in sorted(root.roles[role].keyids)
        if role != "targets" or not is_signed_by(root.keys[key_id], targets)
    ]
    return tuple(Awaited(role, key_id, names.get(key_id, "")) for key_id in waiting)


def _missing(kit: Kit, root: Root, quorum: Quorum) -> dict[str, dict[str, int]]:
    missing = {}
    if not quorum.is_met:
        missing["targets"] = {"have": quorum.have, "need": quorum.need}
    closing = load_closing(kit)
    if closing is None or not closing.is_signed(root):
        for role in ("snapshot", "timestamp"):
            missing[role] = {"have": 0, "need": root.roles[role].threshold}
    return missing
