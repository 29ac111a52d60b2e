"""``SHA256SUMS`` and its signatures: the part of a kit that stock tools check, before ours runs.

Pure. The lines are coreutils' binary-safe text form; the names are ours, so none needs escaping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from securesystemslib.signer import Key

from teraferry.bundles.digest import Digest, hex_of
from teraferry.bundles.errors import BundleError, TrustError
from teraferry.bundles.layout import CHECKSUMS, INSTALLER, START_PAGE, signature_name
from teraferry.keys.public_keys import UnusableKeyError, is_valid_over_sha256
from teraferry.keys.trusted import TrustedRelease


def encode_checksums(files: Sequence[tuple[str, Digest]]) -> bytes:
    """Return the lines that ``sha256sum -c`` reads."""
    return "".join(f"{hex_of(digest)}  {name}\n" for name, digest in files).encode()


def checksums_of(release: TrustedRelease) -> list[tuple[str, Digest]]:
    """Return the lines that ``SHA256SUMS`` of a signed kit has: page, installer, bundle."""
    order = (START_PAGE, INSTALLER, release.bundle.name)
    return [(name, release.targets[name].digest) for name in order if name in release.targets]


def require_checksums(content: bytes | None, files: Sequence[tuple[str, Digest]]) -> None:
    """Refuse ``SHA256SUMS`` unless it says exactly what the signed targets say.

    Raises:
        BundleError: ``checksums-differ``, 10.
    """
    if content != encode_checksums(files):
        raise BundleError(
            "checksums-differ",
            f"file {CHECKSUMS}: {'missing' if content is None else 'other lines'}, expected the digests of the "
            "signed metadata",
            hint="Copy the whole kit again from its source, or ask for another one.",
            exit_status=10,
            facts={"file": CHECKSUMS},
        )


def require_checksum_signatures(content: bytes, signatures: Mapping[str, bytes | None], keys: Sequence[Key]) -> None:
    """Refuse unless each of ``keys`` signed ``content``.

    Args:
        content: ``SHA256SUMS``.
        signatures: By key id; None for a file that is missing.
        keys: The release keys that signed the metadata.

    Raises:
        TrustError: ``checksums-not-signed``, 20; ``signature-undecided``, 23.
    """
    for key in keys:
        name = signature_name(key.keyid)
        signature = signatures.get(key.keyid)
        try:
            is_valid = signature is not None and is_valid_over_sha256(key, signature, content)
        except UnusableKeyError as error:
            raise TrustError(
                "signature-undecided",
                f"file {name}: {error}, expected a key of a known kind",
                hint="Use a newer teraferry.",
                exit_status=23,
            ) from error
        if not is_valid:
            raise TrustError(
                "checksums-not-signed",
                f"file {name}: {'missing' if signature is None else 'not a valid signature'}, expected the signature "
                f"of release key {key.keyid[:8]} over {CHECKSUMS}",
                hint="Copy the whole kit again from its source, or ask its owner to sign it again.",
                exit_status=20,
                facts={"file": name, "key_id": key.keyid},
            )
