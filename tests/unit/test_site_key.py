"""The site's own key: made once, readable by root alone, and believed for nothing but receipts."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from teraferry.bundles.errors import TrustError
from teraferry.bundles.receipt import encode_receipt, encode_signed_part
from teraferry.keys.public_keys import UnusableKeyError
from teraferry.keys.site_key import (
    SITE_KEY_NAME,
    load_site_key,
    make_site_key,
    parse_site_key,
    require_signed_by,
)
from tests.fakes.receipts import first_receipt, full_receipt, site_key

KEY = site_key("site")


def private_pem(private: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def refusal_of(state: Path) -> TrustError:
    with pytest.raises(TrustError) as caught:
        load_site_key(state)
    assert caught.value.exit_status == 24
    return caught.value


def test_key_is_made_for_root_alone_and_read_again(tmp_path: Path) -> None:
    assert load_site_key(tmp_path) is None
    before = os.umask(0)
    try:
        made = make_site_key(tmp_path)
    finally:
        os.umask(before)
    read = load_site_key(tmp_path)

    assert read is not None
    assert read.fingerprint == made.fingerprint
    assert stat.S_IMODE((tmp_path / SITE_KEY_NAME).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [SITE_KEY_NAME]
    assert make_site_key(tmp_path).fingerprint != made.fingerprint


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610])
def test_key_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    make_site_key(tmp_path)
    (tmp_path / SITE_KEY_NAME).chmod(mode)

    assert refusal_of(tmp_path).reference == "site-key-exposed"


def test_key_of_another_user_is_refused(tmp_path: Path) -> None:
    make_site_key(tmp_path)
    os.chown(tmp_path / SITE_KEY_NAME, 12345, 12345)

    assert refusal_of(tmp_path).reference == "site-key-exposed"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_pipe_or_folder_in_place_of_the_key_is_refused_and_not_waited_for(
    tmp_path: Path, make: Callable[[Path, int], None]
) -> None:
    make(tmp_path / SITE_KEY_NAME, 0o600)

    assert refusal_of(tmp_path).reference == "site-key-exposed"


def test_link_in_place_of_the_key_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    make_site_key(tmp_path / "elsewhere")
    (tmp_path / SITE_KEY_NAME).symlink_to(tmp_path / "elsewhere" / SITE_KEY_NAME)

    assert refusal_of(tmp_path).reference == "site-key-damaged"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"secret bytes",
        private_pem(KEY.private)[:-40],
        private_pem(ec.generate_private_key(ec.SECP384R1())),
        private_pem(Ed25519PrivateKey.generate()),
    ],
    ids=["empty", "other", "cut", "p384", "ed25519"],
)
def test_file_that_holds_no_key_of_ours_is_refused_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / SITE_KEY_NAME
    path.write_bytes(content)
    path.chmod(0o600)
    refused = refusal_of(tmp_path)

    assert refused.reference == "site-key-damaged"
    assert "secret" not in f"{refused.message}{refused.hint}{refused.facts}"
    assert refused.__suppress_context__ or refused.__context__ is None


def test_receipt_is_believed_by_the_key_that_signed_it() -> None:
    assert require_signed_by(KEY.sign(full_receipt()), KEY.private.public_key(), name="r") == full_receipt()


def test_receipt_of_another_key_is_refused_although_it_names_itself() -> None:
    with pytest.raises(TrustError) as caught:
        require_signed_by(KEY.sign(full_receipt()), site_key("thief").private.public_key(), name="r")
    assert caught.value.reference == "receipt-of-another-key"
    assert caught.value.facts["found"] == KEY.fingerprint


def test_signature_of_another_key_under_the_trusted_name_is_refused() -> None:
    forged = site_key("thief").sign(full_receipt())
    with pytest.raises(TrustError) as caught:
        require_signed_by(forged, KEY.private.public_key(), name="r")
    assert caught.value.reference == "receipt-signature-wrong"


def test_public_key_in_another_spelling_is_refused() -> None:
    pem = KEY.public_pem
    p384 = ec.generate_private_key(ec.SECP384R1()).public_key()
    other = p384.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    assert parse_site_key(pem) == KEY.private.public_key()
    for wrong in (f" {pem}", pem.replace("\n", "\r\n"), pem[:-1], other, ""):
        with pytest.raises(UnusableKeyError):
            parse_site_key(wrong)


def test_stock_tools_check_a_receipt(tmp_path: Path) -> None:
    """The lines of docs/receipt.md."""
    (tmp_path / "FILE").write_bytes(encode_receipt(KEY.sign(full_receipt())))
    lines = """
        jq -r .signed.site.key FILE > site.pem
        jq -cjS .signed FILE > signed.json
        jq -r .signature FILE | tr -d '\\n' | tr a-f A-F | basenc --base16 -d > signature
        openssl dgst -sha256 -verify site.pem -signature signature signed.json
        openssl pkey -pubin -in site.pem -outform DER | sha256sum
    """
    done = subprocess.run(["sh", "-ec", lines], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.splitlines() == ["Verified OK", f"{KEY.fingerprint}  -"], done.stderr
    assert (tmp_path / "signed.json").read_bytes() == encode_signed_part(full_receipt())


def test_first_receipt_says_no_secret() -> None:
    secret = f"{KEY.private.private_numbers().private_value:064x}"
    shown = encode_receipt(KEY.sign(first_receipt())).decode() + repr(KEY)

    assert secret not in shown
