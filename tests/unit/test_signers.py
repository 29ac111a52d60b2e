"""File keys, and that no signature leaves the signing room unchecked."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from teraferry.bundles.errors import BuildError
from teraferry.keys.public_keys import is_valid_over_sha256
from teraferry.keys.signers import KeyRing, KeySigner
from teraferry.keys.signers.file import FileKey, open_file_key
from teraferry.keys.uri import FileUri
from tests.lab.house import MAKERS, make_file_key, no_pin


def refused(path: Path, *, passphrase: str = "") -> BuildError:
    with KeyRing(lambda _: passphrase) as ring, pytest.raises(BuildError) as caught:
        ring.open(f"file:{path}")
    assert caught.value.exit_status == 31
    return caught.value


@pytest.mark.parametrize("kind", MAKERS)
def test_a_file_key_signs_for_tuf_and_for_openssl(tmp_path: Path, kind: str) -> None:
    with KeyRing(no_pin) as ring:
        signer = ring.open(make_file_key(tmp_path, "dev", kind))

    signer.key.verify_signature(signer.sign_metadata(b"payload"), b"payload")
    assert is_valid_over_sha256(signer.key, signer.sign_sha256(b"sums"), b"sums")
    assert not signer.evidence.is_fit_for_production


def test_a_signature_that_the_public_half_does_not_know_never_leaves(tmp_path: Path) -> None:
    first, second = (
        open_file_key(FileUri("", make_file_key(tmp_path, name).removeprefix("file:")), no_pin) for name in "ab"
    )
    private = MAKERS["p256"]()
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    torn = KeySigner(FileKey(private, second.key, "torn"), name="torn pair")

    assert first.key.keyid != second.key.keyid
    for sign in (torn.sign_sha256, torn.sign_metadata):
        with pytest.raises(BuildError) as caught:
            sign(b"payload")
        assert caught.value.reference == "signature-not-valid"


def test_a_locked_key_asks_for_its_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "locked.pem"
    locked = BestAvailableEncryption(b"canary-pass")
    path.write_bytes(MAKERS["p256"]().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))

    with KeyRing(lambda _: "canary-pass") as ring:
        assert ring.open(f"file:{path}").sign_sha256(b"sums")
    error = refused(path, passphrase="canary-wrong")

    assert error.reference == "pin-wrong"
    assert "canary" not in f"{error.message}{error.hint}{error.facts}"


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "nothing.pem").reference == "key-missing"


def test_what_is_no_key_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "note.pem").write_text("no key")

    assert refused(tmp_path / "note.pem").reference == "key-unreadable"


@pytest.mark.parametrize(
    "private",
    [rsa.generate_private_key(public_exponent=65537, key_size=2048), ec.generate_private_key(ec.SECP521R1())],
    ids=["rsa-2048", "p-521"],
)
def test_a_kind_that_is_not_offered_is_refused(
    tmp_path: Path, private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    assert refused(path).reference == "key-type-unsupported"
