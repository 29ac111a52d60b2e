"""One install, typed again after each death, until it dies at nothing any more: what both crash proofs share.

A proof is cut into sections of the plan, each with a site of its own, so that it can be interrupted. In its section an
install dies at every touch that any of its lives makes; see ``tests.lab.mortal``.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping
from typing import Any

from tests.lab.mortal import APPEND, Mortal
from tests.lab.secops import Answer
from tests.prove.record import Outcome

MOST_LIVES = 400
"""More than a section has touches: an install that never stops dying comes to nothing."""


def live_until_done(mortal: Mortal, install: Callable[[], Answer]) -> list[str]:
    """Type ``install`` until it ends by itself, and say what is wrong with how it ended."""
    for _ in range(MOST_LIVES):
        answer = install()
        if answer.status != -signal.SIGKILL:
            break
    if answer.status != 0:
        return [f"life {len(mortal.deaths()) + 1} ended with {answer.status}: {answer.result or answer.stderr[-1000:]}"]
    left = _within(mortal.dies_at, mortal.touches()) - set(mortal.deaths())
    return [f"it never died at {touch}" for touch in sorted(left)]


def judge(
    pieces: Mapping[str, Mapping[str, Any]], sections: Mapping[str, str], *, crash_free: str, clients: str
) -> Outcome:
    """Return what all sections found together: each kind of touch that is in one of them must have been died at.

    Args:
        pieces: Of each section: ``wrong``, ``deaths``, ``touches`` and ``counts``.
        sections: What each of them dies at.
        crash_free: The name of the one that nobody killed.
        clients: What is counted of clients, for the sentence.
    """
    wrong = [f"{name}: {each}" for name, found in pieces.items() for each in found["wrong"]]
    died_at = {_kind(touch) for found in pieces.values() for touch in found["deaths"]}
    to_die_at = set().union(*(_within(dies_at, pieces[crash_free]["touches"]) for dies_at in sections.values()))
    wrong += [f"nobody died at {kind}" for kind in sorted({_kind(touch) for touch in to_die_at} - died_at)]
    deaths = sum(len(found["deaths"]) for found in pieces.values())
    asked = sum(found["counts"][clients] for found in pieces.values())
    said = "; ".join(wrong[:5]) or f"died {deaths} times, at every touch; {asked} {clients}, no error"
    counts = {
        "touches without a crash": len(pieces[crash_free]["touches"]),
        "of these in a section": len(to_die_at),
        "deaths": deaths,
        "points": len({touch for found in pieces.values() for touch in found["deaths"]}),
        "sites": len(pieces),
        clients: asked,
    }
    return Outcome(not wrong and deaths > 0, said, counts, _matrix(pieces))


def _within(dies_at: str, touches: list[str]) -> set[str]:
    return {touch for touch in touches if dies_at and re.search(dies_at, touch)}


def _kind(touch: str) -> str:
    """Return a touch without what differs from site to site: where shards and volumes lie, and how many there are.

    Nor with the line before it, which may be another one in another life; but for the lines of the journal themselves.
    """
    line, _, what = touch.partition(" | ")
    what = re.sub(r" to [0-9.]+| #\d+$", "", what)
    return f"{line} | {what}" if what == APPEND else what


def _matrix(pieces: Mapping[str, Mapping[str, Any]]) -> str:
    """Return every death by section, in order, and how each section ended."""
    lines = [
        "The installer died by SIGKILL right before each effect below, once, and was typed again each time.",
        "A line: the newest line of the journal | the effect, and its number among those alike.",
    ]
    for name, found in pieces.items():
        ended = "; ".join(found["wrong"]) or "all right"
        lines += ["", f"[{name}] {len(found['deaths'])} deaths; in the end: {ended}", *found["deaths"]]
    return "\n".join(lines) + "\n"
