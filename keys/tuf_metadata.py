"""TUF documents, by python-tuf's public Metadata API, with our stricter reading around it. Pure.

Every signature is checked here, key by key, so that "wrong" and "cannot be checked here" stay
apart; ``keys.threshold`` then counts.
"""

from __future__ import annotations

import hashlib
import re
from copy import deepcopy
from typing import Final, TypeVar, cast

from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import Key, Signature
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import SerializationError

from teraferry.bundles.errors import TrustError
from teraferry.keys.public_keys import MLDSA, UnusableKeyError, family_of, is_valid_over_sha256, material_of
from teraferry.keys.strict_json import Json, parse_strict_object, unreadable
from teraferry.keys.threshold import Role, require_threshold

__all__ = [
    "CUSTOM",
    "EACH_FAMILY",
    "Metadata",
    "Root",
    "T",
    "fingerprint_of",
    "is_signed_by",
    "materials_of",
    "parse_metadata",
    "product_of",
    "require_signed",
    "signed_bytes",
]

CUSTOM: Final = "teraferry"
"""Member under which our own signed facts stand: in a target's ``custom`` and in root."""

EACH_FAMILY: Final = "one_of_each_family"
"""Member of ours in a root: the roles in which a classical and an ML-DSA key must both sign."""

_HEX: Final = re.compile(r"([0-9a-f]{2})+\Z")

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)


def parse_metadata(kind: type[T], content: bytes, *, what: str) -> Metadata[T]:
    """Return the unverified document in ``content``.

    Raises:
        TrustError: ``metadata-unreadable``, 24: not JSON in the strict sense, or not a ``kind``.
    """
    parsed = parse_strict_object(content, what=what)
    _require_integers(parsed, what)
    try:
        # from_dict raises what its operations happen to raise; a strict schema of it does not exist.
        # It also takes apart what it is given, hence the copy.
        metadata = cast("Metadata[T]", Metadata.from_dict(cast("dict[str, object]", deepcopy(parsed))))
        signed_bytes(metadata)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, SerializationError) as error:
        raise unreadable(what, f"{type(error).__name__}: {error}") from error
    if metadata.signed.type != kind.type:
        raise unreadable(what, f"a {metadata.signed.type} document where {kind.type} is expected")
    if metadata.signed.to_dict() != parsed["signed"]:
        # Signatures cover what python-tuf writes of it, and it reads more than it writes: a date with a small
        # "t", or with a space for a zero. Such a file was not signed as it lies there.
        raise unreadable(what, "a signed part in another spelling than the one that was signed")
    if metadata.unrecognized_fields:
        # Members beside "signed" are covered by no signature.
        raise unreadable(what, "unsigned members beside the signed part")
    return metadata


def signed_bytes(metadata: Metadata[T]) -> bytes:
    """Return the canonical bytes that the signatures cover."""
    return metadata.signed_bytes


def fingerprint_of(root: Metadata[Root]) -> str:
    """Return the SHA-256 of the canonical signed part: 64 hex digits, the same whoever signed."""
    return hashlib.sha256(signed_bytes(root)).hexdigest()


def product_of(root: Root) -> str:
    """Return the product that a root speaks of; one trust folder is one product.

    Raises:
        TrustError: ``metadata-unreadable``, 24: the root names none, so it is not one of ours.
    """
    ours = root.unrecognized_fields.get(CUSTOM)
    product = ours.get("product") if isinstance(ours, dict) else None
    if not isinstance(product, str) or not product:
        raise unreadable(f"{root.version}.root.json", "no product")
    return product


def materials_of(root: Root, role: str) -> Role:
    """Return the keys of ``role`` that this program can use, its threshold, and its rule of families.

    Raises:
        TrustError: ``metadata-unreadable``, 24: see ``_families_of``.
    """
    listed = root.roles[role]
    materials = {}
    for key_id in listed.keyids:
        try:
            materials[key_id] = material_of(root.keys[key_id])
        except (KeyError, UnusableKeyError):
            # It may still count as "cannot be checked here", never as a signature.
            materials[key_id] = f"unusable:{key_id}"
    return Role(role, materials, listed.threshold, _families_of(root, role))


def _families_of(root: Root, role: str) -> dict[str, str]:
    """Return key id -> family where one of each must sign, and nothing in a role of one family.

    The root writes the rule down and it must fit the keys: an ML-DSA key in a role without the
    rule would turn a hybrid into a choice.
    """
    ours = root.unrecognized_fields.get(CUSTOM)
    ruled = ours.get(EACH_FAMILY, []) if isinstance(ours, dict) else []
    families = {key_id: family_of(root.keys[key_id]) for key_id in root.roles[role].keyids if key_id in root.keys}
    has_mldsa = MLDSA in families.values()
    if not isinstance(ruled, list) or (role in ruled) != has_mldsa:
        raise unreadable(f"{root.version}.root.json", f"{EACH_FAMILY} that does not fit the keys of {role}")
    return families if has_mldsa else {}


def require_signed(root: Root, role: str, metadata: Metadata[T]) -> list[str]:
    """Return the ids of the keys that signed ``metadata``, at least the threshold of ``role`` in ``root``.

    A wrong signature under a trusted key's id refuses even when enough others are right: nobody
    makes one by accident, so the file was damaged or somebody tried.

    Raises:
        TrustError: ``threshold-not-met``, 20; ``signature-invalid``, 20; ``signature-undecided``, 23.
    """
    payload = signed_bytes(metadata)
    verdicts = {
        key_id: _verdict(root.keys.get(key_id), metadata.signatures[key_id], payload)
        for key_id in root.roles[role].keyids
        if key_id in metadata.signatures
    }
    verified, undecided, wrong = (
        [key_id for key_id, verdict in verdicts.items() if verdict == wanted] for wanted in ("good", "undecided", "bad")
    )
    signers = require_threshold(materials_of(root, role), verified, undecided)
    if wrong:
        raise TrustError(
            "signature-invalid",
            f"role {role}: the signature of key {wrong[0][:8]} is wrong, expected none or a valid one",
            hint="Copy the whole kit again from its source; if it stays, do not use it and ask for another one.",
            exit_status=20,
            facts={"role": role, "key_ids": wrong},
        )
    return signers


def is_signed_by(key: Key, metadata: Metadata[T]) -> bool:
    """Tell whether ``key`` has a good signature on ``metadata``."""
    signature = metadata.signatures.get(key.keyid)
    return signature is not None and _verdict(key, signature, signed_bytes(metadata)) == "good"


def _verdict(key: Key | None, signature: Signature, payload: bytes) -> str:
    if key is None:
        return "bad"
    if not isinstance(signature.signature, str) or not _HEX.match(signature.signature):
        return "bad"  # capitals or spaces would be a second spelling of the same signature
    try:
        # Only offered kinds: securesystemslib would start gpg for others.
        material_of(key)
        if key.keytype == "rsa":
            # It also takes a salt of any length, which is another scheme than the one that a root names.
            return "good" if is_valid_over_sha256(key, bytes.fromhex(signature.signature), payload) else "bad"
        key.verify_signature(signature, payload)
    except (UnusableKeyError, VerificationError):
        return "undecided"
    except UnverifiedSignatureError:
        return "bad"
    return "good"


def _require_integers(document: Json, what: str) -> None:
    # Python takes true for 1; another reader would not.
    if isinstance(document, dict):
        for name, value in document.items():
            if name in ("version", "threshold", "length") and type(value) is not int:
                raise unreadable(what, f"{name} is {value!r}, expected an integer")
            if name != CUSTOM:  # ours has a strict model of its own, in which a version is text
                _require_integers(value, what)
    elif isinstance(document, list):
        for value in document:
            _require_integers(value, what)
