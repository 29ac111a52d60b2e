"""One primary, moved by a program of the site's own: the one that replicates, with four words more.

A database or a store that no engine here knows. Behind its arguments::

    primary                 changes nothing
    hold SECONDS            new writes wait, none is sent away; ends by itself after so long, whoever is killed
    promote blue|green      that is the primary now, and the other takes no write any more; refuses unless writes wait
    release                 writes go on, to the primary

To each it answers with exit status 0 and, on stdout, what is so then::

    {"primary": "blue", "held_seconds": 14.2, "under_way": 0}

``held_seconds`` is how long the hold lasts still, null without one; ``under_way`` how many writes began before it and
have not ended. A change is believed once ``primary``, asked anew, shows it; anything else is no answer.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Annotated, Final, Literal

import msgspec

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.model import Model
from teraferry.installer.adapters.replicator.command import CommandReplicator
from teraferry.installer.adapters.replicator.write_gate import hold_failed, hold_lapsed

SAFE_SECONDS: Final = 1.0
"""A promotion is not begun with less of the hold left."""


class Primary(Model, frozen=True):
    """What a program says to these words."""

    primary: Literal["blue", "green"]
    held_seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400)] | None
    under_way: Annotated[int, msgspec.Meta(ge=0)]

    @property
    def waits(self) -> bool:
        """Tell whether every write waits."""
        return self.held_seconds is not None and not self.under_way


class CommandPrimary(CommandReplicator):
    """``Replicator`` with one writer, and ``Promotion``, by a program of the site's own."""

    def sync_state(self, source: str, *, marker: str, stalled_after_seconds: float) -> None:
        """See ``blue_green_ports.Replicator``; only the primary is a source."""
        primary = self.primary()
        if source != primary:
            raise self._refused("replication-failed", f"{primary} is the primary", f"{source} to be, to replicate from")
        super().sync_state(source, marker=marker, stalled_after_seconds=stalled_after_seconds)

    def primary(self) -> str:
        """Run "primary"; see ``blue_green_ports.Promotion``."""
        return self._look().primary

    def hold_writes(self, *, seconds: float) -> None:
        """Run "hold"; see ``blue_green_ports.Promotion``. A hold that cannot be seen is released."""
        whole = math.floor(seconds)
        if whole < 1:
            raise ValueError(f"hold: {seconds} s, expected 1 at least")
        try:
            self._ask(Primary, "hold", str(whole))
            if not (seen := self._look()).waits:
                raise hold_failed(self._program, f"hold: {seen}")
        except RefusedError as error:
            with suppress(RefusedError):
                self.release_writes()
            raise hold_failed(self._program, error.message) from error

    def promote(self, cluster: str) -> None:
        """Run "promote"; see ``blue_green_ports.Promotion``."""
        try:
            seen = self._look()
            if seen.primary == cluster:
                return
            if not seen.waits or (seen.held_seconds or 0) < SAFE_SECONDS:
                raise hold_lapsed(self._program, str(seen))
            self._ask(Primary, "promote", cluster)
            seen = self._look()
        except RefusedError as error:
            if error.reference == "write-hold-lapsed":
                raise
            raise self._refused("promotion-failed", error.message, f"{cluster} to be the primary") from error
        if seen.primary != cluster:
            raise self._refused("promotion-failed", f"{seen.primary} is the primary", f"{cluster} to be")

    def release_writes(self) -> None:
        """Run "release"; see ``blue_green_ports.Promotion``. Told first and asked afterwards."""
        try:
            self._ask(Primary, "release")
            seen = self._look()
        except RefusedError as error:
            raise hold_failed(self._program, error.message) from error
        if seen.held_seconds is not None:
            raise hold_failed(self._program, f"release: {seen}")

    def _look(self) -> Primary:
        return self._ask(Primary, "primary")
