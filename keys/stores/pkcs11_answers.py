"""What ``pkcs11-tool`` prints about tokens and the objects on them. Pure.

Source: OpenSC 0.23, pkcs11-tool(1). Its ``--label`` does not choose the key to sign with: it takes the
first one. So keys are found in the listing, and named by their id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.keys.stores.refusals import undecided
from teraferry.keys.uri import Pkcs11Uri

_SLOT: Final = re.compile(r"^Slot \d+ \((0x[0-9a-fA-F]+)\):")
_OBJECT: Final = re.compile(r"^(Private|Public) Key Object; ?(.*)$")
_FIELD: Final = re.compile(r"^  ([A-Za-z][A-Za-z0-9_ /]*?)\s*:\s?(.*)$")

_NEAR_LOCKING: Final = (
    ("user PIN locked", "pin-locked", "its PIN is locked", "Unlock it with the security officer's PIN (SO PIN)."),
    ("final user PIN try", "pin-last-try", "one try is left before its PIN locks", ""),
    ("user PIN count low", "pin-last-try", "somebody typed a wrong PIN, and few tries are left", ""),
)
_TRY_HINT: Final = "Log in once by hand with the right PIN, which clears this. The key is not lost."


@dataclass(frozen=True, slots=True)
class Token:
    """One token in its slot."""

    slot: str  # 0x...
    label: str
    serial: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenObject:
    """One key object on a token."""

    is_private: bool
    kind: str  # "EC", "RSA", "EC_EDWARDS"
    label: str
    id: str  # hex
    usage: str
    access: str


def parse_tokens(text: str) -> tuple[Token, ...]:
    """Return the tokens that ``--list-token-slots`` printed."""
    return tuple(
        Token(
            slot.group(1),
            fields.get("token label", ""),
            fields.get("serial num", ""),
            tuple(flag.strip() for flag in fields.get("token flags", "").split(",")),
        )
        for head, fields in _blocks(text, _SLOT)
        if (slot := _SLOT.match(head)) and "token label" in fields
    )


def parse_objects(text: str) -> tuple[TokenObject, ...]:
    """Return the keys that ``--list-objects`` printed; other objects are left out."""
    return tuple(
        TokenObject(
            found.group(1) == "Private",
            (found.group(2).split() or [""])[0],
            fields.get("label", ""),
            fields.get("ID", "").lower(),
            fields.get("Usage", ""),
            fields.get("Access", ""),
        )
        for head, fields in _blocks(text, _OBJECT)
        if (found := _OBJECT.match(head))
    )


def choose_token(tokens: tuple[Token, ...], uri: Pkcs11Uri, what: str) -> Token:
    """Return the token that the URI names.

    Raises:
        RefusedError: ``token-absent`` or ``token-ambiguous``, 40. A token that is not plugged in holds its keys still.
    """
    found = [
        token
        for token in tokens
        if (uri.token is None or token.label == uri.token) and (uri.serial is None or token.serial == uri.serial)
    ]
    if not found:
        raise undecided("token-absent", what, f"no {uri.where}", "Plug the token in; see: pkcs11-tool -T")
    if len(found) > 1:
        raise undecided("token-ambiguous", what, f"{len(found)} times {uri.where}", "Add serial=NUMBER to the URI.")
    return found[0]


def require_tries_left(token: Token, what: str) -> None:
    """Refuse to log in where a wrong PIN could lock the token.

    Raises:
        RefusedError: ``pin-locked`` or ``pin-last-try``, 40.
    """
    for flag, reference, found, hint in _NEAR_LOCKING:
        if flag in token.flags:
            raise undecided(reference, what, found, hint or _TRY_HINT)


def choose_key(objects: tuple[TokenObject, ...], uri: Pkcs11Uri, what: str) -> TokenObject | None:
    """Return the one private key that the URI names; None when the token does not hold it.

    Raises:
        RefusedError: ``key-ambiguous``, 40: two of that name, or another key with the same id, which could sign for it.
    """
    private = [each for each in objects if each.is_private]
    wanted = uri.id.hex() if uri.id is not None else None
    found = [
        each
        for each in private
        if (uri.object is None or each.label == uri.object) and (wanted is None or each.id == wanted)
    ]
    if not found:
        return None
    if len(found) > 1 or sum(each.id == found[0].id for each in private) > 1 or not found[0].id:
        raise undecided("key-ambiguous", what, "another key of that name or id beside it", "Give each key its own id.")
    return found[0]


def explain(stderr: bytes, what: str) -> RefusedError:
    """Return why a token could not be asked, from what ``pkcs11-tool`` said."""
    said = stderr.decode("utf-8", "replace")
    for code, reference, found, hint in (
        ("CKR_PIN_INCORRECT", "pin-wrong", "the PIN is wrong", "Correct the file of pin-source on that node."),
        ("CKR_PIN_LEN_RANGE", "pin-wrong", "the PIN is wrong", "Correct the file of pin-source on that node."),
        ("CKR_PIN_LOCKED", "pin-locked", "its PIN is locked", "Unlock it with the security officer's PIN (SO PIN)."),
        ("CKR_TOKEN_NOT_PRESENT", "token-absent", "it is gone", "Plug the token in; see: pkcs11-tool -T"),
        ("CKR_DEVICE_", "device-gone", "it failed while it was used", "Plug the token in again."),
        ("sc_dlopen failed", "module-missing", "its module cannot be loaded", "Correct module-path in the URI."),
    ):
        if code in said:
            return undecided(reference, what, found, hint)
    code_found = re.search(r"CKR_[A-Z_]+", said)
    found = f"the token answered {code_found.group()}" if code_found else "pkcs11-tool failed"
    return undecided("token-failed", what, found, "Try the token by hand on that node: pkcs11-tool --login --test")


def _blocks(text: str, head: re.Pattern[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Return each line that ``head`` matches, with the indented fields below it."""
    current: tuple[str, dict[str, str]] | None = None
    for line in text.splitlines():
        if not line.startswith(" "):
            if current is not None:
                yield current
            current = (line, {}) if head.match(line) else None
        elif current is not None and (field := _FIELD.match(line)):
            # The first one: a label cannot bring a second "ID" of its own.
            current[1].setdefault(field.group(1), field.group(2).strip())
    if current is not None:
        yield current
