"""Whether a key could be brought back if it were lost: a recovery proof, or a decision to do without. Pure.

The proof is a small JSON file that a person writes after a copy of the key was really brought back
somewhere, once. It names the key by its identity, so a proof of an older key does not count::

    {"key": "Company_Key", "identity": "sha256:...", "proven_on": "2026-03-04", "proven_by": "Nguyen Lan",
     "how": "unsealed from the safe's copy on the spare server, its HMAC compared"}
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Final

import msgspec

from teraferry.bundles.digest import Digest
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.model import Model
from teraferry.keys.continuity.judge import KeyFacts

_Words = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]

_ACCEPTED: Final = re.compile(r"\s*([^,]*\S)\s*,\s*(\d{4}-\d{2}-\d{2})\s*,\s*(\S.*)")


class RecoveryProof(Model, frozen=True):
    """What somebody vouches for."""

    key: _Words
    identity: Digest
    proven_on: date
    proven_by: _Words
    how: _Words


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a site has for one key: exactly one of the two, or nothing."""

    proof: RecoveryProof | None = None
    accepted_without: str | None = None  # "name, date, reason"
    problem: str = ""  # why a declared proof could not be read

    @property
    def said(self) -> str:
        """One line for people."""
        if self.proof is not None:
            return f"recovery proven on {self.proof.proven_on:%Y-%m-%d} by {self.proof.proven_by}"
        return f"accepted without recovery: {self.accepted_without}" if self.accepted_without else "no recovery proof"


def parse_recovery_proof(content: bytes) -> RecoveryProof:
    """Return the proof in a file.

    Raises:
        ValueError: It is none; the message says what is wrong.
    """
    try:
        return msgspec.json.decode(content, type=RecoveryProof)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def require_acceptance(text: str) -> None:
    """Check that a site's decision to do without a recovery copy says who, when and why.

    Raises:
        ValueError: It does not.
    """
    found = _ACCEPTED.fullmatch(text)
    if found is None:
        raise ValueError(f'{text[:80]!r}, expected "name, YYYY-MM-DD, reason"')
    try:
        date.fromisoformat(found.group(2))
    except ValueError:
        raise ValueError(f"{found.group(2)}, expected a date") from None


def require_recoverable(facts: KeyFacts, recovery: Recovery) -> str:
    """Return how the key could be brought back.

    Args:
        facts: The key as it is now.
        recovery: What the site has.

    Raises:
        RefusedError: ``key-recovery-unproven``, 40.
    """
    if recovery.problem:
        raise _unproven(facts, recovery.problem)
    if recovery.accepted_without:
        return recovery.said
    if recovery.proof is None:
        raise _unproven(facts, "neither recovery_proof nor accepted_without_recovery")
    if recovery.proof.key != facts.name:
        raise _unproven(facts, f"a proof for key {recovery.proof.key[:80]}")
    if recovery.proof.identity != facts.identity:
        raise _unproven(facts, f"a proof for another key of that name, {recovery.proof.identity}")
    return recovery.said


def _unproven(facts: KeyFacts, found: str) -> RefusedError:
    return RefusedError(
        "key-recovery-unproven",
        f"key {facts.name} on {facts.node}: {found}, expected a recovery proof of {facts.identity}",
        hint="Bring a copy of the key back on a spare machine once, and write recovery_proof (docs/keys.md). A site "
        "that will do without writes who decided it, when and why: accepted_without_recovery.",
        facts={"key": facts.name, "node": facts.node, "identity": facts.identity},
    )
