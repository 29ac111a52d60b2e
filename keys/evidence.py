"""What a signer's token said of its key, for an auditor: beside a kit's metadata, and beside each root.

Signed by the same key, so that nobody else can have written it. It decides nothing at a site:
the flags are the module's claim, and PKCS#11 2.40 knows no proof of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Key, Signature

from teraferry.bundles.digest import Digest
from teraferry.bundles.index import SignedBundle
from teraferry.bundles.model import Model
from teraferry.keys.signers import KeySigner, SignerEvidence
from teraferry.keys.strict_json import parse_strict_object, unreadable
from teraferry.keys.tuf_metadata import Metadata, Root, fingerprint_of, product_of


class EvidenceFacts(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The signed part."""

    type: Literal["evidence"] = msgspec.field(name="_type")
    format: Literal[1]
    key_id: str
    kind: str
    facts: dict[str, str]
    flags: dict[str, bool]
    product: str
    version: str
    bundle: Digest
    signed_at: str


def encode_evidence(signer: KeySigner, bundle: SignedBundle, *, now: datetime) -> bytes:
    """Return the evidence of ``signer`` signing ``bundle``, with its signature over the canonical form."""
    about = {"_type": "evidence", "product": bundle.product, "version": bundle.version, "bundle": bundle.digest}
    return _encode(signer, about, now=now)


def encode_root_evidence(signers: Sequence[KeySigner], root: Metadata[Root], *, now: datetime) -> dict[str, bytes]:
    """Return the evidence of everybody who took part in making ``root``, by key id."""
    about = {
        "_type": "root-evidence",
        "product": product_of(root.signed),
        "root": root.signed.version,
        "fingerprint": fingerprint_of(root),
    }
    return {signer.key.keyid: _encode(signer, about, now=now) for signer in signers}


def _encode(signer: KeySigner, about: Mapping[str, object], *, now: datetime) -> bytes:
    evidence = signer.evidence
    signed = {
        **about,
        "format": 1,
        "key_id": signer.key.keyid,
        "kind": evidence.kind,
        "facts": dict(evidence.facts),
        "flags": dict(evidence.flags),
        "signed_at": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    signature = signer.sign_metadata(str(encode_canonical(signed)).encode("utf-8"))
    document = {"signature": signature.signature, "signed": signed}
    return json.dumps(document, indent=1, sort_keys=True).encode("ascii") + b"\n"


def require_evidence(content: bytes, key: Key, bundle: SignedBundle) -> SignerEvidence:
    """Return what the evidence in ``content`` says, if ``key`` signed it while signing ``bundle``.

    Args:
        content: Unverified bytes, capped by the caller.
        key: Whose evidence it must be.
        bundle: What must have been signed.

    Raises:
        TrustError: ``metadata-unreadable``, 24: not evidence, of another key or bundle, or not signed by ``key``.
    """
    what = f"evidence of key {key.keyid[:8]}"
    document = parse_strict_object(content, what=what)
    signature, signed = document.get("signature"), document.get("signed")
    if document.keys() != {"signature", "signed"} or not isinstance(signature, str):
        raise unreadable(what, "other members than signature and signed")
    try:
        facts = msgspec.convert(signed, EvidenceFacts)
        key.verify_signature(Signature(key.keyid, signature), str(encode_canonical(signed)).encode("utf-8"))
    except (msgspec.ValidationError, UnverifiedSignatureError, VerificationError, ValueError) as error:
        raise unreadable(what, f"{type(error).__name__}: {error}") from error
    found = (facts.key_id, facts.product, facts.version, facts.bundle)
    if found != (key.keyid, bundle.product, bundle.version, bundle.digest):
        raise unreadable(what, "the evidence of another signing")
    return SignerEvidence(facts.kind, facts.facts, facts.flags)
