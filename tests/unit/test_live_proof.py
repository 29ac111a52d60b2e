"""An answer is right when the recorded key gave it, and for no other key, challenge or length."""

from __future__ import annotations

import hmac
from collections.abc import Callable

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from teraferry.bundles.digest import digest_of
from teraferry.keys.continuity.judge import Answer, KeyFacts
from teraferry.keys.continuity.live_proof import judge_answer, pem_of

EC, EC384, ED, RSA = (
    ec.generate_private_key(ec.SECP256R1()),
    ec.generate_private_key(ec.SECP384R1()),
    ed25519.Ed25519PrivateKey.generate(),
    rsa.generate_private_key(65537, 2048),
)
PSS = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
SIGNERS: dict[
    str, tuple[ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey, Callable[[bytes], bytes]]
] = {
    "p256": (EC, lambda content: EC.sign(content, ec.ECDSA(hashes.SHA256()))),
    "p384": (EC384, lambda content: EC384.sign(content, ec.ECDSA(hashes.SHA384()))),
    "ed25519": (ED, ED.sign),
    "rsa-pss": (RSA, lambda content: RSA.sign(content, PSS, hashes.SHA256())),
    "rsa": (RSA, lambda content: RSA.sign(content, padding.PKCS1v15(), hashes.SHA256())),
}
CHALLENGE = b"c" * 32
SECRET = b"s" * 32


def facts_of(kind: str) -> KeyFacts:
    public = SIGNERS[kind][0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return KeyFacts(name="k", node="n", store="tpm", handle="h", proof="signature", marks={}, public_key=pem_of(public))


def hmac_facts() -> KeyFacts:
    answer = hmac.digest(SECRET, CHALLENGE, "sha256")
    facts = KeyFacts(name="k", node="n", store="tpm", handle="h", proof="hmac", marks={})
    return msgspec.structs.replace(facts, challenge=CHALLENGE.hex(), answer=digest_of(answer))


@pytest.mark.parametrize("kind", SIGNERS)
def test_signature_of_the_recorded_key_is_right(kind: str) -> None:
    assert judge_answer(facts_of(kind), CHALLENGE, SIGNERS[kind][1](CHALLENGE)) is Answer.RIGHT


@pytest.mark.parametrize("kind", SIGNERS)
def test_signature_over_another_challenge_is_wrong(kind: str) -> None:
    assert judge_answer(facts_of(kind), CHALLENGE, SIGNERS[kind][1](b"d" * 32)) is Answer.WRONG


@pytest.mark.parametrize(("recorded", "signing"), [("p256", "p384"), ("p256", "ed25519"), ("rsa", "p256")])
def test_signature_of_another_key_is_wrong(recorded: str, signing: str) -> None:
    assert judge_answer(facts_of(recorded), CHALLENGE, SIGNERS[signing][1](CHALLENGE)) is Answer.WRONG


@pytest.mark.parametrize("answer", [b"", b"x", b"x" * 5000])
def test_rubbish_is_wrong(answer: bytes) -> None:
    assert [judge_answer(facts, CHALLENGE, answer) for facts in (*map(facts_of, SIGNERS), hmac_facts())] == [
        Answer.WRONG
    ] * 6


def test_keyed_digest_of_the_same_secret_is_right_and_of_another_wrong() -> None:
    assert judge_answer(hmac_facts(), CHALLENGE, hmac.digest(SECRET, CHALLENGE, "sha256")) is Answer.RIGHT
    assert judge_answer(hmac_facts(), CHALLENGE, hmac.digest(b"t" * 32, CHALLENGE, "sha256")) is Answer.WRONG


def test_short_keyed_digest_is_wrong_even_if_it_was_recorded() -> None:
    facts = msgspec.structs.replace(hmac_facts(), answer=digest_of(b"short"))

    assert judge_answer(facts, CHALLENGE, b"short") is Answer.WRONG


def test_record_without_an_answer_or_a_key_proves_nothing() -> None:
    assert judge_answer(msgspec.structs.replace(hmac_facts(), answer=None), CHALLENGE, b"x" * 32) is Answer.WRONG
    assert judge_answer(msgspec.structs.replace(facts_of("p256"), public_key=""), CHALLENGE, b"x") is Answer.WRONG
    presence = msgspec.structs.replace(hmac_facts(), proof="presence")
    assert judge_answer(presence, CHALLENGE, hmac.digest(SECRET, CHALLENGE, "sha256")) is Answer.WRONG


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PUBLIC KEY-----\n", b"\x30\x00", b"x" * 300])
def test_what_is_no_public_key_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a public key"):
        pem_of(content)
