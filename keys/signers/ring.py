"""Open keys by URI, each token once, and close everything at the end."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from teraferry.keys.signers.file import open_file_key
from teraferry.keys.signers.signer import AskPin, KeySigner
from teraferry.keys.uri import FileUri, parse_key_uri

if TYPE_CHECKING:
    from teraferry.keys.signers.pkcs11 import LoadModule, Tokens


class KeyRing:
    """The keys of one command; a context manager. One at a time in a process.

    PKCS#11 allows one login of a user in a process, so keys on one token share its session,
    and modules keep their state globally, so two rings at once would disturb each other.

    Args:
        ask: Asks for a PIN when the URI names no file that holds it.
        load_module: Loads a PKCS#11 library in place of python-pkcs11's own way.
    """

    def __init__(self, ask: AskPin, *, load_module: LoadModule | None = None) -> None:
        self._ask, self._load_module = ask, load_module
        self._cleanup = ExitStack()
        self._tokens: Tokens | None = None

    def __enter__(self) -> KeyRing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()
        self._tokens = None

    def open(self, text: str) -> KeySigner:
        """Return the key that the URI ``text`` names, ready to sign.

        Raises:
            UsageError: The URI is malformed, 2.
            BuildError: The key cannot be used, 31; the reference tells why.
        """
        uri = parse_key_uri(text)
        if isinstance(uri, FileUri):
            return KeySigner(open_file_key(uri, self._ask), name=f"key file {uri.path}")
        if self._tokens is None:
            # Imported here: the site's installer is frozen without the HSM packages.
            from teraferry.keys.signers.pkcs11 import Tokens

            how = {} if self._load_module is None else {"load": self._load_module}
            self._tokens = self._cleanup.enter_context(Tokens(self._ask, **how))
        return KeySigner(self._tokens.open_key(uri), name=f"{uri.key} on {uri.where}")
