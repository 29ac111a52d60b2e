"""What every kind of private key can do here: name itself, sign, and say where it lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature, SSlibKey

from teraferry.bundles.errors import BuildError
from teraferry.keys.public_keys import is_valid_over_sha256, metadata_content

AskPin = Callable[[str], str]
"""Asks a person for the PIN or passphrase of what the text names. Injected: nothing here reads a terminal."""


@dataclass(frozen=True, slots=True)
class SignerEvidence:
    """What the token claims about the key: recorded for an auditor, and decides nothing at a site."""

    kind: str  # "pkcs11" or "file"
    facts: Mapping[str, str]  # token label, serial, model
    flags: Mapping[str, bool]  # the five of PKCS#11 2.40, section 4.9

    @property
    def where(self) -> str:
        """The key and its place, as a person would name them."""
        if self.kind == "pkcs11":
            return f"key {self.facts.get('object', '?')} on token {self.facts.get('token', '?')}"
        return f"key file {self.facts.get('file', '?')}"

    @property
    def is_fit_for_production(self) -> bool:
        """Made on the token, and it can never have left it. A claim of the module, not a proof."""
        names = ("local", "sensitive", "always_sensitive", "never_extractable")
        return self.kind == "pkcs11" and all(self.flags.get(name, False) for name in names)


class RawSigner(Protocol):
    """One private key; adapters implement this."""

    @property
    def key(self) -> SSlibKey:
        """The public half, as TUF names it."""

    @property
    def evidence(self) -> SignerEvidence:
        """What is known of where the private half lies."""

    def sign_digested(self, content: bytes, *, algorithm: str) -> bytes:
        """Return a signature over ``content``.

        Args:
            content: What is signed.
            algorithm: ``sha256`` or ``sha384``; Ed25519 and ML-DSA digest by themselves and ignore it.

        Returns:
            DER for ECDSA; RSA-PSS with a salt of 32 bytes; 64 bytes for Ed25519; 3,309 for ML-DSA-65.
        """


class KeySigner:
    """A private key whose every signature was checked before anybody sees it.

    A token may hold a public object that does not belong to the private one, or be broken; a
    signature that nobody can verify must be found in the signing room and not at the site.
    """

    def __init__(self, raw: RawSigner, *, name: str) -> None:
        self._raw = raw
        self.name = name  # as a person knows the key; no secret

    @property
    def key(self) -> SSlibKey:
        """The public half, as TUF names it."""
        return self._raw.key

    @property
    def evidence(self) -> SignerEvidence:
        """What is known of where the private half lies."""
        return self._raw.evidence

    def sign_metadata(self, payload: bytes) -> Signature:
        """Return the TUF signature over canonical ``payload``.

        Raises:
            BuildError: ``signature-not-valid`` or one of the token's references, 31.
        """
        algorithm = "sha384" if self.key.scheme == "ecdsa-sha2-nistp384" else "sha256"
        raw = self._raw.sign_digested(metadata_content(self.key, payload), algorithm=algorithm)
        signature = Signature(self.key.keyid, raw.hex())
        try:
            self.key.verify_signature(signature, payload)
        except UnverifiedSignatureError as error:
            raise self._not_valid() from error
        return signature

    def sign_sha256(self, content: bytes) -> bytes:
        """Return the signature that stock OpenSSL checks, over SHA-256; no OpenSSL before 3.5 checks ML-DSA.

        Raises:
            BuildError: ``signature-not-valid`` or one of the token's references, 31.
        """
        signature = self._raw.sign_digested(content, algorithm="sha256")
        if not is_valid_over_sha256(self.key, signature, content):
            raise self._not_valid()
        return signature

    def _not_valid(self) -> BuildError:
        return BuildError(
            "signature-not-valid",
            f"{self.name}: its signature does not match its own public key, expected one that does",
            hint="The private and the public object of this name are not one pair: name the key by id= in its URI.",
            exit_status=31,
            facts={"key_id": self.key.keyid},
        )
