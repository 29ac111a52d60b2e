"""What watching over keys needs: a way to run a command on a node, and a store that holds a key.

A fake in ``tests/fakes`` passes the same contract tests as the real stores. A store that cannot
tell raises ``RefusedError``; it never says that a key is gone unless the store itself said so, and
nothing here clears, overwrites or exports a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from teraferry.bundles.system.process import Completed
from teraferry.keys.continuity.judge import Proof


class NodeRunner(Protocol):
    """Runs commands on one node; the installer's transports are such."""

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
        """Run ``argv`` on the node and return what it did; a nonzero status does not raise.

        Raises:
            RefusedError: 40: it could not be run at all.
        """


@dataclass(frozen=True, slots=True)
class Look:
    """What a store says of a key without using it. Nothing of it is secret."""

    proof: Proof  # what ``answer`` will give
    marks: dict[str, str]  # what changes when the key is replaced or its attributes are
    public_key: str = ""  # PEM
    counter: int | None = None
    said: str = ""  # for people: why the proof is weaker than it could be


class KeyStore(Protocol):
    """One key, in whatever holds it."""

    def look(self) -> Look | None:
        """Return what is to be recorded of the key; None when the store says that it is not there.

        Raises:
            RefusedError: 40: it could not be decided.
        """

    def answer(self, challenge: bytes) -> bytes | None:
        """Use the key on ``challenge``: a signature over it, or its keyed digest.

        Never spends a try that locks the store, and never brings the key itself out.

        Returns:
            The signature (ECDSA in DER) or keyed digest; None when the store says that the key is not there.

        Raises:
            RefusedError: 40: it could not be decided.
        """
