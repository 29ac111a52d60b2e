"""A fake as a program of the site's own: its state in a file, a word of the protocol each time it is run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from teraferry.bundles.errors import RefusedError
from teraferry.installer.blue_green_ports import ReplicationObservation

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Fake = TypeVar("Fake", bound="DataclassInstance")


def load_from(state: Path, kind: type[Fake]) -> Fake:
    """Return the fake as ``store`` left it."""
    return kind(**json.loads(state.read_text()))


def store(fake: DataclassInstance, state: Path) -> None:
    """Keep what the fake knows."""
    state.write_text(json.dumps(asdict(fake)))


def run_word(kind: type[Fake], answer: Callable[..., Mapping[str, object]]) -> int:
    """Answer the word that was typed behind the state file; what is refused changes nothing.

    Args:
        kind: Of the fake.
        answer: Takes the fake and the words, and returns what is printed.
    """
    state = Path(sys.argv[1])
    fake = load_from(state, kind)
    try:
        said = answer(fake, *sys.argv[2:])
    except RefusedError as error:
        print(error.message, file=sys.stderr)
        return 1
    store(fake, state)
    print(json.dumps(said))
    return 0


class Replication(Protocol):
    """A fake that replicates, word by word."""

    def start(self) -> None: ...
    def observe(self, source: str) -> ReplicationObservation: ...
    def write_marker(self, source: str, marker: str) -> None: ...
    def read_marker(self, source: str, marker: str) -> bool: ...
    def pending(self, source: str) -> Sequence[str] | None: ...
    def conflicts(self, *, marker: str) -> Sequence[str]: ...


def answer_replication(fake: Replication, word: str, *words: str) -> dict[str, object]:
    """Return what a program that replicates says to the words that every such one knows."""
    if word == "start":
        fake.start()
        return {"running": True}
    if word == "observe":
        return asdict(fake.observe(words[0]))
    if word == "write-marker":
        fake.write_marker(*words)
        return {"written": True}
    if word == "read-marker":
        return {"arrived": fake.read_marker(*words)}
    if word == "pending":
        return {"pending": fake.pending(words[0])}
    return {"conflicts": fake.conflicts(marker=words[0])}
