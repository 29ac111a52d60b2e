"""When an OpenPGP key stops counting, as gpg lists it: for a warning long before, and no more.

gpgv tells nothing of the future, so this asks gpg, which not every site has. Nothing is decided by it:
a key that is revoked or expired is refused by gpgv's word when a kit is verified.

Source: GnuPG 2.2, doc/DETAILS, "Format of the --with-colons output".
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from teraferry.bundles.errors import TrustError
from teraferry.bundles.system.process import run
from teraferry.keys.openpgp.gpgv import OpenPgpKey

_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class KeyEnd:
    """Until when a key's signatures count."""

    is_known: bool  # False: there is no gpg here to ask
    expires: datetime | None = None  # None: never


def list_key_end(key: OpenPgpKey) -> KeyEnd:
    """Return until when ``key`` can sign.

    Raises:
        TrustError: 20 ``openpgp-key-revoked``; 21 ``openpgp-expired``.
    """
    with tempfile.TemporaryDirectory(prefix="tf-") as name:
        path = Path(name) / "key.gpg"
        path.write_bytes(key.keyring)
        argv = ["gpg", "--homedir", name, "--batch", "--with-colons", "--show-keys", str(path)]
        try:
            done = run(argv, timeout_seconds=_SECONDS)
        except OSError:
            return KeyEnd(is_known=False)
    rows = [line.split(":") for line in done.text().splitlines()]
    return end_of_rows([row for row in rows if row[0] in ("pub", "sub") and len(row) > 11], key.fingerprint)


def end_of_rows(rows: Sequence[Sequence[str]], fingerprint: str) -> KeyEnd:
    """Return until when one of a key's ``pub`` and ``sub`` rows can sign, and its primary key stands. Pure.

    Raises:
        TrustError: 20, 21; as ``list_key_end``.
    """
    if not rows or rows[0][0] != "pub":
        return KeyEnd(is_known=False)
    primary = rows[0]
    if primary[1] == "r":
        raise _useless("openpgp-key-revoked", 20, f"OpenPGP key {fingerprint}: revoked", "a key in use")
    signing = [row for row in rows if "s" in row[11] and row[1] not in ("r", "e")]
    if primary[1] == "e" or not signing:
        raise _useless("openpgp-expired", 21, f"OpenPGP key {fingerprint}: expired", "a key that can still sign")
    latest = None if any(not row[6] for row in signing) else max(int(row[6]) for row in signing)
    ends = [end for end in (latest, int(primary[6]) if primary[6] else None) if end is not None]
    return KeyEnd(is_known=True, expires=datetime.fromtimestamp(min(ends), UTC) if ends else None)


def _useless(reference: str, status: int, found: str, expected: str) -> TrustError:
    return TrustError(
        reference,
        f"{found}, expected {expected}",
        hint="Ask the release's owner for the key as it is now, or for the fingerprint of the one that took its place.",
        exit_status=status,
    )
