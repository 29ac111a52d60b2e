"""Bring answers back into a kit: each held against what the kit holds, all before the first is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root, Targets

from teraferry.builder.kit import Kit
from teraferry.builder.sign_closing import Closing, load_closing, store_closing
from teraferry.builder.signing_room import SigningRoom, write_metadata
from teraferry.bundles import layout
from teraferry.bundles.errors import BuildError
from teraferry.bundles.system.durable import write_durably
from teraferry.keys.release.facts import read_bundle
from teraferry.keys.room.answer import CheckedAnswer, SigningAnswer, check_answer, parse_answer, require_answerer
from teraferry.keys.to_sign import DESK, RELEASE, ToSign, desk_to_sign, release_to_sign
from teraferry.keys.trust import verify_roots
from teraferry.keys.tuf_metadata import is_signed_by


@dataclass(frozen=True, slots=True)
class AnswerFile:
    """One file that came back, unverified."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class OpenedAnswer:
    """An answer of a key that may sign; what it signed is not looked at yet."""

    name: str
    answer: SigningAnswer
    key: Key


@dataclass(frozen=True, slots=True)
class Brought:
    """Answers that belong to the kit."""

    release: tuple[CheckedAnswer, ...]
    desk: tuple[CheckedAnswer, ...]


def open_answers(kit: Kit, room: SigningRoom, files: Sequence[AnswerFile]) -> list[OpenedAnswer]:
    """Return what came back, before the bundle is read: a wrong file should not cost minutes.

    Raises:
        BuildError: 31; ``kit-not-requested``, and see ``parse_answer`` and ``require_answerer``.
    """
    if files and not (kit.folder / layout.METADATA_DIR / layout.TARGETS).is_file():
        # What they signed cannot be there.
        raise BuildError(
            "kit-not-requested",
            f"kit {kit.folder}: nothing of it was sent to be signed, expected the kit of the request",
            hint="Give --attach the kit that sign --request was typed for.",
            exit_status=31,
            facts={"kit": str(kit.folder)},
        )
    roots = verify_roots(list(room.folder.load_roots().values()))
    parsed = [(file.name, parse_answer(file.content, name=file.name)) for file in files]
    return [OpenedAnswer(name, answer, require_answerer(answer, roots, name=name)) for name, answer in parsed]


def check_answers(
    kit: Kit, room: SigningRoom, root: Metadata[Root], *, targets: Metadata[Targets], opened: Sequence[OpenedAnswer]
) -> Brought:
    """Return the answers, every one of them fit to be attached to ``kit``.

    Raises:
        BuildError: 31; ``answer-to-another-request``, and see ``check_answer``.
    """
    found: dict[str, list[CheckedAnswer]] = {RELEASE: [], DESK: []}
    for one in opened:
        wanted = _wanted(kit, room, one.answer, targets=targets, root=root)
        if wanted is None:
            raise BuildError(
                "answer-to-another-request",
                f"signing answer {one.name}: it closes a kit, expected one that asked the desk for that",
                hint="Make the request to the desk with --request, once enough release keys have signed.",
                exit_status=31,
                facts={"key_id": one.answer.key_id},
            )
        found[one.answer.kind].append(check_answer(one.answer, wanted, key=one.key, name=one.name))
    return Brought(tuple(found[RELEASE]), tuple(found[DESK]))


def attach_release(kit: Kit, targets: Metadata[Targets], answer: CheckedAnswer) -> bool:
    """Add a release key's answer; return False if that key signed already, and change nothing then."""
    key_id = answer.key.keyid
    if is_signed_by(answer.key, targets):
        return False
    # Targets last: a signature in them promises that its file over SHA256SUMS is there too.
    write_durably(kit.folder / layout.signature_name(key_id), answer.checksums_signature or b"")
    evidence = kit.folder / layout.METADATA_DIR / layout.EVIDENCE_DIR / layout.evidence_name(key_id)
    write_durably(evidence, answer.evidence)
    targets.signatures[key_id] = answer.signatures[layout.TARGETS]
    write_metadata(kit, layout.TARGETS, targets)
    return True


def attach_desk(kit: Kit, closing: Closing, answer: CheckedAnswer) -> None:
    """Close the kit with the desk's answer."""
    closing.snapshot.signatures[answer.key.keyid] = answer.signatures[layout.SNAPSHOT]
    closing.timestamp.signatures[answer.key.keyid] = answer.signatures[layout.TIMESTAMP]
    store_closing(kit, closing)


def _wanted(
    kit: Kit, room: SigningRoom, answer: SigningAnswer, *, targets: Metadata[Targets], root: Metadata[Root]
) -> ToSign | None:
    """Return what the kit holds for an answer of this kind, or None if it holds nothing."""
    bundle = read_bundle(targets.signed)
    production = room.folder.load_state().production
    if answer.kind == RELEASE:
        checksums = kit.checksums() or b""
        return release_to_sign(root, targets, bundle=bundle, checksums=checksums, production=production)
    closing = load_closing(kit)
    if closing is None:
        return None
    return desk_to_sign(root, closing.snapshot, closing.timestamp, bundle=bundle, production=production)
