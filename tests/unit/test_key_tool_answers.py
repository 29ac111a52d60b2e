"""What tools print is read strictly, and what a store's error means is never "lost" by guesswork."""

from __future__ import annotations

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.keys.stores import pkcs11_answers, tpm_answers
from teraferry.keys.uri import Pkcs11Uri, parse_key_uri

PROPERTIES = """TPM2_PT_PERMANENT:
  inLockout:                 {locked}
TPM2_PT_STARTUP_CLEAR:
  shEnable:                  1
  ehEnable:                  1
TPM2_PT_LOCKOUT_COUNTER: {failed}
TPM2_PT_MAX_AUTH_FAIL: 0x3
"""
SLOTS = """Available slots:
Slot 0 (0x16bc5a15): SoftHSM slot ID 0x16bc5a15
  token label        : vault
  token flags        : login required, rng, token initialized, PIN initialized{flags}
  serial num         : bc3acdb316bc5a15
Slot 1 (0x1): SoftHSM slot ID 0x1
  token state:   uninitialized
"""
KEYS = """Public Key Object; EC  EC_POINT 256 bits
  label:      vault
  ID:         01
Private Key Object; EC
  label:      vault
  ID:         01
  Usage:      decrypt, sign, unwrap
  Access:     sensitive, always sensitive, never extractable, local
Private Key Object; RSA
  label:      other
  ID:         {other}
"""


def uri(text: str = "token=vault;object=vault") -> Pkcs11Uri:
    parsed = parse_key_uri(f"pkcs11:{text}?module-path=/usr/lib/m.so&pin-source=file:/pin")
    assert isinstance(parsed, Pkcs11Uri)
    return parsed


@pytest.mark.parametrize(
    ("failed", "locked", "left"), [("0x0", 0, 3), ("0x1", 0, 2), ("0x2", 0, 1), ("0x3", 0, 0), ("0x0", 1, 0)]
)
def test_tries_left_are_what_the_tpm_says(failed: str, locked: int, left: int) -> None:
    assert tpm_answers.parse_lockout(PROPERTIES.format(failed=failed, locked=locked), "k").tries_left == left


@pytest.mark.parametrize("missing", ["LOCKOUT_COUNTER", "MAX_AUTH_FAIL", "inLockout", "shEnable"])
def test_property_that_is_not_there_is_not_guessed(missing: str) -> None:
    text = "\n".join(line for line in PROPERTIES.format(failed="0x0", locked=0).splitlines() if missing not in line)

    with pytest.raises(RefusedError) as caught:
        tpm_answers.parse_lockout(text, "k")
    assert caught.value.reference == "tpm-unreadable"


@pytest.mark.parametrize("text", ["", "name: xyz\ntype:\n  value: ecc\n", "name: 000b1122334455\n"])
def test_public_area_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        tpm_answers.parse_public(text, "k")


@pytest.mark.parametrize(
    ("stderr", "reference"),
    [
        (b"ERROR: Eys_Sign(0x921) - tpm:warn(2.0): ... DA lockout mode", "tpm-locked-out"),
        (b"ERROR: Eys_Sign(0x98E) - tpm:session(1):the authorization HMAC check failed", "tpm-login-failed"),
        (b"ERROR: Eys_Sign(0x9A2) - tpm:session(1)", "tpm-login-failed"),
        (b"ERROR: Eys_Sign(0x12F) - tpm:error(2.0)", "tpm-login-failed"),
        (b"ERROR: Eys_Sign(0x99D) - tpm:session(1):a policy check failed", "tpm-policy-failed"),
        (b"ERROR: x(0x902) - out of memory for object contexts", "tpm-failed"),
        (b"ERROR: x(0x101) - something", "tpm-failed"),
        (b"ERROR:tcti:src/tss2-tcti/tcti-device.c:442 Failed to open device file /dev/tpmrm0", "tpm-unreachable"),
        (b"ERROR: Could not load tcti (0xa000a) - tcti:IO failure", "tpm-unreachable"),
        (b"", "tpm-unreachable"),
    ],
)
def test_error_of_a_tpm_is_a_refusal_that_names_its_cause(stderr: bytes, reference: str) -> None:
    refused = tpm_answers.explain(stderr, "key k")

    assert (refused.reference, refused.exit_status, bool(refused.hint)) == (reference, 40, True)


@pytest.mark.parametrize(
    ("flag", "reference"),
    [
        (", user PIN count low", "pin-last-try"),
        (", user PIN count low, final user PIN try", "pin-last-try"),
        (", user PIN locked", "pin-locked"),
    ],
)
def test_token_near_its_lock_is_not_logged_in_to(flag: str, reference: str) -> None:
    (token,) = pkcs11_answers.parse_tokens(SLOTS.format(flags=flag))

    with pytest.raises(RefusedError) as caught:
        pkcs11_answers.require_tries_left(token, "k")
    assert caught.value.reference == reference


def test_token_with_all_its_tries_may_be_logged_in_to() -> None:
    tokens = pkcs11_answers.parse_tokens(SLOTS.format(flags=""))

    token = pkcs11_answers.choose_token(tokens, uri(), "k")
    pkcs11_answers.require_tries_left(token, "k")
    assert (token.slot, token.serial) == ("0x16bc5a15", "bc3acdb316bc5a15")


def test_token_that_is_not_there_is_no_lost_key() -> None:
    with pytest.raises(RefusedError) as caught:
        pkcs11_answers.choose_token((), uri(), "k")
    assert caught.value.reference == "token-absent"


def test_key_is_chosen_by_all_that_the_uri_says() -> None:
    objects = pkcs11_answers.parse_objects(KEYS.format(other="02"))

    chosen = pkcs11_answers.choose_key(objects, uri(), "k")
    assert chosen is not None
    assert (chosen.id, chosen.kind, chosen.access) == (
        "01",
        "EC",
        "sensitive, always sensitive, never extractable, local",
    )
    assert pkcs11_answers.choose_key(objects, uri("token=vault;object=nobody"), "k") is None
    assert pkcs11_answers.choose_key(objects, uri("token=vault;object=vault;id=%02"), "k") is None


def test_key_that_shares_its_id_is_refused_since_the_other_could_sign_for_it() -> None:
    with pytest.raises(RefusedError) as caught:
        pkcs11_answers.choose_key(pkcs11_answers.parse_objects(KEYS.format(other="01")), uri(), "k")
    assert caught.value.reference == "key-ambiguous"


@pytest.mark.parametrize(
    ("stderr", "reference"),
    [
        (b"error: PKCS11 function C_Login failed: rv = CKR_PIN_INCORRECT (0xa0)", "pin-wrong"),
        (b"error: PKCS11 function C_Login failed: rv = CKR_PIN_LOCKED (0xa4)", "pin-locked"),
        (b"error: ... rv = CKR_TOKEN_NOT_PRESENT (0xe0)", "token-absent"),
        (b"error: ... rv = CKR_DEVICE_REMOVED (0x32)", "device-gone"),
        (b"sc_dlopen failed: /nope.so: cannot open", "module-missing"),
        (b"error: ... rv = CKR_GENERAL_ERROR (0x5)", "token-failed"),
        (b"", "token-failed"),
    ],
)
def test_error_of_a_token_is_a_refusal_that_names_its_cause(stderr: bytes, reference: str) -> None:
    assert pkcs11_answers.explain(stderr, "key k").reference == reference
