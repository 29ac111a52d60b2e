"""What an OpenPGP verifier said of a detached signature, judged by us. Pure.

gpgv ends with 0 for a revoked and for an expired key, and prints "Good signature" for both, so
neither its status nor its words decide. Its status lines do: the signature counts if gpgv says
``GOODSIG`` and ``VALIDSIG`` of it, once each, and the last field of ``VALIDSIG``, the
fingerprint of the *primary* key, is the one that a person pinned. A subkey that the primary
key certified may have made it.

A file may hold several signatures. The pinned key's must be good; one by a key that nobody here
knows is passed over; anything else that is wrong with the file refuses it, whoever made it.

Source: GnuPG 2.2, doc/DETAILS, "Format of the --status-fd output"; RFC 4880, 5.2.1 and 9.4.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from teraferry.bundles.errors import TrustError
from teraferry.bundles.layout import OPENPGP_SIGNATURE

TOLERANCE: Final = timedelta(days=1)
"""How far a signature's date may be ahead of the clock: time zones set wrongly by hand."""

HINT_OWNER: Final = "Do not use this kit. Ask the release's owner for another one, over another way than the medium."

_PREFIX: Final = "[GNUPG:] "
_FINGERPRINT: Final = re.compile(r"[0-9A-F]{40}([0-9A-F]{24})?\Z")  # version 4, or version 5 and later
_NO_PUBLIC_KEY: Final = "9"  # the reason in ERRSIG
_DIGESTS: Final = frozenset({"8", "9", "10"})  # SHA-256, -384, -512: somebody can make two files of one SHA-1
_CLASSES: Final = frozenset({"00", "01"})  # over a document, as bytes or as text; not over a key


@dataclass(frozen=True, slots=True)
class OpenPgpSignature:
    """A signature of the pinned key that was judged good."""

    fingerprint: str  # of the primary key
    signed_at: datetime


def parse_fingerprint(text: str) -> str:
    """Return the fingerprint of a primary key, as gpg prints it or as a person types it from paper.

    Raises:
        ValueError: It is none; a short key id is none either, since anybody can make a key with that id.
    """
    digits = re.sub(r"[\s:]", "", text.strip().removeprefix("gpg:")).upper()
    if not _FINGERPRINT.match(digits):
        raise ValueError(f"{len(digits)} characters, expected the 40 hex digits that gpg --fingerprint prints")
    return digits


def judge_status(status: str, fingerprint: str, *, now: datetime) -> OpenPgpSignature:
    """Return the pinned key's good signature, or refuse.

    Args:
        status: What gpgv wrote to its status descriptor.
        fingerprint: Of the pinned primary key, as ``parse_fingerprint`` returns it.
        now: The latest time that is known to be past.

    Raises:
        TrustError: 20 ``openpgp-missing``, ``openpgp-bad``, ``openpgp-key-revoked``, ``openpgp-weak-digest``;
            21 ``openpgp-expired``; 23 ``openpgp-undecided``, ``openpgp-ahead-of-clock``; 24 ``openpgp-unreadable``.
    """
    lines = [(keyword, fields) for keyword, fields in _lines(status)]
    for keyword, fields in lines:
        _require_harmless(keyword, fields)
    if not any(keyword == "NEWSIG" for keyword, _ in lines):
        raise _refused(24, "openpgp-unreadable", "no detached signature", "one")
    for group in _groups(lines):
        good = _signature_in(group)
        if good is not None and good[-1] == fingerprint:
            return _require_sound(good, now)
    raise _refused(
        20,
        "openpgp-missing",
        "no signature of this key",
        f"a good one by {fingerprint}",
        hint="The kit is signed by another OpenPGP key, or not yet. Ask the release's owner for a signed one.",
    )


def _lines(status: str) -> Iterator[tuple[str, list[str]]]:
    for line in status.splitlines():
        if line.startswith(_PREFIX):
            keyword, *fields = line.removeprefix(_PREFIX).split()
            yield keyword, fields


def _require_harmless(keyword: str, fields: Sequence[str]) -> None:
    if keyword == "BADSIG":
        raise _refused(20, "openpgp-bad", "a signature that does not fit SHA256SUMS", "one that does")
    if keyword == "REVKEYSIG":
        hint = "Whoever holds a revoked key may be a thief. Ask the release's owner, over another way than the medium."
        raise _refused(20, "openpgp-key-revoked", "made by a key that is revoked", "a key in use", hint=hint)
    if keyword in ("EXPSIG", "EXPKEYSIG"):
        what = "the signature" if keyword == "EXPSIG" else "its key"
        hint = (
            "Check this machine's clock first (type: date -u). If it is right, ask the release's owner for the key "
            "with a later expiry, and put it in place of the file that site.toml names as openpgp_key."
        )
        raise _refused(21, "openpgp-expired", f"{what} is expired", "one that is not", hint=hint)
    if keyword == "ERRSIG" and fields[5:6] != [_NO_PUBLIC_KEY]:
        hint = (
            "Check this machine's clock (type: date -u): a key that is newer than the clock cannot be judged. "
            "If the clock is right, this gpgv is too old for the key."
        )
        raise _refused(23, "openpgp-undecided", "a signature that gpgv cannot check", "one that it can", hint=hint)
    if keyword in ("UNEXPECTED", "NODATA", "BADARMOR", "PROC_ERROR", "FAILURE"):
        raise _refused(24, "openpgp-unreadable", f"gpgv says {keyword}", "signatures and nothing else")


def _groups(lines: Sequence[tuple[str, list[str]]]) -> Iterator[list[tuple[str, list[str]]]]:
    """Return the lines of each signature; NEWSIG begins one."""
    group: list[tuple[str, list[str]]] = []
    for keyword, fields in lines:
        if keyword == "NEWSIG":
            yield group
            group = []
        group.append((keyword, fields))
    yield group


def _signature_in(group: Sequence[tuple[str, list[str]]]) -> list[str] | None:
    """Return the fields of VALIDSIG, if exactly one signature was found good here."""
    good = [fields for keyword, fields in group if keyword == "GOODSIG"]
    valid = [fields for keyword, fields in group if keyword == "VALIDSIG"]
    return valid[0] if len(good) == 1 and len(valid) == 1 and len(valid[0]) >= 10 else None


def _require_sound(valid: Sequence[str], now: datetime) -> OpenPgpSignature:
    seconds, digest, kind = valid[2], valid[7], valid[8]
    if digest not in _DIGESTS or kind not in _CLASSES:
        raise _refused(
            20,
            "openpgp-weak-digest",
            f"digest algorithm {digest}, class {kind}",
            "a signature over a file with SHA-256, SHA-384 or SHA-512",
            hint="Ask the release's owner to sign with: gpg --digest-algo SHA256",
        )
    if not seconds.isdecimal():
        raise _refused(23, "openpgp-undecided", f"signed at {seconds[:20]}", "a time in seconds")
    signed_at = datetime.fromtimestamp(int(seconds), UTC)
    if signed_at > now + TOLERANCE:
        # gpgv calls a signature of next year good; a clock so far behind cannot tell what is expired either.
        raise _refused(
            23,
            "openpgp-ahead-of-clock",
            f"made on {signed_at:%Y-%m-%d}, but it is {now:%Y-%m-%d} here",
            "a signature of the past",
            hint="Set this machine's clock (type: date -u), then type the same command again.",
        )
    return OpenPgpSignature(valid[-1], signed_at)


def _refused(status: int, reference: str, found: str, expected: str, *, hint: str = HINT_OWNER) -> TrustError:
    facts: Mapping[str, str] = {"file": OPENPGP_SIGNATURE}
    return TrustError(
        reference,
        f"file {OPENPGP_SIGNATURE}: {found}, expected {expected}",
        hint=hint,
        exit_status=status,
        facts=facts,
    )
