"""How long work tells a person, or a script, where it is. Pure: printing is ``system.console``."""

from __future__ import annotations

from typing import Protocol

from teraferry.bundles.errors import Fact


class Progress(Protocol):
    """Receives what happens. Implementations may be called from several threads."""

    def start(self, phase: str, *, total_bytes: int | None = None, detail: str = "") -> None:
        """Begin a phase ("verify", "load", "drain vol-1"); the one before it is over."""

    def advance(self, count_bytes: int) -> None:
        """Count bytes that are done for good; never negative, so a bar never runs backwards."""

    def say(self, event: str, text: str, **facts: Fact) -> None:
        """Tell one thing that happened: ``event`` and ``facts`` for scripts, ``text`` for people."""

    def waiting(self, what: str, why: str) -> None:
        """Tell what is being waited for and why; called again and again while it lasts."""


class Silent:
    """Progress that nobody watches."""

    def start(self, phase: str, *, total_bytes: int | None = None, detail: str = "") -> None:
        """Ignore a phase."""

    def advance(self, count_bytes: int) -> None:
        """Ignore bytes."""

    def say(self, event: str, text: str, **facts: Fact) -> None:
        """Ignore an event."""

    def waiting(self, what: str, why: str) -> None:
        """Ignore a wait."""
