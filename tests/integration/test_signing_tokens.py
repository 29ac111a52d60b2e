"""Keys on real PKCS#11 tokens: every kind signs, and every failure has its own name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pkcs11 import TokenFlag

from teraferry.bundles.errors import BuildError
from teraferry.bundles.system.process import run
from teraferry.keys.public_keys import is_valid_over_sha256
from teraferry.keys.signers import KeyRing
from teraferry.keys.signers.token_errors import require_tries_left
from teraferry.keys.uri import Pkcs11Uri, parse_key_uri
from tests.lab.house import no_pin
from tests.lab.softhsm import LabKey, SoftHsm
from tests.lab.token_keys import generate, open_token


@pytest.fixture
def hsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    made = SoftHsm(tmp_path / "hsm").create()
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def ring() -> Iterator[KeyRing]:
    with KeyRing(no_pin) as opened:
        yield opened


def refused(ring: KeyRing, uri: str) -> BuildError:
    with pytest.raises(BuildError) as caught:
        ring.open(uri)
    assert caught.value.exit_status == 31
    return caught.value


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa", "ed25519"])
def test_a_token_key_signs_for_tuf_and_for_openssl(hsm: SoftHsm, ring: KeyRing, kind: str) -> None:
    signer = ring.open(hsm.token_with_key("alice", kind).uri)

    signer.key.verify_signature(signer.sign_metadata(b"payload"), b"payload")
    assert is_valid_over_sha256(signer.key, signer.sign_sha256(b"sums"), b"sums")


def test_a_generated_token_key_is_fit_for_production(hsm: SoftHsm, ring: KeyRing) -> None:
    evidence = ring.open(hsm.token_with_key("alice").uri).evidence

    assert evidence.is_fit_for_production
    assert evidence.facts["token"] == "alice"


def test_two_keys_on_one_token_share_its_login(hsm: SoftHsm, ring: KeyRing) -> None:
    first = hsm.token_with_key("alice")
    second = hsm.add_key("alice", "other", key_id="02")

    assert ring.open(first.uri).key.keyid != ring.open(second.uri).key.keyid
    assert ring.open(first.uri).sign_sha256(b"still usable")


def test_a_key_may_be_named_by_id_and_token_by_serial(hsm: SoftHsm, ring: KeyRing) -> None:
    made = hsm.token_with_key("alice")
    signer = ring.open(made.uri)
    serial = signer.evidence.facts["serial"]
    by_id = made.uri.replace("token=alice", f"serial={serial}").replace("object=alice", "id=%01")

    assert ring.open(by_id).key.keyid == signer.key.keyid


def test_a_prompted_pin_is_asked_for_once_a_token(hsm: SoftHsm) -> None:
    made = hsm.token_with_key("alice", pin="4711-4711")
    asked: list[str] = []

    def ask(what: str) -> str:
        asked.append(what)
        return "4711-4711"

    with KeyRing(ask) as ring:
        ring.open(made.uri_without_pin)
        ring.open(made.uri_without_pin)

    assert asked == ["token alice"]


def test_a_missing_module_is_named(hsm: SoftHsm, ring: KeyRing) -> None:
    made = hsm.token_with_key("alice")

    assert refused(ring, made.uri.replace(hsm.module, "/nowhere/lib.so")).reference == "module-missing"


def test_a_text_file_is_no_module(hsm: SoftHsm, ring: KeyRing, tmp_path: Path) -> None:
    made = hsm.token_with_key("alice")
    (tmp_path / "lib.so").write_text("no library")

    assert refused(ring, made.uri.replace(hsm.module, str(tmp_path / "lib.so"))).reference == "module-not-pkcs11"


def test_another_library_is_no_module(hsm: SoftHsm, ring: KeyRing) -> None:
    import _ctypes

    made = hsm.token_with_key("alice")

    assert refused(ring, made.uri.replace(hsm.module, _ctypes.__file__)).reference == "module-not-pkcs11"


def test_a_module_without_its_configuration_is_not_ready(
    hsm: SoftHsm, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = hsm.token_with_key("alice")
    monkeypatch.setenv("SOFTHSM2_CONF", "/nowhere/softhsm2.conf")

    assert refused(ring, made.uri).reference == "module-not-ready"


def test_an_absent_token_is_named(hsm: SoftHsm, ring: KeyRing) -> None:
    made = hsm.token_with_key("alice")

    error = refused(ring, made.uri.replace("token=alice", "token=bob"))

    assert (error.reference, error.facts["token"]) == ("token-absent", "bob")


def test_two_tokens_of_one_label_are_ambiguous(hsm: SoftHsm, ring: KeyRing) -> None:
    made = hsm.token_with_key("alice")
    hsm.add_token("alice")

    assert refused(ring, made.uri).reference == "token-ambiguous"


def test_a_wrong_pin_is_named_and_not_shown(hsm: SoftHsm) -> None:
    made = hsm.token_with_key("alice")

    with KeyRing(lambda _: "canary-9177") as ring:
        error = refused(ring, made.uri_without_pin)

    assert error.reference == "pin-wrong"
    assert "canary" not in f"{error.message}{error.hint}{error.facts}{error.__cause__}"


def test_a_missing_pin_file_is_named(hsm: SoftHsm, ring: KeyRing, tmp_path: Path) -> None:
    made = hsm.token_with_key("alice")

    uri = f"{made.uri_without_pin}&pin-source=file:{tmp_path}/nothing"
    assert refused(ring, uri).reference == "pin-file-unreadable"


def test_a_missing_key_is_named(hsm: SoftHsm, ring: KeyRing) -> None:
    made = hsm.token_with_key("alice")

    error = refused(ring, made.uri.replace("object=alice", "object=bob"))

    assert (error.reference, error.facts["object"]) == ("key-missing", "bob")


def test_two_keys_of_one_name_are_ambiguous(hsm: SoftHsm, ring: KeyRing) -> None:
    made = hsm.token_with_key("alice")
    hsm.add_key("alice", "alice", key_id="02")

    assert refused(ring, made.uri).reference == "key-ambiguous"


def test_a_key_that_may_not_sign_is_named(hsm: SoftHsm, ring: KeyRing) -> None:
    hsm.add_token("alice")
    with open_token(hsm, "alice") as session:
        generate(session, "agree", sign=False)

    assert refused(ring, hsm.key("alice", "agree").uri).reference == "key-may-not-sign"


def test_a_token_whose_pin_was_never_set_is_told_apart(hsm: SoftHsm, ring: KeyRing) -> None:
    made = hsm.token_with_key("alice")
    tool = ("pkcs11-tool", "--module", hsm.module, "--init-token", "--slot-index", "1", "--label", "bob")
    done = run([*tool, "--so-pin", "87654321"], timeout_seconds=60, environment=hsm.environment)

    assert done.status == 0, done.stderr
    assert refused(ring, made.uri.replace("token=alice", "token=bob")).reference == "pin-not-set"


def test_a_private_key_without_its_public_half_is_named(hsm: SoftHsm, ring: KeyRing) -> None:
    made = hsm.token_with_key("alice")
    hsm.tool("alice", "--delete-object", "--type", "pubkey", "--label", "alice")

    assert refused(ring, made.uri).reference == "public-key-missing"


def test_a_short_rsa_key_is_refused(hsm: SoftHsm, ring: KeyRing) -> None:
    hsm.add_token("alice")
    hsm.tool("alice", "--keypairgen", "--key-type", "rsa:2048", "--label", "short", "--id", "01", "--usage-sign")

    assert refused(ring, hsm.key("alice", "short").uri).reference == "key-type-unsupported"


def test_a_token_that_disappears_while_signing_is_told_apart(hsm: SoftHsm, ring: KeyRing) -> None:
    signer = ring.open(hsm.token_with_key("alice").uri)
    shutil.rmtree(hsm.tokens)

    with pytest.raises(BuildError) as caught:
        signer.sign_sha256(b"sums")

    assert (caught.value.exit_status, caught.value.reference) == (31, "device-gone")


URI = parse_key_uri("pkcs11:token=alice;object=release?module-path=/lib/x.so&pin-source=file:/pin")


def test_the_last_try_is_not_spent_on_a_pin_from_a_file() -> None:
    assert isinstance(URI, Pkcs11Uri)
    with pytest.raises(BuildError) as caught:
        require_tries_left(int(TokenFlag.USER_PIN_FINAL_TRY), URI)
    assert caught.value.reference == "pin-last-try"

    require_tries_left(int(TokenFlag.USER_PIN_FINAL_TRY), replace(URI, pin_file=None))


def test_a_locked_token_is_refused_before_a_try() -> None:
    assert isinstance(URI, Pkcs11Uri)
    with pytest.raises(BuildError) as caught:
        require_tries_left(int(TokenFlag.USER_PIN_LOCKED), URI)
    assert caught.value.reference == "pin-locked"


def test_lab_keys_name_their_pin_only_by_file(hsm: SoftHsm) -> None:
    made: LabKey = hsm.token_with_key("alice", pin="99887766")

    assert made.pin not in made.uri
