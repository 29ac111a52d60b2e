"""Every error a person may see: what happened, to what, found and expected, what to type next.

One class per row of the exit-status table in ``docs/errors.md``. The ``reference`` is stable,
kebab-case, and tells causes apart; scripts match on it, so it never changes its meaning.
This module imports nothing of ours, and nothing here ends a process: only a ``cli`` module
turns an error into an exit status.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

Fact = str | int | float | bool | None | list[str] | list[dict[str, str | bool]]
"""Rows of a table are for scripts; people were told them line by line."""


class TeraFerryError(Exception):
    """Root of all expected errors; never raised itself.

    Args:
        reference: Stable kebab-case name of the cause, listed in ``docs/errors.md``.
        message: ``<thing> <id>: <found>, expected <wanted>``. Never holds a secret.
        hint: What to type or do next. Never a way to switch a check off.
        exit_status: One of the class's ``statuses``; its first by default.
        facts: Machine-readable fields, printed under ``--json`` beside the message.
    """

    statuses: tuple[int, ...] = ()

    def __init__(
        self,
        reference: str,
        message: str,
        *,
        hint: str,
        exit_status: int | None = None,
        facts: Mapping[str, Fact] | None = None,
    ) -> None:
        super().__init__(message)
        self.reference = reference
        self.message = message
        self.hint = hint
        self.exit_status = self.statuses[0] if exit_status is None else exit_status
        self.facts: dict[str, Fact] = dict(facts or {})
        if self.exit_status not in self.statuses:
            raise ValueError(f"{type(self).__name__}: exit status {self.exit_status}, expected one of {self.statuses}")


class UsageError(TeraFerryError):
    """2: a command, option, environment variable or configuration file is wrong."""

    statuses = (2,)


class BundleError(TeraFerryError):
    """10: the bundle is bad. 11: the medium cannot be read."""

    statuses = (10, 11)


class TrustError(TeraFerryError):
    """20 threshold not met, 21 expired, 22 older than installed, 23 could not decide, 24 other refusal."""

    statuses = (20, 21, 22, 23, 24)


class BuildError(TeraFerryError):
    """30: the build failed. 31: could not sign (token, PIN, key)."""

    statuses = (30, 31)


class RefusedError(TeraFerryError):
    """40 gate, 41 compliance lock, 42 locked by another, 43 stopped by the operator, 44 no space or registry."""

    statuses = (40, 41, 42, 43, 44)


class RolledBackError(TeraFerryError):
    """50: failed and rolled back; the old release serves."""

    statuses = (50,)


class OperatorNeededError(TeraFerryError):
    """60 halted half-way, 61 key continuity lost, 62 state unknown."""

    statuses = (60, 61, 62)


def medium_unreadable(path: object, error: OSError, *, what: str = "file", offset: int | None = None) -> BundleError:
    """Return the one refusal for a file or folder that does not give its bytes, wherever it was read."""
    where = "" if offset is None else f" at offset {offset}"
    facts: dict[str, Fact] = {"file": str(path), "found": errno.errorcode.get(error.errno or 0, "")}
    return BundleError(
        "medium-unreadable",
        f"{what} {path}: {error.strerror or 'not readable'}{where}, expected readable bytes",
        hint="Try another port or reader, and clean the medium; if it stays, take another copy of the kit. Then type "
        "the same command again.",
        exit_status=11,
        facts=facts if offset is None else {**facts, "offset": offset},
    )
