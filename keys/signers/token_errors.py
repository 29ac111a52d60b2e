"""What a PKCS#11 error means to the person at the token, and what to do about it. Pure.

The module's own words are either absent (SoftHSM says nothing at all when its configuration is
missing) or numbers; an operator with three tries left needs more than that.

Source: PKCS#11 2.40, section 5.1 (return values); texts seen with SoftHSM 2.6.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pkcs11 import TokenFlag
from pkcs11 import exceptions as p11

from teraferry.bundles.errors import BuildError
from teraferry.keys.uri import Pkcs11Uri


@dataclass(frozen=True, slots=True)
class Cause:
    """What a group of errors means: stable reference, what was found, what to do. ``{key}`` is the key's name."""

    reference: str
    found: str
    hint: str


def _cause(reference: str, found: str, hint: str) -> Cause:
    return Cause(reference, found, hint)


CAUSES: Final[tuple[tuple[tuple[type[p11.PKCS11Error], ...], Cause], ...]] = (
    (
        (p11.PinLocked,),
        _cause("pin-locked", "its PIN is locked", "Unlock it with the security officer's PIN, then sign again."),
    ),
    (
        (p11.PinIncorrect, p11.PinInvalid, p11.PinLenRange),
        _cause("pin-wrong", "this is not its PIN", "Type the PIN again. Most tokens lock after a few wrong ones."),
    ),
    (
        (p11.PinExpired,),
        _cause("pin-expired", "its PIN is expired", "Set a new user PIN with the token's own tool, then sign again."),
    ),
    (
        (p11.UserPinNotInitialized,),
        _cause("pin-not-set", "no user PIN was ever set", "Set one as its security officer: pkcs11-tool --init-pin"),
    ),
    (
        (p11.NoSuchToken,),
        _cause("token-absent", "not there", "Plug the token in; compare its label with: pkcs11-tool -T"),
    ),
    (
        (p11.TokenNotRecognised,),
        _cause(
            "token-not-recognised",
            "there is one that the module does not know",
            "Use the module of the token's maker (module-path= in the key's URI), or initialise the token.",
        ),
    ),
    (
        (p11.MultipleTokensReturned,),
        _cause("token-ambiguous", "two tokens have this label", "Add serial=NUMBER to the key's URI."),
    ),
    (
        (p11.NoSuchKey,),
        _cause("key-missing", "{key} is not on it", "Compare object= with: pkcs11-tool --login --list-objects"),
    ),
    (
        (p11.MultipleObjectsReturned,),
        _cause("key-ambiguous", "{key} is on it twice", "Name the key by id= in its URI."),
    ),
    (
        (
            *(p11.DeviceError, p11.DeviceRemoved, p11.TokenNotPresent, p11.SlotIDInvalid),
            *(p11.KeyHandleInvalid, p11.ObjectHandleInvalid),
        ),
        _cause("device-gone", "gone while it was used", "Plug the token in again and type the same command again."),
    ),
    (
        (p11.SessionClosed, p11.SessionHandleInvalid, p11.UserNotLoggedIn),
        _cause(
            "session-closed",
            "its session was closed while it was used",
            "Another program reset the token or logged it out: close that program and type the same command again.",
        ),
    ),
    (
        (
            *(p11.SessionCount, p11.UserAlreadyLoggedIn, p11.AnotherUserAlreadyLoggedIn, p11.UserTooManyTypes),
            *(p11.OperationActive, p11.SessionReadWriteSOExists),
        ),
        _cause("token-busy", "another program or user holds it", "Close that program and type the same command again."),
    ),
    (
        (p11.TokenWriteProtected, p11.SessionReadOnly),
        _cause(
            "token-write-protected",
            "it is write-protected, and its module wants to write",
            "Signing itself writes nothing: take the protection off with the token's own tool or switch.",
        ),
    ),
    (
        (p11.FunctionRejected, p11.FunctionCancelled),
        _cause(
            "token-declined",
            "the signature was declined at the token",
            "Type the same command again, and confirm at the token (touch it, or press its button) when it asks.",
        ),
    ),
    (
        (
            *(p11.MechanismInvalid, p11.MechanismParamInvalid, p11.FunctionNotSupported),
            *(p11.KeyTypeInconsistent, p11.KeySizeRange),
        ),
        _cause(
            "key-type-unsupported",
            "{key} cannot sign the way its kind must",
            "Use a P-256, P-384, RSA (3072 bits or more) or Ed25519 key that is allowed to sign.",
        ),
    ),
    (
        (p11.DeviceMemory, p11.HostMemory),
        _cause(
            "token-out-of-memory",
            "out of memory",
            "Unplug the token and plug it in again; close other programs that use it.",
        ),
    ),
)
"""The first row that an error belongs to explains it; no class stands in two rows (a test)."""


def explain_token_error(error: p11.PKCS11Error, uri: Pkcs11Uri) -> BuildError:
    """Return our error for what the module raised while the key of ``uri`` was used."""
    cause = next((cause for kinds, cause in CAUSES if isinstance(error, kinds)), None)
    if cause is None:
        # A number that python-pkcs11 has no name for stands in its text, and nothing else does.
        answered = type(error).__name__ if type(error) is not p11.PKCS11Error else str(error)[:80]
        hint = "Try the token with its own tool: pkcs11-tool --login --test. Then sign again."
        message = f"{uri.where}: the module answered {answered}, expected {uri.key} ready to sign"
        return token_error("token-failed", message, hint, uri)
    found = cause.found.format(key=uri.key)
    return token_error(cause.reference, f"{uri.where}: {found}, expected {uri.key} ready to sign", cause.hint, uri)


def explain_login_error(error: p11.PKCS11Error, uri: Pkcs11Uri, *, flags: int) -> BuildError:
    """Return our error for a failed login, with what is left of the tries.

    Args:
        error: What the login raised.
        uri: The key that is wanted.
        flags: The token's own flags (CK_TOKEN_INFO), read after the failure.
    """
    explained = explain_token_error(error, uri)
    if explained.reference != "pin-wrong":
        return explained
    if flags & TokenFlag.USER_PIN_LOCKED:
        return explain_token_error(p11.PinLocked(), uri)
    if flags & TokenFlag.USER_PIN_FINAL_TRY:
        hint = "ONE try is left before the token locks. Make sure of the PIN and of the token before you type it."
        return token_error("pin-wrong", explained.message, hint, uri)
    return explained


def require_tries_left(flags: int, uri: Pkcs11Uri) -> None:
    """Refuse a token whose PIN is locked, or would be by a wrong PIN that nobody types.

    Args:
        flags: The token's own (CK_TOKEN_INFO).
        uri: The key that is wanted.

    Raises:
        BuildError: ``pin-locked``, 31; ``pin-last-try``, 31.
    """
    if flags & TokenFlag.USER_PIN_LOCKED:
        raise explain_token_error(p11.PinLocked(), uri)
    if flags & TokenFlag.USER_PIN_FINAL_TRY and uri.pin_file is not None:
        # A stale PIN in a file would lock the token with nobody watching.
        message = f"{uri.where}: one try is left before its PIN locks, expected more"
        hint = "Leave pin-source out of the URI and type the PIN yourself, with care."
        raise token_error("pin-last-try", message, hint, uri)


def token_error(reference: str, message: str, hint: str, uri: Pkcs11Uri) -> BuildError:
    """Return the error ``reference``, 31, with the facts every token error has."""
    facts = {"module": uri.module_path, "token": uri.token or uri.serial, "object": uri.object}
    return BuildError(reference, message, hint=hint, exit_status=31, facts=facts)
