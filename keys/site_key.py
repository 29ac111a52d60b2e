"""The site's own key: it signs receipts and nothing else, and no release is trusted for it.

It lets home tell that the next receipt comes from where the last one came from. It is made at the site, stays in the
state folder, readable by root alone, and is never printed, copied or sent: home gets the public key, in the first
receipt, and compares its fingerprint with what the site's admin reads from the screen.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from teraferry.bundles.errors import TrustError
from teraferry.bundles.receipt import Receipt, SignedReceipt, encode_signed_part, malformed
from teraferry.bundles.system.durable import write_durably
from teraferry.keys.public_keys import UnusableKeyError

SITE_KEY_NAME: Final = "site-key.pem"
"""In the state folder."""

_MAX_KEY_BYTES: Final = 4096
"""A P-256 key in PKCS #8 as PEM is 241 bytes."""


@dataclass(frozen=True, slots=True)
class SiteKey:
    """The private key; what is shown of it is public."""

    private: ec.EllipticCurvePrivateKey

    @property
    def public_pem(self) -> str:
        """The public key as the receipt carries it."""
        return _pem(self.private.public_key())

    @property
    def fingerprint(self) -> str:
        """What is read out over the telephone."""
        return fingerprint_of_site_key(self.private.public_key())

    def sign(self, receipt: Receipt) -> SignedReceipt:
        """Return ``receipt`` with this key's signature."""
        signature = self.private.sign(encode_signed_part(receipt), ec.ECDSA(hashes.SHA256()))
        return SignedReceipt(signature=signature.hex(), signed=receipt)


def make_site_key(state: Path) -> SiteKey:
    """Return a new key, durably kept in the folder ``state``; the caller knows that there was none.

    Raises:
        OSError: Nothing was kept.
    """
    private = ec.generate_private_key(ec.SECP256R1())
    content = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # The temporary file has this mode from its first byte on.
    write_durably(state / SITE_KEY_NAME, content, mode=0o600)
    return SiteKey(private)


def load_site_key(state: Path) -> SiteKey | None:
    """Return the key in the folder ``state``; None when none was made yet.

    Raises:
        TrustError: ``site-key-exposed`` or ``site-key-damaged``, 24.
    """
    path = state / SITE_KEY_NAME
    try:
        content = _read_private(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        found = "a link" if error.errno == errno.ELOOP else error.strerror or "not readable"
        raise _damaged(path, found) from error
    try:
        loaded = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Without the cause: whatever a library says of bytes it could not read may quote them.
        raise _damaged(path, "no private key in it") from None
    if not isinstance(loaded, ec.EllipticCurvePrivateKey) or not isinstance(loaded.curve, ec.SECP256R1):
        raise _damaged(path, "a key of another kind")
    return SiteKey(loaded)


def parse_site_key(pem: str) -> ec.EllipticCurvePublicKey:
    """Return the public key of a site.

    Raises:
        UnusableKeyError: Not a P-256 key, or not in its one spelling.
    """
    try:
        public = load_pem_public_key(pem.encode("utf-8"))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UnusableKeyError("no public key") from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise UnusableKeyError("a key of another kind than P-256")
    # Base64 has room for bits that say nothing: two spellings would be two keys to whoever compares text.
    if _pem(public) != pem:
        raise UnusableKeyError("a key in another spelling")
    return public


def fingerprint_of_site_key(public: ec.EllipticCurvePublicKey) -> str:
    """Return the SHA-256 of the DER public key, 64 hex digits: ``openssl pkey -pubin -outform DER | sha256sum``."""
    return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def require_signed_by(signed: SignedReceipt, public: ec.EllipticCurvePublicKey, *, name: str) -> Receipt:
    """Return the receipt if ``public`` is the key it names and signed it.

    Args:
        signed: Unverified.
        public: The key that is trusted for this site, not the one that came with the file.
        name: Of the file, for messages.

    Raises:
        TrustError: ``receipt-malformed``, ``receipt-of-another-key`` or ``receipt-signature-wrong``, 24.
    """
    try:
        named = parse_site_key(signed.signed.site.key)
    except UnusableKeyError as error:
        raise malformed(name, str(error)) from error
    found, expected = fingerprint_of_site_key(named), fingerprint_of_site_key(public)
    if found != expected:
        raise TrustError(
            "receipt-of-another-key",
            f"receipt {name} of site {signed.signed.site.name}: signed by key {found}, expected {expected}",
            hint="Call the site. Did its state folder get lost, or is this another machine? If the site really made a "
            "new key, compare its fingerprint over the telephone, then type: teraferry receipt enroll FILE --replace "
            f"{expected}",
            exit_status=24,
            facts={"file": name, "site": signed.signed.site.name, "found": found, "expected": expected},
        )
    try:
        public.verify(bytes.fromhex(signed.signature), encode_signed_part(signed.signed), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise TrustError(
            "receipt-signature-wrong",
            f"receipt {name}: its signature does not fit, expected that of site key {expected} over these bytes",
            hint="The file was changed or damaged on its way: ask the site for another copy of it.",
            exit_status=24,
            facts={"file": name, "site": signed.signed.site.name, "key": expected},
        ) from error
    return signed.signed


def _pem(public: ec.EllipticCurvePublicKey) -> str:
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def _read_private(path: Path) -> bytes:
    # O_NONBLOCK: opening a pipe must not wait for somebody to write into it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require_private(path, os.fstat(descriptor))
        return os.read(descriptor, _MAX_KEY_BYTES)
    finally:
        os.close(descriptor)


def _require_private(path: Path, status: os.stat_result) -> None:
    is_owned = status.st_uid in (0, os.geteuid())
    mode = stat.S_IMODE(status.st_mode)
    if is_owned and stat.S_ISREG(status.st_mode) and not mode & (stat.S_IRWXG | stat.S_IRWXO):
        return
    raise TrustError(
        "site-key-exposed",
        f"site key {path}: owner {status.st_uid}, mode {mode:o}, expected a file that root alone may read",
        hint="Somebody may have copied it: then home must not believe it any longer. Move the file away, type the same "
        "command with --new-key, and let home enroll the new key.",
        exit_status=24,
        facts={"path": str(path), "owner": status.st_uid, "mode": f"{mode:o}"},
    )


def _damaged(path: Path, found: str) -> TrustError:
    return TrustError(
        "site-key-damaged",
        f"site key {path}: {found}, expected what TeraFerry wrote",
        hint="Restore this file from the site's backup. If there is none, move it away and type the same command with "
        "--new-key; home then enrolls the new key.",
        exit_status=24,
        facts={"path": str(path)},
    )
