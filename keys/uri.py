"""Key URIs: where a key lies and which one it is, never the secret that opens it.

``pkcs11:token=LABEL;object=NAME?module-path=SO&pin-source=file:PINFILE`` names a key on a token,
``file:KEY.pem`` one in a file, for development roots only. ``gpg:FINGERPRINT`` names an OpenPGP key in the
signer's own GnuPG home, which signs ``SHA256SUMS`` and no metadata. Pure.

Source: RFC 7512, sections 2.3 (attributes) and 2.4 (comparison).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from teraferry.bundles.errors import UsageError
from teraferry.keys.openpgp.judge import parse_fingerprint

EXAMPLE: Final = "pkcs11:token=LABEL;object=NAME?module-path=/usr/lib/softhsm/libsofthsm2.so"

_PATH_ATTRIBUTES: Final = frozenset({"token", "serial", "object", "id", "type"})
_QUERY_ATTRIBUTES: Final = frozenset({"module-path", "pin-source"})
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Pkcs11Uri:
    """A key on a token. A token is chosen by label or serial: slot numbers change by themselves."""

    text: str  # as typed; it holds no secret
    module_path: str
    token: str | None
    serial: str | None
    object: str | None
    id: bytes | None
    pin_file: str | None

    @property
    def where(self) -> str:
        """The token, as a person would name it."""
        return f"token {self.token}" if self.token is not None else f"token with serial {self.serial}"

    @property
    def key(self) -> str:
        """The key, as a person would name it."""
        return f"key {self.object}" if self.object is not None else f"key with id {(self.id or b'').hex()}"


@dataclass(frozen=True, slots=True)
class FileUri:
    """A private key in a PEM file."""

    text: str
    path: str


@dataclass(frozen=True, slots=True)
class GpgUri:
    """An OpenPGP key, by the fingerprint of its primary key."""

    text: str
    fingerprint: str
    pin_file: str | None  # holds the passphrase; without it gpg-agent's own pinentry asks


KeyUri = Pkcs11Uri | FileUri
"""Keys that sign metadata."""

GPG_EXAMPLE: Final = "gpg:FINGERPRINT"


def parse_key_uri(text: str) -> KeyUri:
    """Return what ``text`` names.

    Raises:
        UsageError: ``key-uri-malformed``, ``key-uri-unknown-kind``, ``openpgp-key-not-here`` or ``pin-in-uri``, 2.
    """
    scheme, separator, rest = text.partition(":")
    if separator and scheme == "pkcs11":
        return _parse_pkcs11(text, rest)
    if separator and scheme == "file":
        path = rest.removeprefix("//")
        if not path:
            raise _malformed("a file key", "no path", "file:KEY.pem")
        return FileUri(text, path)
    if separator and scheme == "gpg":
        raise UsageError(
            "openpgp-key-not-here",
            "key gpg: an OpenPGP key, expected pkcs11: or file:, since it signs SHA256SUMS and no metadata",
            hint="Give it to sign as --key, beside the release keys.",
        )
    # Only the scheme is shown: somebody may have pasted a secret.
    raise UsageError(
        "key-uri-unknown-kind",
        f"key {scheme[:20]!r}: not a kind of key, expected pkcs11: or file:",
        hint=f"Write the key as {EXAMPLE}",
    )


def is_gpg_uri(text: str) -> bool:
    """Tell whether ``text`` names an OpenPGP key."""
    return text.startswith("gpg:")


def parse_gpg_uri(text: str) -> GpgUri:
    """Return the OpenPGP key that ``text`` names: ``gpg:FINGERPRINT[?pin-source=file:FILE]``.

    Raises:
        UsageError: ``key-uri-malformed``, 2.
    """
    scheme, _, rest = text.partition(":")
    name, _, query = rest.partition("?")
    queries = _attributes(query, "&")
    if scheme != "gpg" or queries.keys() - {"pin-source"}:
        raise _malformed("an OpenPGP key", "another form", GPG_EXAMPLE)
    try:
        fingerprint = parse_fingerprint(name)
    except ValueError as error:
        raise _malformed("an OpenPGP key", str(error), GPG_EXAMPLE) from error
    return GpgUri(text, fingerprint, _pin_file(queries))


def _parse_pkcs11(text: str, rest: str) -> Pkcs11Uri:
    path, _, query = rest.partition("?")
    attributes = _attributes(path, ";")
    queries = _attributes(query, "&")
    if "pin-value" in attributes or "pin-value" in queries:
        raise UsageError(
            "pin-in-uri",
            "key pkcs11: the PIN is in the URI, where every user of this machine can read it, expected none",
            hint="Leave pin-value out: you are asked for the PIN, or write pin-source=file:PINFILE. Change this PIN.",
        )
    for unknown in attributes.keys() - _PATH_ATTRIBUTES | queries.keys() - _QUERY_ATTRIBUTES:
        raise _malformed("a pkcs11 key", f"unknown attribute {unknown[:40]!r}", EXAMPLE)
    token, serial = _text(attributes, "token"), _text(attributes, "serial")
    name, identifier = _text(attributes, "object"), attributes.get("id")
    module = _text(queries, "module-path")
    if token is None and serial is None:
        raise _malformed("a pkcs11 key", "no token", EXAMPLE)
    if name is None and not identifier:
        raise _malformed("a pkcs11 key", "no object", EXAMPLE)
    if module is None or not module.startswith("/"):
        raise _malformed("a pkcs11 key", "no absolute module-path", EXAMPLE)
    if attributes.get("type", b"private") != b"private":
        raise _malformed("a pkcs11 key", "type is not private", EXAMPLE)
    return Pkcs11Uri(text, module, token, serial, name, identifier, _pin_file(queries))


def _pin_file(queries: dict[str, bytes]) -> str | None:
    source = _text(queries, "pin-source")
    if source is None:
        return None
    path = source.removeprefix("file:").removeprefix("//")
    if not path or path.startswith("|"):
        # RFC 7512 lets "|command" run a program; a URI must not be able to.
        raise _malformed("a pkcs11 key", "pin-source is no file", f"{EXAMPLE}&pin-source=file:PINFILE")
    return path


def _attributes(part: str, separator: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for item in filter(None, part.split(separator)):
        name, equals, value = item.partition("=")
        if not equals or not value or name in found or _PERCENT.search(value):
            raise _malformed("a pkcs11 key", f"attribute {name[:40]!r} is empty, doubled or badly encoded", EXAMPLE)
        found[name] = unquote_to_bytes(value)
    return found


def _text(attributes: dict[str, bytes], name: str) -> str | None:
    value = attributes.get(name)
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed("a pkcs11 key", f"attribute {name} is not UTF-8", EXAMPLE) from error


def _malformed(what: str, found: str, example: str) -> UsageError:
    return UsageError(
        "key-uri-malformed",
        f"URI of {what}: {found}, expected the form {example}",
        hint=f"Write it as '{example}' in single quotes: a shell ends the command at the semicolon.",
    )
