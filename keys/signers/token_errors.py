"""What a PKCS#11 error means to the person at the token, and what to do about it. Pure.

The module's own words are either absent (SoftHSM says nothing at all when its configuration is
missing) or numbers; an operator with three tries left needs more than that.

Source: PKCS#11 2.40, section 5.1 (return values); texts seen with SoftHSM 2.6.1.
"""

from __future__ import annotations

from typing import Final

from pkcs11 import TokenFlag
from pkcs11 import exceptions as p11

from teraferry.bundles.errors import BuildError
from teraferry.keys.uri import Pkcs11Uri

_GONE: Final = (
    p11.DeviceError,
    p11.DeviceMemory,
    p11.DeviceRemoved,
    p11.KeyHandleInvalid,
    p11.ObjectHandleInvalid,
    p11.SessionClosed,
    p11.SessionHandleInvalid,
    p11.TokenNotPresent,
)
_UNSUPPORTED: Final = (
    p11.MechanismInvalid,
    p11.MechanismParamInvalid,
    p11.FunctionNotSupported,
    p11.KeyTypeInconsistent,
    p11.KeySizeRange,
)


def explain_token_error(error: p11.PKCS11Error, uri: Pkcs11Uri) -> BuildError:
    """Return our error for what the module raised while the key of ``uri`` was used."""
    match error:
        case p11.PinLocked():
            found, hint = "its PIN is locked", "Unlock it with the security officer's PIN (SO PIN), then sign again."
            reference = "pin-locked"
        case p11.PinIncorrect() | p11.PinInvalid() | p11.PinLenRange():
            found, hint = "this is not its PIN", "Type the PIN again. Most tokens lock after a few wrong ones."
            reference = "pin-wrong"
        case p11.PinExpired() | p11.UserPinNotInitialized():
            found, hint = "its PIN is expired or was never set", "Set a new user PIN with the token's own tool."
            reference = "pin-not-set"
        case p11.NoSuchToken() | p11.TokenNotRecognised():
            found, hint = "not there", "Plug the token in, and compare its label with: pkcs11-tool --list-token-slots"
            reference = "token-absent"
        case p11.MultipleTokensReturned():
            found, hint = "two tokens have this label", "Add serial=NUMBER to the key's URI."
            reference = "token-ambiguous"
        case p11.NoSuchKey():
            found, hint = f"{uri.key} is not on it", "Compare object= with: pkcs11-tool --login --list-objects"
            reference = "key-missing"
        case p11.MultipleObjectsReturned():
            found, hint = f"{uri.key} is on it twice", "Name the key by id= in its URI."
            reference = "key-ambiguous"
        case _ if isinstance(error, _GONE):
            found, hint = "gone while it was used", "Plug the token in again and type the same command again."
            reference = "device-gone"
        case _ if isinstance(error, _UNSUPPORTED):
            found = f"{uri.key} cannot sign the way its kind must"
            hint = "Use a P-256, P-384, RSA (3072 bits or more) or Ed25519 key that is allowed to sign."
            reference = "key-type-unsupported"
        case _:
            found = f"the module answered {type(error).__name__}"
            hint = "Try the token with its own tool: pkcs11-tool --login --test. Then sign again."
            reference = "token-failed"
    return token_error(reference, f"{uri.where}: {found}, expected {uri.key} ready to sign", hint, uri)


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
