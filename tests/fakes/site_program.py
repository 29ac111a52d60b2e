"""A fake as a program of the site's own: its state in a file, a word of the protocol each time it is run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from teraferry.bundles.errors import RefusedError

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
