"""Watches over the keys of a site: records them, and looks later whether they are the same.

Each look has the same order, whatever the store: 1. what the store says without using the key,
2. the wrapped blobs, 3. the proof, only of a key that still looks like the recorded one. A store that
could not be asked makes its key undecided; the others are looked at all the same, since a person wants
to know of every one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.errors import RefusedError
from teraferry.keys.continuity.judge import Answer, Comparison, KeyFacts, Sight, compare
from teraferry.keys.continuity.live_proof import MIN_ANSWER_BYTES, judge_answer
from teraferry.keys.continuity.wrapped_blobs import WrappedBlobs
from teraferry.keys.ports import KeyStore, Look


@dataclass(frozen=True, slots=True)
class WatchedKey:
    """One key that must survive, as site.toml declares it."""

    name: str
    node: str
    store_name: str  # "tpm", "pkcs11", "command"
    handle: str
    store: KeyStore
    blobs: WrappedBlobs


class KeyWatch:
    """The keys of one site.

    Args:
        keys: Each name once.
        nonce: Gives fresh random bytes, ``live_proof.CHALLENGE_BYTES`` of them.
    """

    def __init__(self, keys: Sequence[WatchedKey], *, nonce: Callable[[], bytes]) -> None:
        self._keys = {key.name: key for key in keys}
        self._nonce = nonce

    @property
    def names(self) -> tuple[str, ...]:
        """The declared keys, in the order of the site file."""
        return tuple(self._keys)

    def on_node(self, node: str) -> tuple[str, ...]:
        """Return the names of the keys on ``node``."""
        return tuple(key.name for key in self._keys.values() if key.node == node)

    def record(self, name: str) -> KeyFacts:
        """Return what is to be recorded of a key; it is there and has proved itself.

        Raises:
            RefusedError: ``key-absent`` or ``key-proof-wrong``, 40, or what the store could not decide.
        """
        key = self._keys[name]
        look = key.store.look()
        if look is None:
            raise _absent(key)
        facts = _facts(key, look, key.blobs.digests())
        if facts.proof == "presence":
            return facts
        challenge = self._nonce()
        answer = key.store.answer(challenge)
        if answer is None:
            raise _absent(key)
        if facts.proof == "hmac" and len(answer) >= MIN_ANSWER_BYTES:
            facts = msgspec.structs.replace(facts, challenge=challenge.hex(), answer=digest_of(answer))
        if judge_answer(facts, challenge, answer) is not Answer.RIGHT:
            raise RefusedError(
                "key-proof-wrong",
                f"key {name} on {key.node}: its {facts.proof} does not fit it, expected it to prove itself",
                hint="Look whether `handle` in site.toml names the key that is meant.",
                facts={"key": name, "node": key.node},
            )
        return facts

    def compare(self, recorded: Mapping[str, KeyFacts], *, names: Iterable[str] | None = None) -> Comparison:
        """Look at keys and compare them with the record.

        Args:
            recorded: Key name -> what was recorded of it.
            names: Which of them; all when None. One that is not declared any more is undecided.
        """
        chosen = {name: recorded[name] for name in (recorded if names is None else names)}
        return compare(chosen, {name: self._see(facts) for name, facts in chosen.items()})

    def back_up(self, folder: Path) -> dict[str, Digest]:
        """Copy every wrapped blob to ``folder``, durably; returns ``"node:path"`` -> digest.

        Raises:
            RefusedError: ``key-blob-unreadable``, 40; ``key-backup-failed``, 44.
        """
        return {
            f"{key.node}:{path}": digest
            for key in self._keys.values()
            for path, digest in key.blobs.back_up(folder).items()
        }

    def said_of(self, name: str) -> str:
        """Return what a person should know of how a key is proved; "" when there is nothing to say."""
        look = self._keys[name].store.look()
        return look.said if look is not None else ""

    def _see(self, recorded: KeyFacts) -> Sight:
        key = self._keys.get(recorded.name)
        if key is None:
            return Sight(None, undecided="site.toml does not declare it any more")
        try:
            look = key.store.look()  # 1
            if look is None:
                return Sight(None)
            now = _facts(key, look, key.blobs.digests())  # 2
        except RefusedError as error:
            return Sight(None, undecided=error.message)
        looks_kept = not (without_proof := compare({recorded.name: recorded}, {recorded.name: Sight(now)})).changed
        if recorded.proof == "presence" or not looks_kept or without_proof.lost:
            return Sight(now)
        try:
            return self._asked(key, recorded, now)  # 3
        except RefusedError as error:
            return Sight(now, undecided=error.message)

    def _asked(self, key: WatchedKey, recorded: KeyFacts, now: KeyFacts) -> Sight:
        challenge = bytes.fromhex(recorded.challenge) if recorded.proof == "hmac" else self._nonce()
        answer = key.store.answer(challenge)
        if answer is None:
            return Sight(None)  # it went between the look and the proof
        return Sight(now, judge_answer(recorded, challenge, answer))


def _facts(key: WatchedKey, look: Look, blobs: dict[str, Digest]) -> KeyFacts:
    return KeyFacts(
        name=key.name,
        node=key.node,
        store=key.store_name,
        handle=key.handle,
        proof=look.proof,
        marks=look.marks,
        public_key=look.public_key,
        counter=look.counter,
        blobs=blobs,
    )


def _absent(key: WatchedKey) -> RefusedError:
    return RefusedError(
        "key-absent",
        f"key {key.name} on {key.node}: its store does not hold it, expected what site.toml declares",
        hint="Correct `handle` of that [[key]] in site.toml, or bring the key to that node first.",
        facts={"key": key.name, "node": key.node},
    )
