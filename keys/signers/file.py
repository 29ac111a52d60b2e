"""A private key in a PEM file: for development roots, where no token is at hand."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import SSlibKey

from teraferry.bundles.errors import BuildError
from teraferry.keys.public_keys import PSS_SALT_BYTES, UnusableKeyError, tuf_key
from teraferry.keys.signers.signer import AskPin, SignerEvidence
from teraferry.keys.uri import FileUri

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | mldsa.MLDSA65PrivateKey

MAX_KEY_FILE_BYTES = 64 * 1024
"""A PEM private key is below 8 kB."""


class FileKey:
    """A private key held in memory; the only place for an ML-DSA key, until a token holds one."""

    def __init__(self, private: PrivateKey, key: SSlibKey, path: str) -> None:
        self._private = private
        self.key = key
        self.evidence = SignerEvidence("file", {"file": Path(path).name}, {})

    def sign_digested(self, content: bytes, *, algorithm: str) -> bytes:
        """Return a signature over ``content``; see ``RawSigner``."""
        if isinstance(self._private, ed25519.Ed25519PrivateKey | mldsa.MLDSA65PrivateKey):
            return self._private.sign(content)
        digest: hashes.HashAlgorithm = hashes.SHA384() if algorithm == "sha384" else hashes.SHA256()
        if isinstance(self._private, rsa.RSAPrivateKey):
            pss = padding.PSS(mgf=padding.MGF1(digest), salt_length=PSS_SALT_BYTES)
            return self._private.sign(content, pss, digest)
        return self._private.sign(content, ec.ECDSA(digest))


def open_file_key(uri: FileUri, ask: AskPin) -> FileKey:
    """Return the key in the file that ``uri`` names; ``ask`` gives the passphrase of a locked one.

    Raises:
        BuildError: ``key-missing``, ``pin-wrong``, ``key-unreadable`` or ``key-type-unsupported``, 31.
    """
    try:
        with Path(uri.path).open("rb") as file:
            content = file.read(MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise _cannot_sign(
            "key-missing",
            f"key file {uri.path}: {error.strerror}, expected a private key in PEM",
            "Check the path after file: and who may read it.",
        ) from error
    private = _load(content, uri, ask)
    try:
        if not isinstance(private, PrivateKey):
            raise UnusableKeyError(type(private).__name__)
        return FileKey(private, tuf_key(private.public_key()), uri.path)
    except UnusableKeyError as error:
        raise _cannot_sign(
            "key-type-unsupported",
            f"key file {uri.path}: {error}, expected P-256, P-384, RSA of 3072 bits or more, Ed25519 or ML-DSA-65",
            "Make a new key, for example: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY.pem",
        ) from error


def _load(content: bytes, uri: FileUri, ask: AskPin) -> object:
    try:
        # A locked key without a passphrase, and a passphrase without a lock, are TypeErrors.
        passphrase = ask(f"key file {uri.path}").encode() if b"ENCRYPTED" in content else None
        return load_pem_private_key(content, passphrase)
    except UnsupportedAlgorithm as error:
        raise _cannot_sign(
            "key-type-unsupported",
            f"key file {uri.path}: an unknown algorithm, expected P-256, P-384, RSA or Ed25519",
            "Make a new key of one of these kinds.",
        ) from error
    except (ValueError, TypeError) as error:
        if b"ENCRYPTED" in content:
            raise _cannot_sign(
                "pin-wrong",
                f"key file {uri.path}: it does not open with this passphrase, expected the right one",
                "Type the passphrase again.",
            ) from error
        raise _cannot_sign(
            "key-unreadable",
            f"key file {uri.path}: not a PEM private key, expected one",
            "Give the file that begins with -----BEGIN PRIVATE KEY-----.",
        ) from error


def _cannot_sign(reference: str, message: str, hint: str) -> BuildError:
    return BuildError(reference, message, hint=hint, exit_status=31)
