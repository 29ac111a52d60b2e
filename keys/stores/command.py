"""A key behind a program of the site's own: a Secure Enclave, a vendor's box, anything else.

The program is started on the node for each question, gets one JSON object on standard input and
answers one JSON object on standard output, with exit status 0. It answers ``present``, ``absent`` or
``undecided``; anything else, also silence, is undecided. It is told no secret and must print none.

Questions (``protocol`` is always 1)::

    {"protocol": 1, "ask": "look", "handle": "..."}
    {"protocol": 1, "ask": "prove", "handle": "...", "challenge": "<64 hex digits>"}

Answers::

    {"state": "present", "proof": "signature", "public_key": "<PEM>", "marks": {"name": "text", ...}}
    {"state": "present", "proof": "hmac", "marks": {...}}
    {"state": "present", "answer": "<hex>"}            to "prove"
    {"state": "absent"}
    {"state": "undecided", "reason": "..."}

Source: ``docs/keys.md``, section "A store of your own"; ``conformance`` tries a program out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import msgspec

from teraferry.bundles.limits import MAX_KEY_ANSWER_BYTES
from teraferry.bundles.model import Model
from teraferry.keys.continuity.live_proof import pem_of
from teraferry.keys.ports import Look, NodeRunner
from teraferry.keys.stores.refusals import require_ran, undecided

PROTOCOL: Final = 1
PROGRAM_SECONDS: Final = 60.0
"""A box may have to be woken; a person is not asked."""

_SHOWN_CHARACTERS: Final = 120

State = Literal["present", "absent", "undecided"]


class LookAnswer(Model, frozen=True):
    """What a program says to "look"."""

    state: State
    proof: Literal["signature", "hmac"] | None = None
    public_key: str = ""
    marks: dict[str, str] = msgspec.field(default_factory=dict)
    reason: str = ""


class ProveAnswer(Model, frozen=True):
    """What a program says to "prove"."""

    state: State
    answer: str = ""
    reason: str = ""


_Answer = TypeVar("_Answer", LookAnswer, ProveAnswer)


@dataclass(frozen=True, slots=True)
class CommandKey:
    """What site.toml says of one key; the program is on the node."""

    name: str
    node: str
    command: Sequence[str]
    handle: str

    @property
    def what(self) -> str:
        """The key, as a person would name it."""
        return f"key {self.name} behind {self.command[0]} on {self.node}"


class CommandStore:
    """``KeyStore`` of one key behind a program."""

    def __init__(self, key: CommandKey, runner: NodeRunner) -> None:
        self._key = key
        self._runner = runner

    def look(self) -> Look | None:
        """Ask "look"; see ``keys.ports.KeyStore``."""
        said = self._ask(LookAnswer, {"ask": "look"})
        if said is None:
            return None
        if said.proof is None or not said.marks:
            raise self._unusable("a present key without proof or marks")
        if said.proof == "hmac":
            return Look("hmac", said.marks)
        try:
            return Look("signature", said.marks, public_key=pem_of(said.public_key.encode()))
        except ValueError as error:
            raise self._unusable("a public_key that is none") from error

    def answer(self, challenge: bytes) -> bytes | None:
        """Ask "prove"; see ``keys.ports.KeyStore``."""
        said = self._ask(ProveAnswer, {"ask": "prove", "challenge": challenge.hex()})
        if said is None:
            return None
        if not re.fullmatch(r"([0-9a-f]{2})+", said.answer):
            raise self._unusable("an answer that is not lowercase hex")
        return bytes.fromhex(said.answer)

    def _ask(self, kind: type[_Answer], question: dict[str, object]) -> _Answer | None:
        """Return what the program says of a key that is present; None when it says that it is absent."""
        content = msgspec.json.encode({"protocol": PROTOCOL, "handle": self._key.handle, **question})
        done = self._runner.run(self._key.command, stdin=content + b"\n", timeout_seconds=PROGRAM_SECONDS)
        require_ran(done, self._key.what, str(self._key.command[0]))
        if done.status != 0:
            raise self._unusable(f"status {done.status}")
        if len(done.stdout) > MAX_KEY_ANSWER_BYTES:
            raise self._unusable("an answer that is too long")
        try:
            said = msgspec.json.decode(done.stdout, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            # What it printed is not shown: nobody knows what it is.
            raise self._unusable("something that is not an answer of this protocol") from error
        if said.state == "undecided":
            reason = "".join(letter for letter in said.reason if letter.isprintable())[:_SHOWN_CHARACTERS]
            hint = "Mend what the program names, then type the same command again."
            raise undecided(
                "key-store-undecided", self._key.what, f"it could not decide: {reason or 'no reason'}", hint
            )
        return said if said.state == "present" else None

    def _unusable(self, found: str) -> Exception:
        hint = "Try the program out: teraferry-installer keys conformance " + self._key.name
        return undecided("key-store-unusable", self._key.what, f"it gave {found}", hint)
