"""The kit's OpenPGP signature: who is asked for one, adding it, checking it, and whether it is still missing.

It is one more detached signature over ``SHA256SUMS``, for sites whose policy names an OpenPGP key. No
site trusts a kit for it alone: it comes on top of the release keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from teraferry.builder.describe import read_unsigned_manifest
from teraferry.builder.kit import Kit
from teraferry.bundles import layout
from teraferry.bundles.errors import BuildError, TrustError, UsageError
from teraferry.bundles.limits import MAX_OPENPGP_SIGNATURE_BYTES
from teraferry.bundles.progress import Progress
from teraferry.bundles.system.durable import write_durably
from teraferry.keys.metadata import read_capped
from teraferry.keys.openpgp.gpgv import load_openpgp_key, require_openpgp_signature
from teraferry.keys.uri import GpgUri, is_gpg_uri, parse_gpg_uri

Passphrase = Callable[[GpgUri], str | None]


def split_openpgp(uris: Sequence[str]) -> tuple[list[str], GpgUri | None]:
    """Return the keys that sign metadata, and the OpenPGP key.

    Raises:
        UsageError: ``openpgp-several-keys``, ``key-uri-malformed``, 2.
    """
    found = [parse_gpg_uri(uri) for uri in uris if is_gpg_uri(uri)]
    if len(found) > 1:
        raise UsageError(
            "openpgp-several-keys",
            f"sign: {len(found)} OpenPGP keys, expected one; a kit has one {layout.OPENPGP_SIGNATURE}",
            hint="Give the one key that release.toml names under [openpgp].",
        )
    return [uri for uri in uris if not is_gpg_uri(uri)], found[0] if found else None


def asked_fingerprint(kit: Kit) -> str | None:
    """Return the fingerprint of the OpenPGP key that the release asks for, None when it asks for none.

    The bundle was read and compared by ``sign_kit`` in the same run.
    """
    manifest, _ = read_unsigned_manifest(kit.bundle)
    return manifest.openpgp or None


def sign_openpgp(kit: Kit, uri: GpgUri, *, passphrase: Passphrase, now: datetime) -> bool:
    """Write ``SHA256SUMS.asc``, replacing one that is there; False when it is too early.

    Like the desk key it waits for the first release key: until then nothing says what the kit is.

    Raises:
        BuildError: ``openpgp-key-not-asked``, 31, or why the key could not sign.
    """
    asked = asked_fingerprint(kit)
    if asked is not None and asked != uri.fingerprint:
        raise BuildError(
            "openpgp-key-not-asked",
            f"OpenPGP key {uri.fingerprint}: the release asks for {asked}, expected that key",
            hint="Sign with the key that release.toml names under [openpgp], or build the kit with the other one.",
            exit_status=31,
            facts={"found": uri.fingerprint, "expected": asked},
        )
    content = kit.checksums()
    if content is None or not (kit.folder / layout.METADATA_DIR / layout.TARGETS).is_file():
        return False
    # Imported here: python-gnupg is a signer's, and verifying needs none of it.
    from teraferry.keys.signers.openpgp import sign_detached

    signature = sign_detached(content, uri.fingerprint, passphrase=passphrase(uri), now=now)
    write_durably(kit.folder / layout.OPENPGP_SIGNATURE, signature)
    return True


def missing_openpgp(kit: Kit) -> dict[str, dict[str, int]]:
    """Return what ``sign`` tells as missing: the signature that the release asks for and the kit lacks."""
    if asked_fingerprint(kit) is None or load_openpgp(kit):
        return {}
    return {"openpgp": {"have": 0, "need": 1}}


def check_openpgp(
    kit: Kit, asked: str | None, *, key_file: Path | None, progress: Progress, now: datetime
) -> str | None:
    """Return the fingerprint of the key whose signature on ``kit`` was found good, None when none was looked at.

    Args:
        kit: A kit whose ``SHA256SUMS`` was found to be the signed one.
        asked: Fingerprint of the key that the release asks for.
        key_file: The public key; without it a signature that must be there is only looked for.
        progress: Told when a signature stays unchecked.
        now: System clock.

    Raises:
        TrustError: 20-24; see ``keys.openpgp.gpgv`` and ``keys.openpgp.judge``.
    """
    signature = load_openpgp(kit)
    if key_file is not None:
        key = load_openpgp_key(key_file, asked)
        content = kit.checksums() or b""
        return require_openpgp_signature(content, signature, key, now=now, proven_past=now).fingerprint
    if asked is not None and not signature:
        raise TrustError(
            "openpgp-missing",
            f"file {layout.OPENPGP_SIGNATURE}: missing, expected a signature by {asked}, as the release asks for",
            hint=f"Type: teraferry sign KIT --trust DIR --key gpg:{asked}",
            exit_status=20,
            facts={"file": layout.OPENPGP_SIGNATURE},
        )
    if signature:
        text = f"{layout.OPENPGP_SIGNATURE} is there and was not checked: give the public key as --openpgp-key FILE"
        progress.say("openpgp-not-checked", text)
    return None


def load_openpgp(kit: Kit) -> bytes | None:
    """Return ``SHA256SUMS.asc``, unverified, or None."""
    return read_capped(kit.folder / layout.OPENPGP_SIGNATURE, limit_bytes=MAX_OPENPGP_SIGNATURE_BYTES)
