"""A key in memory: it signs or makes keyed digests, and can be lost, replaced or made unreachable."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from teraferry.keys.continuity.live_proof import pem_of
from teraferry.keys.ports import Look
from teraferry.keys.stores.refusals import undecided


class FakeKeyStore:
    """``KeyStore`` in memory.

    Args:
        proof: What the key gives.
    """

    def __init__(self, proof: Literal["signature", "hmac"] = "signature") -> None:
        self.proof: Literal["signature", "hmac"] = proof
        self.is_there = True
        self.can_be_asked = True
        self.replace()

    def replace(self) -> None:
        """Put another key in its place."""
        self._private = ec.generate_private_key(ec.SECP256R1())
        self._secret = secrets.token_bytes(32)
        self.mark = secrets.token_hex(8)

    def look(self) -> Look | None:
        self._require_askable()
        if not self.is_there:
            return None
        return Look(self.proof, {"name": self.mark}, public_key=self._pem() if self.proof == "signature" else "")

    def answer(self, challenge: bytes) -> bytes | None:
        self._require_askable()
        if not self.is_there:
            return None
        if self.proof == "hmac":
            return hmac.digest(self._secret, challenge, "sha256")
        return self._private.sign(challenge, ec.ECDSA(hashes.SHA256()))

    def _require_askable(self) -> None:
        if not self.can_be_asked:
            raise undecided("key-store-silent", "key in memory", "gave no answer", "Wait.")

    def _pem(self) -> str:
        return pem_of(self._private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


class SeenKeyStore:
    """A ``KeyStore`` that tells of each question before it passes it on.

    Args:
        inner: The key.
        reach: Called with "look" or "answer".
    """

    def __init__(self, inner: FakeKeyStore, reach: Callable[[str], None]) -> None:
        self._inner = inner
        self._reach = reach

    def look(self) -> Look | None:
        self._reach("look")
        return self._inner.look()

    def answer(self, challenge: bytes) -> bytes | None:
        self._reach("answer")
        return self._inner.answer(challenge)
