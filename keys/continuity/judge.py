"""Whether keys that must survive are still the ones that were recorded. Pure.

What is recorded of a key holds nothing secret: where it is, what would change if it were replaced,
its public half, the digests of its wrapped blobs. A later look is compared with that, and the key
must prove itself by being used: a signature over a fresh nonce, or the same answer to the same
challenge. Every recorded key ends as exactly one of four:

1. lost: its store says that it is gone, or a wrapped blob or counter of it is;
2. changed: there is a key, but another one, or with other attributes, or it answers wrongly;
3. undecided: the store could not be asked, or would not answer; never taken for any of the others;
4. kept: all of it was seen, and the proof was right.

Source: ``docs/keys.md``, sections "What is recorded" and "Verdicts".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import msgspec

from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.model import Model

Proof = Literal["signature", "hmac", "presence"]
"""How a key proves itself: by a signature, by a keyed digest, or (where no use of it is safe) by being there."""


class KeyFacts(Model, frozen=True):
    """What is recorded of one key; nothing of it is secret."""

    name: str
    node: str
    store: str  # "tpm", "pkcs11", "command"
    handle: str  # what the store calls it
    proof: Proof
    marks: dict[str, str]  # what changes when the key is replaced or its attributes are
    public_key: str = ""  # PEM; "" where there is none
    challenge: str = ""  # hex; of proof "hmac"
    answer: Digest | None = None  # digest of the right answer to it
    counter: int | None = None  # of an NV counter that only grows
    blobs: dict[str, Digest] = msgspec.field(default_factory=dict)  # path on the node -> of the wrapped key

    @property
    def identity(self) -> Digest:
        """What a recovery proof names: equal exactly when this is the same key with the same attributes."""
        parts = {"marks": self.marks, "public_key": self.public_key}
        return digest_of(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode())


class Answer(Enum):
    """What became of the proof."""

    RIGHT = "right"
    WRONG = "wrong"
    NOT_ASKED = "not asked"


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at a key.

    ``facts`` is None when the store itself said that the key is gone. With ``undecided`` set it may be
    None as well, and then nobody said anything.
    """

    facts: KeyFacts | None
    answer: Answer = Answer.NOT_ASKED
    undecided: str = ""  # why it could not be decided


@dataclass(frozen=True, slots=True)
class Finding:
    """One key's verdict, with every reason."""

    name: str
    node: str
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as people read it."""
        return f"{self.name} on {self.node}" + (f": {'; '.join(self.reasons)}" if self.reasons else "")


@dataclass(frozen=True, slots=True)
class Comparison:
    """The verdicts over all keys. There is no ``__bool__``: ask for ``is_intact``."""

    kept: tuple[Finding, ...] = ()
    changed: tuple[Finding, ...] = ()
    lost: tuple[Finding, ...] = ()
    undecided: tuple[Finding, ...] = ()

    @property
    def is_intact(self) -> bool:
        """Tell whether every key was seen to be kept."""
        return not (self.changed or self.lost or self.undecided)


def compare(recorded: Mapping[str, KeyFacts], sights: Mapping[str, Sight]) -> Comparison:
    """Return the verdict on each recorded key, in the order of the record.

    Args:
        recorded: Key name -> what is known of it.
        sights: Key name -> what was seen now. A recorded key that nobody looked at is undecided.
    """
    found: dict[str, list[Finding]] = {"kept": [], "changed": [], "lost": [], "undecided": []}
    for name, before in recorded.items():
        verdict, reasons = _judge(before, sights.get(name, Sight(None, undecided="nobody looked at it")))
        found[verdict].append(Finding(name, before.node, tuple(reasons)))
    return Comparison(*(tuple(found[verdict]) for verdict in ("kept", "changed", "lost", "undecided")))


def _judge(before: KeyFacts, sight: Sight) -> tuple[str, list[str]]:
    now = sight.facts
    if now is None:
        # A store that could not be asked has not said that the key is gone.
        return ("undecided", [sight.undecided]) if sight.undecided else ("lost", ["its store says that it is gone"])
    lost = [f"wrapped blob {path} is gone" for path in before.blobs if path not in now.blobs]
    if before.counter is not None and now.counter is None:
        lost.append("its counter is gone")
    if lost:
        return "lost", lost
    changed = _changes(before, now)
    if sight.answer is Answer.WRONG:
        changed.append("it does not prove to be the recorded key")
    if changed:
        return "changed", changed
    if sight.undecided:
        return "undecided", [sight.undecided]
    if before.proof != "presence" and sight.answer is not Answer.RIGHT:
        return "undecided", [f"it was not asked for its proof, a {before.proof}"]
    return "kept", []


def _changes(before: KeyFacts, now: KeyFacts) -> list[str]:
    changed = [
        f"{mark} is {now.marks.get(mark, 'absent')}, expected {before.marks.get(mark, 'absent')}"
        for mark in sorted({*before.marks, *now.marks})
        if before.marks.get(mark) != now.marks.get(mark)
    ]
    for field in ("node", "store", "handle", "proof"):
        if getattr(before, field) != getattr(now, field):
            changed.append(f"{field} is {getattr(now, field)}, expected {getattr(before, field)}")
    if before.public_key != now.public_key:
        changed.append("its public key is another one")
    if before.counter is not None and now.counter is not None and now.counter < before.counter:
        changed.append(f"its counter is {now.counter}, expected {before.counter} or more: the store was put back")
    changed += [
        f"wrapped blob {path} is {now.blobs[path]}, expected {digest}"
        for path, digest in before.blobs.items()
        if now.blobs[path] != digest
    ]
    return changed
