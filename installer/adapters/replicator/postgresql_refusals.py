"""What a PostgreSQL pair refuses with, and what to type then."""

from __future__ import annotations

from teraferry.bundles.errors import RefusedError


def cannot_tell(found: str) -> RefusedError:
    """Return the refusal of a pair whose state cannot be told."""
    hint = "See both servers: `SELECT pg_is_in_recovery()` and `SELECT * FROM pg_stat_replication`."
    return RefusedError("replication-cannot-tell", f"replication: {found}, expected an answer", hint=hint)


def failed(found: str) -> RefusedError:
    """Return the refusal of a pair that does not replicate."""
    hint = (
        "See the logs of both servers. Neither is rewound or copied anew by us: `pg_rewind` and `pg_basebackup` throw"
        " away what only one of them has."
    )
    return RefusedError("replication-failed", f"replication: {found}, expected it to run", hint=hint)


def promotion_failed(found: str, wanted: str) -> RefusedError:
    """Return the refusal of a promotion; who is primary then is to be asked."""
    hint = "Type the same command again: it goes on, or back, from what is there."
    return RefusedError("promotion-failed", f"promotion: {found}, expected {wanted}", hint=hint)
