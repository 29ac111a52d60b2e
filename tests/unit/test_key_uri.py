"""Key URIs and PINs: what is read, what is refused, and that no secret is ever repeated."""

from __future__ import annotations

import pytest

from teraferry.builder.pins import choose_pin_source
from teraferry.bundles.errors import UsageError
from teraferry.keys.uri import FileUri, Pkcs11Uri, parse_gpg_uri, parse_key_uri

MODULE = "?module-path=/usr/lib/x.so"


def refused(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse_key_uri(text)
    assert "secret" not in f"{caught.value.message}{caught.value.hint}"
    return caught.value.reference


def test_every_part_of_a_token_key_is_read() -> None:
    uri = parse_key_uri(
        "pkcs11:token=My%20HSM;serial=00ff;object=rel%3B1;id=%01%ff;type=private"
        "?module-path=/usr/lib/x.so&pin-source=file:/run/pin%20file"
    )

    assert isinstance(uri, Pkcs11Uri)
    assert (uri.token, uri.serial, uri.object, uri.id) == ("My HSM", "00ff", "rel;1", b"\x01\xff")
    assert (uri.module_path, uri.pin_file) == ("/usr/lib/x.so", "/run/pin file")


@pytest.mark.parametrize("source", ["file:/run/pin", "file:///run/pin", "/run/pin"])
def test_a_pin_source_is_a_file_in_any_of_its_forms(source: str) -> None:
    uri = parse_key_uri(f"pkcs11:token=a;object=b{MODULE}&pin-source={source}")

    assert isinstance(uri, Pkcs11Uri)
    assert uri.pin_file == "/run/pin"


def test_a_file_key_has_a_path() -> None:
    assert parse_key_uri("file:keys/KEY.pem") == FileUri("file:keys/KEY.pem", "keys/KEY.pem")


@pytest.mark.parametrize(
    "text",
    [
        f"pkcs11:object=b{MODULE}",
        f"pkcs11:token=a{MODULE}",
        "pkcs11:token=a;object=b",
        "pkcs11:token=a;object=b?module-path=relative.so",
        f"pkcs11:token=a;token=b;object=c{MODULE}",
        f"pkcs11:token=;object=c{MODULE}",
        f"pkcs11:token=a%zz;object=c{MODULE}",
        f"pkcs11:token=%ff;object=c{MODULE}",
        f"pkcs11:token=a;object=c;slot-id=3{MODULE}",
        f"pkcs11:token=a;object=c;type=public{MODULE}",
        f"pkcs11:token=a;object=c{MODULE}&pin-source=|cat%20/run/pin",
        "file:",
    ],
)
def test_a_malformed_uri_is_refused(text: str) -> None:
    assert refused(text) == "key-uri-malformed"


@pytest.mark.parametrize("place", [f";pin-value=secret{MODULE}", f"{MODULE}&pin-value=secret"])
def test_a_pin_in_the_uri_is_refused_and_not_repeated(place: str) -> None:
    assert refused(f"pkcs11:token=a;object=b{place}") == "pin-in-uri"


@pytest.mark.parametrize("text", ["", "secret", "https://secret.example/key", "PKCS11:token=a"])
def test_another_kind_of_key_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_key_uri(text)
    assert caught.value.reference == "key-uri-unknown-kind"


def test_an_openpgp_key_is_named_by_its_whole_fingerprint() -> None:
    uri = parse_gpg_uri(f"gpg:{'0b12 724d ' * 5}?pin-source=file:/pin")

    assert (uri.fingerprint, uri.pin_file) == ("0B12724D" * 5, "/pin")


@pytest.mark.parametrize("rest", ["", "15EAD025", f"{'A' * 40}?pin-value=1", f"{'A' * 40}?pin-source=|id"])
def test_a_malformed_openpgp_uri_is_refused(rest: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_gpg_uri(f"gpg:{rest}")
    assert caught.value.reference == "key-uri-malformed"


def test_an_openpgp_key_signs_no_metadata() -> None:
    with pytest.raises(UsageError) as caught:
        parse_key_uri(f"gpg:{'A' * 40}")
    assert caught.value.reference == "openpgp-key-not-here"


KEY_A, KEY_B = (f"pkcs11:token={name};object=k{MODULE}" for name in "ab")


def test_the_environment_gives_the_pin_of_one_key() -> None:
    assert choose_pin_source([KEY_A, "file:dev.pem"], {"TERAFERRY_PIN": "1234"}, None)("token a") == "1234"


def test_the_environment_is_refused_for_several_keys() -> None:
    with pytest.raises(UsageError) as caught:
        choose_pin_source([KEY_A, KEY_B], {"TERAFERRY_PIN": "secret"}, None)

    assert (caught.value.exit_status, caught.value.reference) == (2, "pin-for-several-keys")
    assert "secret" not in caught.value.message


def test_nobody_to_ask_is_a_usage_error() -> None:
    with pytest.raises(UsageError) as caught:
        choose_pin_source([KEY_A], {}, None)("token a")

    assert caught.value.reference == "pin-needed"


def test_a_person_is_asked_otherwise() -> None:
    assert choose_pin_source([KEY_A], {}, lambda what: f"pin of {what}")("token a") == "pin of token a"
