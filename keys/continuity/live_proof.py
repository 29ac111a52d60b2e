"""Whether a key's answer to a challenge is right, judged by what was recorded of it. Pure.

A signature is judged by the recorded public key, so a key that was put in its place fails. A
keyed digest is judged by the digest of an earlier answer to the same challenge: the key itself is
never seen, nor is anything kept from which it could be found.
"""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from teraferry.bundles.digest import digest_of
from teraferry.keys.continuity.judge import Answer, KeyFacts

CHALLENGE_BYTES: Final = 32
"""As long as SHA-256; a nonce nobody can have prepared an answer for."""

MIN_ANSWER_BYTES: Final = 16
"""A shorter keyed digest could be met by chance."""

_HASHES: Final = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
"""A TPM key may be bound to one of them when it is made; any is as good a proof."""


def judge_answer(facts: KeyFacts, challenge: bytes, answer: bytes) -> Answer:
    """Return whether ``answer`` is what the recorded key says to ``challenge``.

    Args:
        facts: As recorded; ``proof`` is not "presence".
        challenge: What the key was asked: fresh for a signature, the recorded one for a keyed digest.
        answer: The signature (ECDSA in DER), or the keyed digest.
    """
    if facts.proof == "signature":
        return Answer.RIGHT if _is_signed(facts.public_key.encode(), challenge, answer) else Answer.WRONG
    if facts.proof == "hmac" and facts.answer is not None and len(answer) >= MIN_ANSWER_BYTES:
        return Answer.RIGHT if hmac.compare_digest(digest_of(answer), facts.answer) else Answer.WRONG
    return Answer.WRONG


def pem_of(content: bytes) -> str:
    """Return a public key, given as PEM or DER, in the one form that is recorded.

    Raises:
        ValueError: It is no public key of a kind that can be judged.
    """
    try:
        key = load_pem_public_key(content) if content.startswith(b"-----") else load_der_public_key(content)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("not a public key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey):
        raise ValueError(f"a {type(key).__name__}, expected EC, RSA or Ed25519")  # noqa: TRY004 - the caller's one case
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def _is_signed(pem: bytes, content: bytes, signature: bytes) -> bool:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        return False
    if isinstance(key, ed25519.Ed25519PublicKey):
        return _verifies(key, signature, content)
    if isinstance(key, ec.EllipticCurvePublicKey):
        return any(_verifies(key, signature, content, ec.ECDSA(each)) for each in _HASHES)
    if isinstance(key, rsa.RSAPublicKey):
        return any(
            _verifies(key, signature, content, how, each)
            for each in _HASHES
            for how in (padding.PSS(padding.MGF1(each), padding.PSS.AUTO), padding.PKCS1v15())
        )
    return False


def _verifies(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey, *arguments: object) -> bool:
    try:
        key.verify(*arguments)  # type: ignore[arg-type]
    except InvalidSignature:
        return False
    return True
