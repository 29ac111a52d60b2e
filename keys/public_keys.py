"""Public keys: which kinds are offered, when two are the same key, and how a stock tool uses one.

A key id is only a name that metadata gives. Whether two names mean one key is judged by the
SHA-256 of the key's DER SubjectPublicKeyInfo, which is the same in every notation.
Pure.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)
from securesystemslib.signer import Key, SSlibKey

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey | mldsa.MLDSA65PublicKey

OFFERED: Final = frozenset(
    {
        ("ecdsa", "ecdsa-sha2-nistp256"),
        ("ecdsa", "ecdsa-sha2-nistp384"),
        ("rsa", "rsassa-pss-sha256"),
        ("ed25519", "ed25519"),
        ("ml-dsa", "ml-dsa-65/1"),
    }
)
"""Key type and TUF scheme. securesystemslib knows more (PKCS#1 v1.5, gpg by a child process, SHA-1
ids); a key of another kind never counts. ML-DSA-65 is an experiment for development roots."""

CLASSICAL: Final = "classical"
MLDSA: Final = "ml-dsa"
"""Families: what a quantum computer breaks, and what a mistake in young code breaks. Where both sign,
one of each must (``keys.threshold``)."""

MIN_RSA_BITS: Final = 3072
"""128 bits of strength (NIST SP 800-57 part 1, table 2)."""

PSS_SALT_BYTES: Final = 32
"""Salt of our RSA-PSS signatures: as long as SHA-256, as ``rsa_pss_saltlen:32`` on the page says."""


class UnusableKeyError(ValueError):
    """The key is of a kind that is not offered, or its value is no key."""


def public_key(key: Key) -> PublicKey:
    """Return the key as ``cryptography`` knows it.

    Raises:
        UnusableKeyError: Not of an offered kind, or not a key.
    """
    if (key.keytype, key.scheme) not in OFFERED:
        raise UnusableKeyError(f"{key.keytype}/{key.scheme} is not offered")
    value = key.keyval.get("public")
    if not isinstance(value, str):
        raise UnusableKeyError("no public value")
    try:
        if key.keytype == "ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(value))
        loaded = load_pem_public_key(value.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UnusableKeyError("not a public key") from error
    return _require_kind(loaded, key.scheme)


def _require_kind(loaded: object, scheme: str) -> PublicKey:
    if isinstance(loaded, rsa.RSAPublicKey) and scheme == "rsassa-pss-sha256":
        _require_long_enough(loaded)
        return loaded
    if isinstance(loaded, mldsa.MLDSA65PublicKey) and scheme == "ml-dsa-65/1":
        return loaded
    curves = {"ecdsa-sha2-nistp256": "secp256r1", "ecdsa-sha2-nistp384": "secp384r1"}
    if isinstance(loaded, ec.EllipticCurvePublicKey) and loaded.curve.name == curves.get(scheme):
        return loaded
    raise UnusableKeyError(f"the value is no key for {scheme}")


def _require_long_enough(public: rsa.RSAPublicKey) -> None:
    if public.key_size < MIN_RSA_BITS:
        raise UnusableKeyError(f"RSA with {public.key_size} bits, expected at least {MIN_RSA_BITS}")


def tuf_key(public: PublicKey) -> SSlibKey:
    """Return the key as TUF metadata names it.

    Raises:
        UnusableKeyError: A curve that is not offered, or an RSA key below ``MIN_RSA_BITS``.
    """
    if isinstance(public, rsa.RSAPublicKey):
        _require_long_enough(public)
    try:
        key = SSlibKey.from_crypto(public)
    except ValueError as error:
        raise UnusableKeyError(str(error)) from error
    if (key.keytype, key.scheme) not in OFFERED:
        raise UnusableKeyError(f"{key.keytype}/{key.scheme} is not offered")
    return key


def parse_public_der(der: bytes) -> PublicKey:
    """Return the key in a DER SubjectPublicKeyInfo.

    Raises:
        UnusableKeyError: Not a key of an offered kind.
    """
    try:
        loaded = load_der_public_key(der)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UnusableKeyError("not a public key") from error
    if isinstance(loaded, PublicKey):
        return loaded
    raise UnusableKeyError(f"{type(loaded).__name__} is not offered")


def material_of(key: Key) -> str:
    """Return the SHA-256 of the DER SubjectPublicKeyInfo: equal exactly when the keys are.

    Raises:
        UnusableKeyError: See ``public_key``.
    """
    der = public_key(key).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def metadata_content(key: Key, payload: bytes) -> bytes:
    """Return what ``key`` signs of canonical ``payload``: ML-DSA a marked digest, every other kind the payload.

    Source: TUF TAP 21, version 1.
    """
    if family_of(key) == CLASSICAL:
        return payload
    return b"tuf\x01" + hashlib.sha512(payload).digest()


def family_of(key: Key) -> str:
    """Return ``MLDSA`` or ``CLASSICAL``; by what the key says of itself, whether it can be used or not."""
    return MLDSA if key.keytype == "ml-dsa" else CLASSICAL


def encode_pem(key: Key) -> bytes:
    """Return the key as PEM, the form that openssl reads."""
    return public_key(key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def is_checkable_by_dgst(key: Key) -> bool:
    """Tell whether ``openssl dgst -verify`` can check it; Ed25519 needs pkeyutl of OpenSSL 3."""
    return key.keytype in {"ecdsa", "rsa"}


def has_openssl_line(key: Key) -> bool:
    """Tell whether an OpenSSL of today's sites (1.1 for ``dgst``, 3.0 for ``pkeyutl``) can check it."""
    return family_of(key) == CLASSICAL


def openssl_line(key: Key, *, key_file: str, signature_file: str, content_file: str) -> str:
    """Return the command with which stock OpenSSL checks a signature over SHA-256.

    Source: openssl-dgst(1), openssl-pkeyutl(1), section "ED25519 AND ED448 ALGORITHMS".

    Raises:
        UnusableKeyError: The key has no such line; see ``has_openssl_line``.
    """
    if not has_openssl_line(key):
        raise UnusableKeyError(f"stock OpenSSL does not know {key.scheme}")
    if key.keytype == "ed25519":
        return f"openssl pkeyutl -verify -pubin -inkey {key_file} -rawin -in {content_file} -sigfile {signature_file}"
    pss = " -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32" if key.keytype == "rsa" else ""
    return f"openssl dgst -sha256{pss} -verify {key_file} -signature {signature_file} {content_file}"


def is_valid_over_sha256(key: Key, signature: bytes, content: bytes) -> bool:
    """Tell whether ``signature`` is what ``openssl_line`` would call good; ML-DSA as FIPS 204 has it.

    Raises:
        UnusableKeyError: See ``public_key``.
    """
    public = public_key(key)
    try:
        if isinstance(public, ed25519.Ed25519PublicKey | mldsa.MLDSA65PublicKey):
            public.verify(signature, content)
        elif isinstance(public, rsa.RSAPublicKey):
            pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=PSS_SALT_BYTES)
            public.verify(signature, content, pss, hashes.SHA256())
        else:
            public.verify(signature, content, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
