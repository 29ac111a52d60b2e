"""The corpus in ``tests/corpus``: few small inputs that together reach every line that the fuzzer reached.

Lines are counted by the interpreter's own tracing, so that keeping needs no fuzzer and gives the same choice
everywhere. Where the parser is no Python, what a refusal says tells inputs apart.
Inputs that once crashed a target are named ``found-*`` and stay for ever.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from teraferry.bundles.errors import TeraFerryError
from tests.fuzz.mutate import mutate
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS, Target

CORPUS = Path(__file__).parents[1] / "corpus"
MAX_INPUTS = 50  # a target
MUTATIONS = 300  # of every seed, tried as well
TRACED = ("/bundles/", "/keys/", "/installer/", "/tomllib/", "/teraferry/", "/tuf/")

Step = tuple[str, int, int]
"""File, line, and the line before it in the same frame; or the words of a refusal."""

_CHANGING = re.compile(r"[0-9a-f]{8,}|\d+|'[^']*'|\"[^\"]*\"|`[^`]*`|\[[^]]*\]")
"""What of a message names one input, rather than a kind of them."""


def keep(name: str, inputs: Iterable[bytes]) -> None:
    """Leave the fewest of ``inputs`` and of those kept already in the corpus of target ``name``."""
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    kept = [path for path in folder.iterdir() if not path.name.startswith("found-")]
    candidates = {path.read_bytes() for path in kept} | set(inputs)
    for number in range(MUTATIONS):
        changed = (mutate(name, content, number) for content in SEEDS[name]())
        candidates |= {content for content in changed if content is not None}
    reached: set[Step] = set()
    for content in SEEDS[name]():
        TARGETS[name].run(content)  # Once without looking: what is cached on the first call is reached by nobody.
        reached |= steps_of(TARGETS[name], content)
    for path in kept:
        path.unlink()
    for content in choose(TARGETS[name], candidates, reached):
        (folder / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)


def choose(target: Target, candidates: Iterable[bytes], reached: set[Step]) -> list[bytes]:
    """Return the candidates that reach a step which neither ``reached`` nor a smaller one does."""
    chosen: list[bytes] = []
    for content in sorted(candidates, key=lambda content: (len(content), content)):
        found = steps_of(target, content)
        if found - reached and len(chosen) < MAX_INPUTS:
            reached |= found
            chosen.append(content)
    return chosen


def steps_of(target: Target, content: bytes) -> set[Step]:
    """Return the steps from line to line that ``content`` takes through our code and the parsers below it."""
    steps: set[Step] = set()
    last: dict[int, int] = {}

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if not any(part in frame.f_code.co_filename for part in TRACED):
            return None
        if event == "line":
            steps.add((frame.f_code.co_filename, frame.f_lineno, last.get(id(frame), 0)))
        last[id(frame)] = frame.f_lineno if event == "line" else 0
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        target.read(content)
    except TeraFerryError as refused:
        steps.add((refused.reference + _CHANGING.sub("", str(refused)), 0, 0))
    finally:
        sys.settrace(before)
    return steps
