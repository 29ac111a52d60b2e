"""A PIN or passphrase from the file that a key's URI names in ``pin-source``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from teraferry.bundles.errors import BuildError

MAX_PIN_FILE_BYTES: Final = 1024
"""PKCS#11 PINs and passphrases that people type are far shorter."""


def read_pin_file(path: str) -> str:
    """Return the secret in the first bytes of ``path``, without the line's end.

    Raises:
        BuildError: ``pin-file-unreadable``, 31.
    """
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_PIN_FILE_BYTES).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        # The error is not quoted: a decoding error shows bytes of the PIN.
        raise BuildError(
            "pin-file-unreadable",
            f"PIN file {path}: not readable as text, expected the PIN on one line",
            hint="Check pin-source= in the key's URI.",
            exit_status=31,
            facts={"file": path},
        ) from None
