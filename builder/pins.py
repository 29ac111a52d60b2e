"""Where PINs come from: a prompt, a file named in the key's URI, or ``TERAFERRY_PIN``. Never argv."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from teraferry.bundles.errors import UsageError
from teraferry.keys.uri import Pkcs11Uri, parse_key_uri

PIN_VARIABLE = "TERAFERRY_PIN"


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
    tokens = [uri for uri in map(parse_key_uri, uris) if isinstance(uri, Pkcs11Uri)]
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
