"""Tries a site's own key program out: does it do what watching over a key relies on?

Each check is one sentence of the protocol. A program that fails one would sooner or later say "kept"
of a key that is gone, or "gone" of one that is there; it must not be used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import msgspec

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import RefusedError
from teraferry.keys.continuity.judge import Answer, KeyFacts
from teraferry.keys.continuity.live_proof import judge_answer
from teraferry.keys.ports import Look, NodeRunner
from teraferry.keys.stores.command import PROGRAM_SECONDS, CommandKey, CommandStore

NO_SUCH_HANDLE = "teraferry-conformance-no-such-key"


@dataclass(frozen=True, slots=True)
class Conformity:
    """One sentence of the protocol, and how the program did."""

    name: str
    problem: str  # "" when it conforms


def try_program(key: CommandKey, runner: NodeRunner, *, nonce: Callable[[], bytes]) -> tuple[Conformity, ...]:
    """Return how a program did, sentence by sentence; the key itself must be there.

    Args:
        key: The program, and the handle of a key that it holds.
        runner: Reaches the node.
        nonce: Gives fresh random bytes.
    """
    return tuple(Conformity(name, _problem(check)) for name, check in _checks(key, runner, nonce))


def _checks(key: CommandKey, runner: NodeRunner, nonce: Callable[[], bytes]) -> Iterator[tuple[str, Callable[[], str]]]:
    store = CommandStore(key, runner)
    nobody = CommandStore(replace(key, handle=NO_SUCH_HANDLE), runner)
    yield "a key that is there is present, with proof and marks", lambda: _present(store)
    yield "two looks say the same", lambda: "" if store.look() == store.look() else "they differ"
    yield "the key proves itself", lambda: _proves(store, nonce(), nonce())
    yield "an answer fits its own challenge only", lambda: _fits_one(store, nonce(), nonce())
    yield "a key that is not there is absent", lambda: "" if nobody.look() is None else "it says that it is present"
    yield "a key that is not there proves nothing", lambda: _no_answer(nobody, nonce())
    yield "a question it does not know is not answered", lambda: _unknown_question(key, runner)


def _problem(check: Callable[[], str]) -> str:
    try:
        return check()
    except RefusedError as error:
        return error.message


def _present(store: CommandStore) -> str:
    return "" if store.look() is not None else "it says that the key is absent; name one that is there"


def _facts(look: Look, challenge: bytes, answer: bytes) -> KeyFacts:
    facts = KeyFacts(
        name="", node="", store="command", handle="", proof=look.proof, marks=look.marks, public_key=look.public_key
    )
    if look.proof == "signature":
        return facts
    return msgspec.structs.replace(facts, challenge=challenge.hex(), answer=digest_of(answer))


def _proves(store: CommandStore, first: bytes, second: bytes) -> str:
    look = store.look()
    if look is None:
        return "it says that the key is absent"
    for challenge in (first, second):
        answer, again = store.answer(challenge), store.answer(challenge)
        if answer is None or again is None:
            return "it says that the key is absent when it is to prove it"
        if judge_answer(_facts(look, challenge, answer), challenge, again) is not Answer.RIGHT:
            return "the signature is not the public key's, or the same challenge gets another answer"
    return ""


def _fits_one(store: CommandStore, first: bytes, second: bytes) -> str:
    look = store.look()
    answer, other = store.answer(first), store.answer(second)
    if look is None or answer is None or other is None:
        return "it says that the key is absent"
    if judge_answer(_facts(look, first, answer), first, other) is Answer.RIGHT:
        return "it gives one answer to every challenge"
    return ""


def _no_answer(store: CommandStore, challenge: bytes) -> str:
    try:
        return "" if store.answer(challenge) is None else "it answers for a key that it does not hold"
    except RefusedError:
        return ""


def _unknown_question(key: CommandKey, runner: NodeRunner) -> str:
    question = msgspec.json.encode({"protocol": 1, "ask": "teraferry-conformance", "handle": key.handle})
    done = runner.run(key.command, stdin=question + b"\n", timeout_seconds=PROGRAM_SECONDS)
    # One that takes every question for "look" would also say "present" to a later one that means harm.
    if done.status == 0 and b'"undecided"' not in done.stdout:
        return "it answers as if it had understood; expected undecided, or a status other than 0"
    return ""
