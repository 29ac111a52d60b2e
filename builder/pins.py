"""Where PINs come from: a prompt, a file named in the key's URI, or ``TERAFERRY_PIN``. Never argv."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from teraferry.bundles.errors import UsageError
from teraferry.bundles.system.process import PIN_VARIABLE
from teraferry.keys.signers.pin_file import read_pin_file
from teraferry.keys.uri import GpgUri, Pkcs11Uri, is_gpg_uri, parse_key_uri


def choose_pin_source(
    uris: Sequence[str], environment: Mapping[str, str], prompt: Callable[[str], str] | None
) -> Callable[[str], str]:
    """Return what asks for a PIN.

    Args:
        uris: Every key of the command.
        environment: The process environment.
        prompt: Asks a person for the PIN of what it is told; None without a terminal.

    Raises:
        UsageError: ``pin-for-several-keys``, 2. Asking raises ``pin-needed``, 2, when nobody can be asked.
    """
    pin = environment.get(PIN_VARIABLE)
    # An OpenPGP key may be a card's, with few tries as well.
    tokens = [uri for uri in uris if is_gpg_uri(uri) or isinstance(parse_key_uri(uri), Pkcs11Uri)]
    if pin is not None and len(tokens) > 1:
        # Trying one person's PIN on another's token would spend that token's tries.
        raise UsageError(
            "pin-for-several-keys",
            f"{PIN_VARIABLE}: set for {len(tokens)} keys, expected one key",
            hint=f"Unset {PIN_VARIABLE}; give each key a pin-source=file:PINFILE, or sign with one key at a time.",
        )

    def ask(what: str) -> str:
        if pin is not None:
            return pin
        if prompt is None:
            raise UsageError(
                "pin-needed",
                f"{what}: no PIN, expected one from a file, from {PIN_VARIABLE} or from a terminal",
                hint="Add pin-source=file:PINFILE to the key's URI, or type the command on a terminal.",
            )
        return prompt(what)

    return ask


def choose_passphrase(uri: GpgUri, environment: Mapping[str, str]) -> str | None:
    """Return the passphrase of an OpenPGP key; None leaves the question to its agent's own pinentry.

    Raises:
        BuildError: ``pin-file-unreadable``, 31.
    """
    if uri.pin_file is not None:
        return read_pin_file(uri.pin_file)
    return environment.get(PIN_VARIABLE)
