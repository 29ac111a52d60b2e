"""``metadata/evidence/<keyid8>.json``: what a signer's token said of its key, for an auditor.

Signed by the same key, so that nobody else can have written it. It decides nothing at a site:
the flags are the module's claim, and PKCS#11 2.40 knows no proof of them.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from securesystemslib.formats import encode_canonical

from teraferry.bundles.index import SignedBundle
from teraferry.keys.signers import KeySigner


def encode_evidence(signer: KeySigner, bundle: SignedBundle, *, now: datetime) -> bytes:
    """Return the evidence of ``signer`` signing ``bundle``, with its signature over the canonical form."""
    evidence = signer.evidence
    signed = {
        "_type": "evidence",
        "format": 1,
        "key_id": signer.key.keyid,
        "kind": evidence.kind,
        "facts": dict(evidence.facts),
        "flags": dict(evidence.flags),
        "product": bundle.product,
        "version": bundle.version,
        "bundle": bundle.digest,
        "signed_at": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    signature = signer.sign_metadata(str(encode_canonical(signed)).encode("utf-8"))
    document = {"signature": signature.signature, "signed": signed}
    return json.dumps(document, indent=1, sort_keys=True).encode("ascii") + b"\n"
