"""``{ command = ["/usr/local/bin/audit-export", "--json"] }``: JSON on stdout and exit status 0, or it is no answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from teraferry.bundles.system.process import run
from teraferry.installer.rollout.conditions import CannotAnswerError

ANSWER_SECONDS: Final = 30.0


class CommandProbe:
    """``ComplianceProbe`` by a program on this machine.

    Args:
        name: As site.toml calls it, for messages.
        argv: The program and its arguments.
    """

    def __init__(self, name: str, argv: Sequence[str]) -> None:
        self.name = name
        self._argv = tuple(argv)

    def ask(self) -> bytes:
        """Return what the program prints; see ``installer.ports.ComplianceProbe``."""
        try:
            done = run(self._argv, timeout_seconds=ANSWER_SECONDS)
        except OSError as error:
            raise CannotAnswerError(f"{self._argv[0]}: {error.strerror}") from error
        if done.status:
            raise CannotAnswerError(f"{self._argv[0]}: status {done.status}")
        return done.stdout
