"""A key on a PKCS#11 token of a node, asked by ``pkcs11-tool`` there.

What is recorded are the object's attributes (id, label, kind, what it may do, that it never left the
token) and its public key; the proof is a signature over a fresh nonce. Before each login the token's
flags are read: where a wrong PIN could be the last try, nobody logs in. The PIN goes from its file on
the node into the environment of the tool there; it is neither in an argument list nor here.

Source: PKCS#11 2.40, section 3.2 (CK_TOKEN_INFO flags), 2.3.6 (ECDSA signatures are r and s side by side).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from teraferry.bundles.system.process import Completed
from teraferry.keys.continuity.live_proof import pem_of
from teraferry.keys.ports import Look, NodeRunner
from teraferry.keys.stores.pkcs11_answers import (
    Token,
    TokenObject,
    choose_key,
    choose_token,
    explain,
    parse_objects,
    parse_tokens,
    require_tries_left,
)
from teraferry.keys.stores.refusals import require_ran, undecided
from teraferry.keys.uri import Pkcs11Uri

TOOL_SECONDS: Final = 60.0
"""A smart card may think for seconds, and each login is a session of its own."""

STATUS_NO_PIN: Final = 90

_WITH_PIN: Final = """
TERAFERRY_KEY_PIN=$(head -n 1 -- "$1") && [ -n "$TERAFERRY_KEY_PIN" ] || exit 90
export TERAFERRY_KEY_PIN
shift
exec "$@"
"""

_MECHANISMS: Final = {"EC": "ECDSA", "RSA": "SHA256-RSA-PKCS-PSS", "EC_EDWARDS": "EDDSA"}


@dataclass(frozen=True, slots=True)
class TokenKey:
    """What site.toml says of one key; module and PIN file are on the node."""

    name: str
    node: str
    uri: Pkcs11Uri

    @property
    def what(self) -> str:
        """The key, as a person would name it."""
        return f"key {self.name} on {self.uri.where} of {self.node}"


class Pkcs11Store:
    """``KeyStore`` of one key on a token."""

    def __init__(self, key: TokenKey, runner: NodeRunner) -> None:
        self._key = key
        self._runner = runner

    def look(self) -> Look | None:
        """Read the object's attributes and public key; see ``keys.ports.KeyStore``."""
        token, found = self._find()
        if found is None:
            return None
        done = self._tool(token, "--read-object", "--type", "pubkey", "--id", found.id)
        try:
            pem = pem_of(done.stdout)
        except ValueError as error:
            hint = "Write the public key beside the private one, with the same id: the proof is judged by it."
            raise undecided("public-key-missing", self._key.what, "no public key beside it", hint) from error
        marks = {
            "serial": token.serial,
            "label": found.label,
            "id": found.id,
            "kind": found.kind,
            "usage": found.usage,
            "access": found.access,
        }
        return Look("signature", marks, public_key=pem)

    def answer(self, challenge: bytes) -> bytes | None:
        """Sign ``challenge``; see ``keys.ports.KeyStore``."""
        token, found = self._find()
        if found is None:
            return None
        mechanism = _MECHANISMS.get(found.kind)
        if mechanism is None:
            hint = f"Use a key of one of these kinds: {', '.join(_MECHANISMS)}."
            raise undecided("key-type-unsupported", self._key.what, f"a key of kind {found.kind}", hint)
        # Tokens digest by themselves for RSA; ECDSA with a digest in it is not offered by all of them.
        content = hashlib.sha256(challenge).digest() if mechanism == "ECDSA" else challenge
        done = self._login(token, "--sign", "--mechanism", mechanism, "--id", found.id, stdin=content)
        if done.status != 0:
            raise explain(done.stderr, self._key.what)
        return _der(done.stdout) if mechanism == "ECDSA" else done.stdout

    def _find(self) -> tuple[Token, TokenObject | None]:
        """Return the token, and the private key on it as a logged-in user sees it; others see no private keys."""
        listed = self._run(self._argv("--list-token-slots"))
        if listed.status != 0:
            raise explain(listed.stderr, self._key.what)
        token = choose_token(parse_tokens(listed.text()), self._key.uri, self._key.what)
        done = self._login(token, "--list-objects")
        if done.status != 0:
            raise explain(done.stderr, self._key.what)
        return token, choose_key(parse_objects(done.text()), self._key.uri, self._key.what)

    def _login(self, token: Token, *arguments: str, stdin: bytes = b"") -> Completed:
        require_tries_left(token, self._key.what)
        login = self._argv("--slot", token.slot, "--login", "--pin", "env:TERAFERRY_KEY_PIN", *arguments)
        done = self._run(["sh", "-c", _WITH_PIN, "sh", self._key.uri.pin_file or "", *login], stdin=stdin)
        if done.status == STATUS_NO_PIN:
            hint = "See that the file of pin-source is on that node and holds the PIN in its first line."
            raise undecided("pin-file-unreadable", self._key.what, "no PIN in its file", hint)
        return done

    def _tool(self, token: Token, *arguments: str) -> Completed:
        return self._run(self._argv("--slot", token.slot, *arguments))

    def _argv(self, *arguments: str) -> list[str]:
        return ["pkcs11-tool", "--module", self._key.uri.module_path, *arguments]

    def _run(self, argv: Sequence[str], *, stdin: bytes = b"") -> Completed:
        done = self._runner.run(argv, stdin=stdin, timeout_seconds=TOOL_SECONDS)
        require_ran(done, self._key.what, "pkcs11-tool")
        return done


def _der(raw: bytes) -> bytes:
    half = len(raw) // 2
    return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
