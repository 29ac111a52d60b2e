"""A person asked for a stop: where a rollout may halt without leaving anything worse than it was.

A node that was emptied serves on, and one that waits for its turn is whole. A node that was stopped, or told to
leave, is finished first: until it is back, the cluster can lose less. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.installer.rollout.plan import CHECK, DRAIN, PATCH, STAGE, Step

RequireNotStopped = Callable[[], None]
"""Raises ``StoppedByOperatorError`` once somebody asked for a stop."""

_SAFE: Final = {
    # While a node is only emptied, it is in the cluster: halting before it is stopped costs nothing.
    "safe": frozenset({STAGE, CHECK, DRAIN, PATCH}),
    "quick": frozenset({STAGE, CHECK, DRAIN}),
}


class StoppedByOperatorError(RefusedError):
    """43: a person asked for it. Nothing failed, and the same command goes on."""

    def __init__(self, *, changed: bool) -> None:
        left = "what was begun is in the journal" if changed else "nothing was changed"
        super().__init__(
            "stopped-by-operator",
            f"install: stopped because somebody asked for it, expected to run to its end; {left}",
            hint="Type the same install again: it goes on from where it stopped.",
            exit_status=43,
        )


def may_halt_before(step: Step, *, mode: str) -> bool:
    """Tell whether a rollout may halt before ``step``."""
    return step.action in _SAFE[mode]
