"""A real PKCS#11 module with a fault put in between: what SoftHSM itself never does.

SoftHSM locks no PIN, loses no device and closes no session. Here its own objects answer, through the same
``Tokens`` and the same explanations, until a planned step raises what python-pkcs11 raises for
such a token. The wrapped module is real, so every other step is too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pkcs11
from pkcs11 import Attribute, ObjectClass
from pkcs11 import exceptions as p11


@dataclass
class Fault:
    """Where it fails: ``tokens``, ``login``, ``find``, ``flags`` or ``sign``; and after how many good answers."""

    step: str
    error: p11.PKCS11Error
    after: int = 0
    flags_afterwards: int = 0  # what the token says of itself once it failed, beside its own flags
    seen: dict[str, int] = field(default_factory=dict)

    def pass_or_raise(self, step: str) -> None:
        """Count ``step``; raise when it is the one that fails."""
        self.seen[step] = self.seen.get(step, 0) + 1
        if step == self.step and self.seen[step] > self.after:
            raise self.error


class Through:
    """Hands everything on to the real object."""

    def __init__(self, real: Any, fault: Fault) -> None:
        self._real, self._fault = real, fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class FailingModule(Through):
    """The library."""

    def get_tokens(self) -> Iterator[FailingToken]:
        """Return its tokens."""
        self._fault.pass_or_raise("tokens")
        return (FailingToken(token, self._fault) for token in self._real.get_tokens())


class FailingToken(Through):
    """One token."""

    @property
    def slot(self) -> FailingToken:
        """Return what reads the token's flags anew."""
        return self

    def get_token(self) -> FailingToken:
        """Return the token as it is now."""
        return self

    @property
    def flags(self) -> int:
        """What the token says of itself."""
        has_failed = self._fault.seen.get("login", 0) > self._fault.after
        return int(self._real.flags) | (self._fault.flags_afterwards if has_failed else 0)

    def open(self, **how: Any) -> FailingSession:
        """Log in."""
        self._fault.pass_or_raise("login")
        return FailingSession(self._real.open(**how), self._fault)


class FailingSession(Through):
    """One session."""

    def get_objects(self, attributes: dict[Attribute, Any]) -> Iterator[Any]:
        """Return objects; private keys are wrapped."""
        if attributes[Attribute.CLASS] != ObjectClass.PRIVATE_KEY:
            return iter(self._real.get_objects(attributes))
        self._fault.pass_or_raise("find")
        return (FailingKey(key, self._fault) for key in self._real.get_objects(attributes))


class FailingKey(Through):
    """One private key."""

    def __getitem__(self, attribute: Attribute) -> Any:
        self._fault.pass_or_raise("flags")
        return self._real[attribute]

    def sign(self, content: bytes, **how: Any) -> bytes:
        """Sign, or fail."""
        self._fault.pass_or_raise("sign")
        return bytes(self._real.sign(content, **how))


def loader(fault: Fault) -> Any:
    """Return what loads a library and puts ``fault`` in between."""
    return lambda path: FailingModule(pkcs11.lib(path), fault)
