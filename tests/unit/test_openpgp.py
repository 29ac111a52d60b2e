"""Which OpenPGP signatures count: real keys, real signatures, real gpgv, and each verdict with its status."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from teraferry.bundles.errors import TrustError
from teraferry.bundles.system.clock import now_utc
from teraferry.keys.openpgp.gpgv import OpenPgpKey, load_openpgp_key, require_openpgp_signature
from teraferry.keys.openpgp.judge import judge_status, parse_fingerprint
from teraferry.keys.openpgp.key import fingerprint_of_key, parse_public_key
from teraferry.keys.openpgp.listing import end_of_rows, list_key_end
from tests.lab.gnupg import GpgHome

CONTENT = b"0123  START-HERE.html\n4567  terachat-4.2.0.tar.gz\n"
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Ring:
    """A home with a pinned key, which signs by a subkey, and a stranger's."""

    home: GpgHome
    pinned: str
    stranger: str

    def key(self, fingerprint: str = "") -> OpenPgpKey:
        wanted = fingerprint or self.pinned
        return OpenPgpKey(wanted, self.home.export(wanted))


@pytest.fixture(scope="module")
def ring() -> Iterator[Ring]:
    with GpgHome() as home:
        pinned = home.make_key("pinned")
        home.add_subkey(pinned)
        yield Ring(home, pinned, home.make_key("stranger"))


def check(
    key: OpenPgpKey,
    signature: bytes | None,
    *,
    content: bytes = CONTENT,
    now: datetime | None = None,
    proven_past: datetime = datetime(2020, 1, 1, tzinfo=UTC),
) -> str:
    now = now or now_utc()
    return require_openpgp_signature(content, signature, key, now=now, proven_past=proven_past).fingerprint


def refused(key: OpenPgpKey, signature: bytes | None, **how: object) -> tuple[int, str]:
    with pytest.raises(TrustError) as caught:
        check(key, signature, **how)  # type: ignore[arg-type]
    assert caught.value.hint
    return caught.value.exit_status, caught.value.reference


def test_signature_by_a_subkey_counts_for_the_pinned_primary_key(ring: Ring) -> None:
    signature = ring.home.sign(CONTENT, ring.pinned)

    assert check(ring.key(), signature) == ring.pinned


def test_pinning_a_subkey_is_no_way_to_pin_its_primary_key(ring: Ring) -> None:
    listed = ring.home.gpg("--with-colons", "--list-keys", ring.pinned).text().splitlines()
    subkey = [line.split(":")[9] for line in listed if line.startswith("fpr:")][1]

    assert refused(replace(ring.key(), fingerprint=subkey), ring.home.sign(CONTENT, ring.pinned)) == (
        20,
        "openpgp-missing",
    )


def test_altered_content_is_bad(ring: Ring) -> None:
    signature = ring.home.sign(CONTENT, ring.pinned)

    assert refused(ring.key(), signature, content=CONTENT + b"\n") == (20, "openpgp-bad")


@pytest.mark.parametrize("signature", [None, b""])
def test_no_signature_is_missing(ring: Ring, signature: bytes | None) -> None:
    assert refused(ring.key(), signature) == (20, "openpgp-missing")


def test_unknown_key_alone_is_missing(ring: Ring) -> None:
    assert refused(ring.key(), ring.home.sign(CONTENT, ring.stranger)) == (20, "openpgp-missing")


def test_another_key_in_the_keyring_is_not_the_pinned_one(ring: Ring) -> None:
    both = OpenPgpKey(ring.pinned, ring.home.export(ring.pinned, ring.stranger))

    assert refused(both, ring.home.sign(CONTENT, ring.stranger)) == (20, "openpgp-missing")


@pytest.mark.parametrize("pinned_first", [True, False])
def test_unknown_signature_beside_the_good_one_is_passed_over(ring: Ring, *, pinned_first: bool) -> None:
    names = (ring.pinned, ring.stranger) if pinned_first else (ring.stranger, ring.pinned)

    assert check(ring.key(), ring.home.sign(CONTENT, *names)) == ring.pinned


def test_bad_signature_of_the_pinned_key_refuses_beside_a_good_one(ring: Ring) -> None:
    good = ring.home.dearmor(ring.home.sign(CONTENT, ring.pinned))
    bad = ring.home.dearmor(ring.home.sign(b"other", ring.pinned))

    assert refused(ring.key(), good + bad) == (20, "openpgp-bad")
    assert refused(ring.key(), bad + good) == (20, "openpgp-bad")


def test_revoked_key_is_refused_though_gpgv_ends_with_0(ring: Ring) -> None:
    revoked = ring.home.make_key("revoked")
    signature = ring.home.sign(CONTENT, revoked)
    before = ring.key(revoked)
    ring.home.revoke(revoked)

    assert check(before, signature) == revoked
    assert refused(ring.key(revoked), signature) == (20, "openpgp-key-revoked")


def test_expired_key_is_refused_though_gpgv_ends_with_0(ring: Ring) -> None:
    begin = now_utc() - 400 * DAY
    expired = ring.home.make_key("expired", expires=f"{begin + 200 * DAY:%Y-%m-%d}", at=begin)
    signature = ring.home.sign(CONTENT, expired, at=begin + DAY)

    assert refused(ring.key(expired), signature) == (21, "openpgp-expired")


def test_expired_signature_is_refused(ring: Ring) -> None:
    begin = now_utc() - 400 * DAY
    key = ring.home.make_key("of-last-year", at=begin)
    signature = ring.home.sign(CONTENT, key, at=begin + DAY, options=["--default-sig-expire", "10d"])

    assert refused(ring.key(key), signature) == (21, "openpgp-expired")


def test_key_that_is_newer_than_the_clock_is_undecided(ring: Ring) -> None:
    later = now_utc() + 200 * DAY
    key = ring.home.make_key("of-next-year", at=later)
    signature = ring.home.sign(CONTENT, key, at=later + DAY)

    assert refused(ring.key(key), signature) == (23, "openpgp-undecided")


def test_signature_more_than_a_day_ahead_of_the_clock_is_undecided_though_gpgv_calls_it_good(ring: Ring) -> None:
    key = ring.home.make_key("in-time", at=now_utc() - DAY)

    soon = ring.home.sign(CONTENT, key, at=now_utc() + timedelta(hours=20))
    later = ring.home.sign(CONTENT, key, at=now_utc() + timedelta(hours=28))

    assert check(ring.key(key), soon) == key
    assert refused(ring.key(key), later) == (23, "openpgp-ahead-of-clock")


def test_clock_behind_a_date_proven_past_decides_nothing(ring: Ring) -> None:
    signature = ring.home.sign(CONTENT, ring.pinned)
    now = now_utc()

    assert check(ring.key(), signature, now=now, proven_past=now + timedelta(hours=23)) == ring.pinned
    behind = {"now": now, "proven_past": now + timedelta(hours=25)}
    assert refused(ring.key(), signature, **behind) == (23, "openpgp-clock-behind")


def test_digest_that_can_be_forged_does_not_count(ring: Ring) -> None:
    signature = ring.home.sign(CONTENT, ring.pinned, options=["--digest-algo", "SHA1"])

    assert refused(ring.key(), signature) == (20, "openpgp-weak-digest")


@pytest.mark.parametrize("clear", [True, False])
def test_message_with_other_content_in_it_is_no_detached_signature(ring: Ring, *, clear: bool) -> None:
    message = ring.home.sign_inline(CONTENT, ring.pinned, clear=clear)

    assert refused(ring.key(), message) == (24, "openpgp-unreadable")


@pytest.mark.parametrize("junk", [b"\x00", b"junk" * 100, bytes(range(256)), b"-----BEGIN PGP SIGNATURE-----\n"])
def test_garbage_is_unreadable(ring: Ring, junk: bytes) -> None:
    assert refused(ring.key(), junk) == (24, "openpgp-unreadable")


def test_key_material_in_the_signature_file_is_refused(ring: Ring) -> None:
    """A key that comes with the signature must never become a key that the signature is checked by."""
    signature = ring.home.dearmor(ring.home.sign(CONTENT, ring.stranger))
    key = ring.home.export(ring.stranger)

    assert refused(ring.key(ring.stranger), signature + key) == (24, "openpgp-unreadable")
    assert refused(ring.key(), key + signature) == (24, "openpgp-unreadable")


def test_flipped_byte_of_a_signature_is_refused_but_where_it_is_only_a_hint(ring: Ring) -> None:
    key = ring.key()
    signature = ring.home.dearmor(ring.home.sign(CONTENT, ring.pinned))
    # RFC 4880, 5.2.3: the packet's own length, the subpackets that are not signed, two bytes to compare in haste.
    unhashed = 8 + int.from_bytes(signature[6:8], "big")
    unhashed_bytes = int.from_bytes(signature[unhashed : unhashed + 2], "big")
    hints = {1, *range(unhashed, unhashed + 2 + unhashed_bytes + 2)}
    accepted = set()

    for position in range(len(signature)):
        flipped = signature[:position] + bytes([signature[position] ^ 0xFF]) + signature[position + 1 :]
        try:
            check(key, flipped)
        except TrustError:
            continue
        accepted.add(position)

    assert accepted <= hints


def test_machine_without_gpgv_cannot_decide(ring: Ring, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    signature, key = ring.home.sign(CONTENT, ring.pinned), ring.key()
    monkeypatch.setenv("PATH", str(tmp_path))

    assert refused(key, signature) == (23, "openpgp-no-verifier")


NOW = datetime(2026, 5, 4, tzinfo=UTC)
PINNED = "A" * 40
GOOD = "[GNUPG:] GOODSIG 15EAD025 A <a@x>\n"
VALID = f"[GNUPG:] VALIDSIG {'B' * 40} 2026-05-01 1777593600 0 4 0 22 8 00 {PINNED}\n"


@pytest.mark.parametrize(
    "status",
    [
        "",
        "gpgv: Good signature\n" + GOOD + VALID,
        "[GNUPG:] NEWSIG\n" + GOOD,
        "[GNUPG:] NEWSIG\n" + VALID,
        "[GNUPG:] NEWSIG\n" + GOOD + GOOD + VALID,
        "[GNUPG:] NEWSIG\n" + GOOD + VALID + VALID,
        "[GNUPG:] NEWSIG\n" + GOOD + "[GNUPG:] NEWSIG\n" + VALID,
        "[GNUPG:] NEWSIG\n" + GOOD + VALID + "[GNUPG:] EXPKEYSIG 15EAD025 A\n",
        "[GNUPG:] NEWSIG\n" + GOOD + VALID.replace(PINNED, "C" * 40),
        "[GNUPG:] NEWSIG\n" + GOOD + VALID.replace(f" 00 {PINNED}", f" 00 {PINNED[:-1]}"),
        "[GNUPG:] NEWSIG\n" + GOOD + VALID.replace("1777593600", "20260501T000000"),
    ],
)
def test_anything_but_one_goodsig_and_one_validsig_of_the_pinned_key_is_refused(status: str) -> None:
    with pytest.raises(TrustError):
        judge_status(status, PINNED, now=NOW)


def test_one_goodsig_and_one_validsig_of_the_pinned_key_count() -> None:
    found = judge_status("[GNUPG:] NEWSIG\n" + GOOD + VALID, PINNED, now=NOW)

    assert (found.fingerprint, found.signed_at) == (PINNED, datetime(2026, 5, 1, tzinfo=UTC))


def test_fingerprint_is_read_as_people_type_it() -> None:
    typed = "0b12 724d dd30 7f09 478e  6ea1 5fcf 31a5 15ea d025"

    assert parse_fingerprint(typed) == parse_fingerprint(f"gpg:{typed.replace(' ', '')}")


@pytest.mark.parametrize("text", ["", "15EAD025", "0x15EAD025DDD30F70", "A" * 41, "G" * 40])
def test_short_key_id_is_no_fingerprint(text: str) -> None:
    with pytest.raises(ValueError):
        parse_fingerprint(text)


def test_key_file_is_read_armored_and_binary(ring: Ring, tmp_path: Path) -> None:
    for number, armor in enumerate((True, False)):
        path = tmp_path / f"{number}.asc"
        path.write_bytes(ring.home.export(ring.pinned, armor=armor))
        assert load_openpgp_key(path, ring.pinned).keyring == ring.home.export(ring.pinned)


@pytest.mark.parametrize("kind", ["rsa3072", "nistp256", "ed25519"])
def test_fingerprint_of_a_key_is_what_gpg_says(ring: Ring, kind: str) -> None:
    fingerprint = ring.home.make_key(f"kind-{kind}", kind=kind)

    assert fingerprint_of_key(ring.home.export(fingerprint)) == fingerprint


def key_refused(path: Path, fingerprint: str) -> str:
    with pytest.raises(TrustError) as caught:
        load_openpgp_key(path, fingerprint)
    assert caught.value.exit_status == 23
    return caught.value.reference


def test_key_file_that_is_not_there_is_told(ring: Ring, tmp_path: Path) -> None:
    assert key_refused(tmp_path / "none.asc", ring.pinned) == "openpgp-key-missing"


def test_key_file_with_another_key_is_told(ring: Ring, tmp_path: Path) -> None:
    path = tmp_path / "key.asc"
    path.write_bytes(ring.home.export(ring.stranger))

    assert key_refused(path, ring.pinned) == "openpgp-key-differs"


def test_key_file_that_others_may_write_is_told(ring: Ring, tmp_path: Path) -> None:
    path = tmp_path / "key.asc"
    path.write_bytes(ring.home.export(ring.pinned))
    path.chmod(0o664)

    assert key_refused(path, ring.pinned) == "openpgp-key-exposed"


def test_link_in_place_of_the_key_file_is_not_followed(ring: Ring, tmp_path: Path) -> None:
    (tmp_path / "key.asc").write_bytes(ring.home.export(ring.pinned))
    (tmp_path / "link.asc").symlink_to("key.asc")

    assert key_refused(tmp_path / "link.asc", ring.pinned) == "openpgp-key-missing"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        b"\x80",
        b"\x99\xff\xff\x04",
        b"\xc6\xff\xff\xff\xff\xff\x04",
        b"\xc6\xe1\x04",
        b"\x88\x01\x04",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!!!\n-----END PGP PUBLIC KEY BLOCK-----\n",
        b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nAAAA\n-----END PGP PRIVATE KEY BLOCK-----\n",
        bytes(1024 * 1024 + 1),
    ],
)
def test_key_file_that_holds_no_public_key_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.asc"
    path.write_bytes(content)

    assert key_refused(path, PINNED) == "openpgp-key-unreadable"


def test_private_key_in_binary_is_no_public_key(ring: Ring) -> None:
    secret = ring.home.gpg("--export-secret-keys", ring.pinned).stdout

    with pytest.raises(ValueError):
        fingerprint_of_key(parse_public_key(secret))


def rows(*texts: str) -> list[list[str]]:
    return [f"{text}::".split(":") for text in texts]


PRIMARY = "pub:-:255:22:15EAD025:1:{expires}:::::{caps}"
SUBKEY = "sub:{validity}:255:22:15EAD026:1:{expires}:::::s"


@pytest.mark.parametrize(
    ("listed", "seconds"),
    [
        ([PRIMARY.format(expires="", caps="scSC")], None),
        ([PRIMARY.format(expires="500", caps="scSC")], 500),
        ([PRIMARY.format(expires="", caps="cSC"), SUBKEY.format(validity="-", expires="300")], 300),
        ([PRIMARY.format(expires="200", caps="cSC"), SUBKEY.format(validity="-", expires="")], 200),
        (
            [
                PRIMARY.format(expires="", caps="cSC"),
                SUBKEY.format(validity="-", expires="300"),
                SUBKEY.format(validity="-", expires="700"),
            ],
            700,
        ),
    ],
)
def test_key_counts_until_it_or_its_last_signing_subkey_ends(listed: list[str], seconds: int | None) -> None:
    end = end_of_rows(rows(*listed), PINNED)

    assert end.is_known
    assert end.expires == (None if seconds is None else datetime.fromtimestamp(seconds, UTC))


@pytest.mark.parametrize(
    ("listed", "reference"),
    [
        ([PRIMARY.format(expires="", caps="scSC").replace("pub:-", "pub:r")], "openpgp-key-revoked"),
        ([PRIMARY.format(expires="1", caps="scSC").replace("pub:-", "pub:e")], "openpgp-expired"),
        ([PRIMARY.format(expires="", caps="cSC"), SUBKEY.format(validity="e", expires="1")], "openpgp-expired"),
        ([PRIMARY.format(expires="", caps="cSC"), SUBKEY.format(validity="r", expires="")], "openpgp-expired"),
    ],
)
def test_key_that_can_no_longer_sign_is_told(listed: list[str], reference: str) -> None:
    with pytest.raises(TrustError) as caught:
        end_of_rows(rows(*listed), PINNED)
    assert caught.value.reference == reference


def test_end_of_a_real_key_is_what_it_was_made_with(ring: Ring) -> None:
    until = (now_utc() + 30 * DAY).replace(hour=12, minute=0, second=0, microsecond=0)
    key = ring.home.make_key("of-this-month", expires=f"{until:%Y-%m-%d}")

    end = list_key_end(ring.key(key))

    assert end.is_known
    assert end.expires is not None
    assert abs(end.expires - until) <= DAY
    assert list_key_end(ring.key()).expires is None


def test_machine_without_gpg_does_not_know_when_a_key_ends(
    ring: Ring, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = ring.key()
    monkeypatch.setenv("PATH", str(tmp_path))

    assert not list_key_end(key).is_known
