"""Which keys count, and when two are the same."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from securesystemslib.signer import SSlibKey

from teraferry.keys.public_keys import UnusableKeyError, material_of, openssl_line, public_key, tuf_key
from tests.lab.house import MAKERS


@pytest.mark.parametrize("kind", MAKERS)
def test_a_key_is_the_same_in_every_notation(kind: str) -> None:
    key = tuf_key(MAKERS[kind]().public_key())
    value = key.keyval["public"]
    other = value.upper() if kind == "ed25519" else value.replace("\n", "\r\n")

    renamed = SSlibKey("f" * 64, key.keytype, key.scheme, {"public": other})

    assert material_of(renamed) == material_of(key)
    assert material_of(tuf_key(MAKERS[kind]().public_key())) != material_of(key)


@pytest.mark.parametrize(
    ("keytype", "scheme"),
    [
        ("rsa", "rsa-pkcs1v15-sha256"),
        ("rsa", "rsassa-pss-sha512"),
        ("ecdsa", "ecdsa-sha2-nistp521"),
        ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"),
        ("rsa", "pgp+rsa-pkcsv1.5"),
        ("ml-dsa", "ml-dsa-87/1"),
        ("ml-dsa", "ml-dsa-44/1"),
    ],
)
def test_a_kind_that_is_not_offered_never_counts(keytype: str, scheme: str) -> None:
    value = tuf_key(MAKERS["rsa" if keytype == "rsa" else "p256"]().public_key()).keyval

    with pytest.raises(UnusableKeyError):
        public_key(SSlibKey("f" * 64, keytype, scheme, value))


@pytest.mark.parametrize("scheme", ["ecdsa-sha2-nistp384", "ecdsa-sha2-nistp256"])
def test_a_key_of_another_curve_than_it_says_never_counts(scheme: str) -> None:
    kind = {"ecdsa-sha2-nistp384": "p256", "ecdsa-sha2-nistp256": "p384"}[scheme]
    value = tuf_key(MAKERS[kind]().public_key()).keyval

    with pytest.raises(UnusableKeyError):
        public_key(SSlibKey("f" * 64, "ecdsa", scheme, value))


@pytest.mark.parametrize("value", ["", "zz", "00" * 31, "-----BEGIN PUBLIC KEY-----\n"])
def test_what_is_no_key_never_counts(value: str) -> None:
    for keytype, scheme in (("ed25519", "ed25519"), ("ecdsa", "ecdsa-sha2-nistp256")):
        with pytest.raises(UnusableKeyError):
            public_key(SSlibKey("f" * 64, keytype, scheme, {"public": value}))


def test_a_short_rsa_key_is_not_taken_into_a_root() -> None:
    with pytest.raises(UnusableKeyError):
        tuf_key(rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key())


def test_a_short_rsa_key_that_a_root_names_all_the_same_never_counts() -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()

    with pytest.raises(UnusableKeyError):
        public_key(SSlibKey.from_crypto(short))


def test_the_printed_line_of_rsa_names_padding_and_salt() -> None:
    line = openssl_line(
        tuf_key(MAKERS["rsa"]().public_key()), key_file="k.pem", signature_file="s.sig", content_file="SHA256SUMS"
    )

    assert line == (
        "openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -verify k.pem "
        "-signature s.sig SHA256SUMS"
    )
