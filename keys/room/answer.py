"""A signing answer: one person's signatures over what a request asked for, on the way back.

It names the digests of the bytes that were signed, so that an answer to another request, or to an
older one of a kit that was rebuilt meanwhile, is told apart from a damaged one. Everything in it is
checked against what the kit holds; a signature over other bytes never enters a kit. Pure.

Source: ``docs/signing-room.md``, section "The answer".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from securesystemslib.signer import Key, Signature
from tuf.api.metadata import Metadata, Root

from teraferry.bundles import layout
from teraferry.bundles.digest import Digest
from teraferry.bundles.errors import BuildError, TrustError
from teraferry.bundles.model import Model
from teraferry.keys.evidence import encode_evidence, require_evidence
from teraferry.keys.may_sign import require_bound_to_token, require_in_role
from teraferry.keys.public_keys import UnusableKeyError, is_valid_over_sha256
from teraferry.keys.room.request import OpenedRequest
from teraferry.keys.signers import KeySigner
from teraferry.keys.strict_json import parse_strict_object
from teraferry.keys.to_sign import ROLES, ToSign
from teraferry.keys.tuf_metadata import is_signed_by, signed_bytes

KeyId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
HexBytes = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2})+\Z", max_length=16 * 1024)]


class AnsweredBytes(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One sequence of bytes and the signature over it."""

    digest: Digest
    signature: HexBytes


class SigningAnswer(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file."""

    format: Literal[1]
    kind: Literal["release", "desk"]
    request: Digest  # of the request that was answered
    key_id: KeyId
    signatures: dict[str, AnsweredBytes]  # by file name
    evidence: str  # the file for metadata/evidence/, as it will lie there


@dataclass(frozen=True, slots=True)
class CheckedAnswer:
    """An answer that belongs to the kit it was held against, and whose every signature is right."""

    key: Key
    name: str  # where the key lies, as its evidence says; for people
    signatures: Mapping[str, Signature]  # of TUF documents, by file name
    checksums_signature: bytes | None
    evidence: bytes


def answer_request(request: OpenedRequest, signer: KeySigner, *, now: datetime) -> SigningAnswer:
    """Return the signatures of ``signer`` over what ``request`` asks for.

    Raises:
        BuildError: 31; ``key-not-in-role``, ``key-not-production``, or why the key cannot sign.
    """
    asked = request.to_sign
    require_in_role(signer.key.keyid, role=asked.role, root=asked.root.signed, name=signer.name)
    if asked.production:
        require_bound_to_token(signer.evidence, key_id=signer.key.keyid, name=signer.name)
    made = {name: signer.sign_metadata(signed_bytes(metadata)).signature for name, metadata in asked.documents.items()}
    if asked.checksums is not None:
        made[layout.CHECKSUMS] = signer.sign_sha256(asked.checksums).hex()
    digests = asked.digests()
    return SigningAnswer(
        format=1,
        kind="release" if asked.checksums is not None else "desk",
        request=request.digest,
        key_id=signer.key.keyid,
        signatures={name: AnsweredBytes(digest=digests[name], signature=signature) for name, signature in made.items()},
        evidence=encode_evidence(signer, asked.bundle, now=now).decode("ascii"),
    )


def encode_answer(answer: SigningAnswer) -> bytes:
    """Return the file."""
    return msgspec.json.format(msgspec.json.encode(answer, order="sorted"), indent=1) + b"\n"


def parse_answer(content: bytes, *, name: str) -> SigningAnswer:
    """Return the answer in ``content``, unverified.

    Args:
        content: Capped by the caller at ``MAX_ANSWER_BYTES``.
        name: Of the file, for messages.

    Raises:
        BuildError: ``answer-malformed``, 31.
    """
    try:
        return msgspec.convert(parse_strict_object(content, what=name), SigningAnswer)
    except (TrustError, msgspec.ValidationError) as error:
        raise BuildError(
            "answer-malformed",
            f"signing answer {name}: {str(error)[:300]}, expected a file that sign --answer wrote",
            hint="Ask the person who answered for another copy of the file.",
            exit_status=31,
            facts={"file": name},
        ) from error


def require_answerer(answer: SigningAnswer, roots: Sequence[Metadata[Root]], *, name: str) -> Key:
    """Return the key that answered, if it may sign for the role that was asked.

    Args:
        answer: Unverified.
        roots: Every root of the trust folder: the last says who may, the others tell a revoked key from a stranger's.
        name: Of the file, for messages.

    Raises:
        BuildError: ``key-revoked``, ``key-not-in-role``, 31.
    """
    role, newest = ROLES[answer.kind], roots[-1].signed
    once = [root.signed.version for root in roots if answer.key_id in root.signed.roles[role].keyids]
    if once and once[-1] != newest.version:
        raise _refused(
            "key-revoked",
            f"signing answer {name}: key {answer.key_id[:8]} was last a {role} key in root {once[-1]}, "
            f"expected one of root {newest.version}",
            "Ask somebody whose key is in the newest root. See: teraferry trust show DIR",
            answer,
        )
    require_in_role(answer.key_id, role=role, root=newest, name=f"signing answer {name}")
    return newest.keys[answer.key_id]


def check_answer(answer: SigningAnswer, wanted: ToSign, *, key: Key, name: str) -> CheckedAnswer:
    """Return ``answer`` if it signs what the kit holds.

    1. It speaks of the same bytes as the kit.
    2. Its signatures over these bytes are right.
    3. Its evidence is the same key's, of the same bundle, and good enough for this trust folder.

    Args:
        answer: Unverified.
        wanted: What the kit holds.
        key: From ``require_answerer``.
        name: Of the file, for messages.

    Raises:
        BuildError: 31; ``answer-to-another-request``, ``answer-changed``, ``key-not-production``.
    """
    digests = {file: signed.digest for file, signed in answer.signatures.items()}
    if digests != wanted.digests():  # 1
        raise _refused(
            "answer-to-another-request",
            f"signing answer {name}: it signs other bytes than this kit holds, expected an answer to a request of "
            "this kit as it is now",
            "Rebuilt the kit, or asked for something else since? Make a new request; everybody answers again.",
            answer,
        )
    signatures = {file: Signature(key.keyid, answer.signatures[file].signature) for file in wanted.documents}
    checksums_signature = _checksums_signature(answer)
    if not _are_valid(key, signatures, checksums_signature, wanted):  # 2
        raise _changed(answer, name, "its signatures do not match its key")
    content = answer.evidence.encode("utf-8")
    try:  # 3
        evidence = require_evidence(content, key, wanted.bundle)
    except TrustError as error:
        raise _changed(answer, name, error.message) from error
    if wanted.production:
        require_bound_to_token(evidence, key_id=key.keyid, name=f"signing answer {name}")
    return CheckedAnswer(key, evidence.where, signatures, checksums_signature, content)


def _checksums_signature(answer: SigningAnswer) -> bytes | None:
    signed = answer.signatures.get(layout.CHECKSUMS)
    return None if signed is None else bytes.fromhex(signed.signature)


def _are_valid(
    key: Key, signatures: Mapping[str, Signature], checksums_signature: bytes | None, wanted: ToSign
) -> bool:
    for file, metadata in wanted.documents.items():
        alone = deepcopy(metadata)
        alone.signatures = {key.keyid: signatures[file]}
        if not is_signed_by(key, alone):
            return False
    if wanted.checksums is None:
        return True
    try:
        return is_valid_over_sha256(key, checksums_signature or b"", wanted.checksums)
    except UnusableKeyError:
        return False


def _changed(answer: SigningAnswer, name: str, found: str) -> BuildError:
    return _refused(
        "answer-changed",
        f"signing answer {name}: {found}, expected what the key {answer.key_id[:8]} signed",
        "The file was changed or damaged on its way: ask the person who answered for another copy.",
        answer,
    )


def _refused(reference: str, message: str, hint: str, answer: SigningAnswer) -> BuildError:
    return BuildError(reference, message, hint=hint, exit_status=31, facts={"key_id": answer.key_id})
