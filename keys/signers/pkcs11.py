"""Keys on a PKCS#11 token, by python-pkcs11. The private half never leaves the token.

ECDSA is digested here and signed by the raw mechanism: SoftHSM 2.6.1 offers no other, and every
token has that one. A token is found by its label or serial, since slot numbers change.

Source: PKCS#11 2.40, sections 2.1 (RSA), 2.3 (EC); RFC 8410 for Ed25519.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11 import exceptions as p11
from pkcs11.util.ec import encode_ec_public_key
from pkcs11.util.rsa import encode_rsa_public_key
from securesystemslib.signer import SSlibKey

from teraferry.keys.public_keys import PSS_SALT_BYTES, PublicKey, UnusableKeyError, parse_public_der, tuf_key
from teraferry.keys.signers.pin_file import read_pin_file
from teraferry.keys.signers.signer import AskPin, SignerEvidence
from teraferry.keys.signers.token_errors import (
    explain_login_error,
    explain_token_error,
    require_tries_left,
    token_error,
)
from teraferry.keys.uri import Pkcs11Uri

_FLAGS: Final = {
    "local": Attribute.LOCAL,
    "sensitive": Attribute.SENSITIVE,
    "always_sensitive": Attribute.ALWAYS_SENSITIVE,
    "never_extractable": Attribute.NEVER_EXTRACTABLE,
    "extractable": Attribute.EXTRACTABLE,
}
_ED25519_POINT_BYTES: Final = 32

LoadModule = Callable[[str], Any]

R = TypeVar("R")


class TokenKey:
    """A private key on a token, with its session."""

    def __init__(self, private: Any, key: SSlibKey, *, uri: Pkcs11Uri, evidence: SignerEvidence) -> None:
        self._private, self._uri = private, uri
        self.key = key
        self.evidence = evidence

    def sign_digested(self, content: bytes, *, algorithm: str) -> bytes:
        """Return a signature over ``content``; see ``RawSigner``."""
        return _explained(self._uri, lambda: self._sign(content, algorithm))

    def _sign(self, content: bytes, algorithm: str) -> bytes:
        if self.key.keytype == "ed25519":
            return bytes(self._private.sign(content, mechanism=Mechanism.EDDSA))
        if self.key.keytype == "rsa":
            pss = (Mechanism.SHA256, pkcs11.MGF.SHA256, PSS_SALT_BYTES)
            return bytes(self._private.sign(content, mechanism=Mechanism.SHA256_RSA_PKCS_PSS, mechanism_param=pss))
        digest = hashlib.new(algorithm, content).digest()
        raw = bytes(self._private.sign(digest, mechanism=Mechanism.ECDSA))
        half = len(raw) // 2
        # PKCS#11 hands back r||s; TUF and OpenSSL want the DER sequence.
        return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))


class Tokens:
    """Open sessions, one a token; a context manager that logs out and frees the modules.

    Args:
        ask: Asks for a PIN when the URI names no file that holds it.
        load: Loads the library at a path; the suite puts tokens that fail in between.
    """

    def __init__(self, ask: AskPin, *, load: LoadModule = pkcs11.lib) -> None:
        self._ask, self._load = ask, load
        self._modules: dict[str, Any] = {}
        self._sessions: dict[tuple[str, bytes], Any] = {}

    def __enter__(self) -> Tokens:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A token that was pulled out cannot log out, and there is nothing left on it to protect.
        with suppress(p11.PKCS11Error):
            for session in self._sessions.values():
                session.close()
        with suppress(p11.PKCS11Error):
            for module in self._modules.values():
                module.finalize()
        self._sessions.clear()
        self._modules.clear()

    def open_key(self, uri: Pkcs11Uri) -> TokenKey:
        """Return the key that ``uri`` names, logged in.

        Raises:
            BuildError: 31; ``module-missing``, ``module-not-pkcs11``, ``module-not-ready``, ``token-absent``,
                ``pin-file-unreadable``, ``pin-last-try``, ``key-may-not-sign``, ``public-key-missing``, and
                those of ``keys.signers.token_errors``.
        """
        module = self._module(uri)
        token = _explained(uri, lambda: _find_token(module, uri))
        session = self._session(token, uri)
        private = _explained(uri, lambda: _find_private(session, uri))
        if not hasattr(private, "sign"):
            # python-pkcs11 gives an object the methods that its CKA_ attributes allow.
            message = f"{uri.where}: {uri.key} is not allowed to sign (CKA_SIGN), expected a signing key"
            raise token_error("key-may-not-sign", message, "Make a new key for signing on the token.", uri)
        flags = _explained(uri, lambda: {name: _flag(private, flag) for name, flag in _FLAGS.items()})
        facts = {
            "token": token.label,
            "serial": token.serial.decode("ascii", "replace"),
            "manufacturer": token.manufacturer_id,
            "model": token.model,
            "object": str(private.label),
        }
        evidence = SignerEvidence("pkcs11", facts, flags)
        return TokenKey(private, _public_half(session, private, uri), uri=uri, evidence=evidence)

    def _module(self, uri: Pkcs11Uri) -> Any:
        path = uri.module_path
        if path in self._modules:
            return self._modules[path]
        _require_library(uri)
        try:
            self._modules[path] = self._load(path)
        except p11.GeneralError as error:
            hint = "Check the module's own configuration (SoftHSM: the file that SOFTHSM2_CONF names)."
            message = f"module {path}: it loads but does not start, expected a configured module"
            raise token_error("module-not-ready", message, hint, uri) from error
        except p11.PKCS11Error as error:
            message = f"module {path}: a library that is no PKCS#11 module, expected the token's module"
            raise token_error("module-not-pkcs11", message, _HINT_MODULE, uri) from error
        return self._modules[path]

    def _session(self, token: Any, uri: Pkcs11Uri) -> Any:
        place = (uri.module_path, token.serial + token.label.encode())
        if place not in self._sessions:
            require_tries_left(token.flags, uri)
            pin = read_pin_file(uri.pin_file) if uri.pin_file is not None else self._ask(uri.where)
            try:
                self._sessions[place] = token.open(user_pin=pin)
            except p11.PKCS11Error as error:
                flags = _explained(uri, lambda: int(token.slot.get_token().flags))
                raise explain_login_error(error, uri, flags=flags) from error
        return self._sessions[place]


_HINT_MODULE: Final = "Check module-path= in the key's URI; SoftHSM's is /usr/lib/softhsm/libsofthsm2.so."


def _explained(uri: Pkcs11Uri, action: Callable[[], R]) -> R:
    try:
        return action()
    except p11.PKCS11Error as error:
        raise explain_token_error(error, uri) from error


def _require_library(uri: Pkcs11Uri) -> None:
    # python-pkcs11 tells these apart by text only, so the file is looked at first.
    try:
        with Path(uri.module_path).open("rb") as file:
            is_elf = file.read(4) == b"\x7fELF"
    except OSError as error:
        message = f"module {uri.module_path}: {error.strerror}, expected the token's PKCS#11 library"
        raise token_error("module-missing", message, _HINT_MODULE, uri) from error
    if not is_elf:
        message = f"module {uri.module_path}: not a library, expected the token's PKCS#11 library"
        raise token_error("module-not-pkcs11", message, _HINT_MODULE, uri)


def _find_token(module: Any, uri: Pkcs11Uri) -> Any:
    wanted = [
        token
        for token in module.get_tokens()
        if (uri.token is None or token.label == uri.token)
        and (uri.serial is None or token.serial.decode("ascii", "replace").strip() == uri.serial)
    ]
    if not wanted:
        raise p11.NoSuchToken
    if len(wanted) > 1:
        raise p11.MultipleTokensReturned
    return wanted[0]


def _flag(private: Any, flag: Attribute) -> bool:
    try:
        return bool(private[flag])
    except (p11.AttributeTypeInvalid, p11.AttributeSensitive, p11.FunctionFailed):
        return False  # A token that cannot say that it keeps a key has not said so.


def _find_private(session: Any, uri: Pkcs11Uri) -> Any:
    attributes: dict[Attribute, Any] = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
    if uri.object is not None:
        attributes[Attribute.LABEL] = uri.object
    if uri.id is not None:
        attributes[Attribute.ID] = uri.id
    # As a list: an unfinished search would make the next call fail with OperationActive.
    found = list(session.get_objects(attributes))
    if not found:
        raise p11.NoSuchKey
    if len(found) > 1:
        raise p11.MultipleObjectsReturned
    return found[0]


def _public_half(session: Any, private: Any, uri: Pkcs11Uri) -> SSlibKey:
    # By the private key's own id: two keys may share a label, and a pair is made with one id.
    pair = {Attribute.ID: private.id} if private.id else {Attribute.LABEL: private.label}
    try:
        found = list(session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, **pair}))
        if len(found) != 1:
            message = f"{uri.where}: {len(found)} public keys belong to {uri.key}, expected one"
            hint = "Write the public key onto the token beside the private one, with the same id."
            raise token_error("public-key-missing", message, hint, uri)
        return tuf_key(_read_public(found[0]))
    except (UnusableKeyError, ValueError) as error:
        message = f"{uri.where}: {uri.key}: {error}, expected P-256, P-384, RSA of 3072 bits or more, or Ed25519"
        hint = "Make a new key of one of these kinds on the token."
        raise token_error("key-type-unsupported", message, hint, uri) from error
    except p11.PKCS11Error as error:
        raise explain_token_error(error, uri) from error


def _read_public(public: Any) -> PublicKey:
    if public.key_type == KeyType.RSA:
        return parse_public_der(encode_rsa_public_key(public))
    if public.key_type == KeyType.EC:
        return parse_public_der(encode_ec_public_key(public))
    if public.key_type == KeyType.EC_EDWARDS:
        # 04 20 and the point, whichever way the curve is named.
        point = bytes(public[Attribute.EC_POINT])[-_ED25519_POINT_BYTES:]
        return ed25519.Ed25519PublicKey.from_public_bytes(point)
    raise UnusableKeyError(f"a key of type {public.key_type}")
