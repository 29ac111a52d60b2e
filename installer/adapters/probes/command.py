"""A program on a node that answers on stdout with exit status 0; anything else is no answer."""

from __future__ import annotations

from collections.abc import Sequence

from teraferry.bundles.errors import RefusedError
from teraferry.installer.ports import NodeTransport
from teraferry.installer.rollout.conditions import CannotAnswerError


class CommandProbe:
    """``Probe`` by a program.

    Args:
        name: For messages.
        argv: The program and its arguments.
        transport: Where it runs.
    """

    def __init__(self, name: str, argv: Sequence[str], transport: NodeTransport) -> None:
        self.name = name
        self._argv = tuple(argv)
        self._transport = transport

    def ask(self, *, timeout_seconds: float) -> bytes:
        """Return what the program prints; see ``rollout.conditions.Probe``."""
        try:
            done = self._transport.run(self._argv, timeout_seconds=timeout_seconds)
        except RefusedError as refused:
            raise CannotAnswerError(refused.message) from refused
        if done.status:
            raise CannotAnswerError(f"{self._argv[0]}: status {done.status}")
        return done.stdout
