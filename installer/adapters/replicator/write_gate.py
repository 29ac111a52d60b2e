"""Where clients' writes wait while the primary moves: all of them, at every door, for a bounded time."""

from __future__ import annotations

from typing import Protocol

from teraferry.bundles.errors import RefusedError


class WriteGate(Protocol):
    """Every way that clients have to the one primary. Holding lets them wait; nobody is sent away."""

    def hold(self, *, seconds: float) -> None:
        """Let new writes wait; return once none is under way. Ends by itself after ``seconds``. Idempotent.

        Raises:
            RefusedError: ``write-hold-failed``, 40; writes go on.
        """

    def require_held(self, *, seconds: float) -> None:
        """Check that writes wait, and none is under way, for ``seconds`` from now at least.

        Raises:
            RefusedError: ``write-hold-lapsed``, 40.
        """

    def release(self) -> None:
        """Let writes go on. Idempotent.

        Raises:
            RefusedError: ``write-hold-failed``, 40.
        """

    def points_to(self) -> str:
        """Return the cluster that writes go to.

        Raises:
            RefusedError: ``replication-cannot-tell``, 40: not all to one, or nobody can tell.
        """

    def point_to(self, cluster: str) -> None:
        """Have writes go to ``cluster``, durably, also after a restart. Idempotent.

        Raises:
            RefusedError: ``promotion-failed``, 40.
        """


def hold_failed(door: str, found: str) -> RefusedError:
    """Return the refusal to go on without a hold."""
    return _refusal(
        "write-hold-failed",
        door,
        found,
        "writes to wait, and none under way",
        "Look for a transaction that does not end, then type the same command again.",
    )


def hold_lapsed(door: str, found: str) -> RefusedError:
    """Return the refusal to promote while writes do not wait."""
    return _refusal(
        "write-hold-lapsed",
        door,
        found,
        "writes held for long enough",
        "Nothing was promoted. Raise `write_hold_seconds` in site.toml when that happens again.",
    )


def _refusal(reference: str, door: str, found: str, wanted: str, hint: str) -> RefusedError:
    return RefusedError(reference, f"{door}: {found}, expected {wanted}", hint=hint, facts={"door": door})
