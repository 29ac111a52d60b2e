"""How a store says that it could not decide: refused, 40, and told apart from a key that is gone."""

from __future__ import annotations

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.process import Completed

TIMED_OUT = 124
NOT_FOUND = 127


def undecided(reference: str, what: str, found: str, hint: str) -> RefusedError:
    """Return the refusal ``reference``: ``what`` could not be asked, or would not answer.

    Args:
        reference: The cause.
        what: The key and its store.
        found: What came instead of an answer; never text of a tool that may hold a secret.
        hint: What to do.
    """
    return RefusedError(reference, f"{what}: {found}, expected its store to answer", hint=hint, exit_status=40)


def require_ran(done: Completed, what: str, tool: str) -> None:
    """Refuse when a tool is not on the node, or did not end in time.

    Raises:
        RefusedError: ``key-tool-missing`` or ``key-store-silent``, 40.
    """
    if done.status == NOT_FOUND:
        raise undecided("key-tool-missing", what, f"no {tool} on the node", f"Install {tool} there, then type again.")
    if done.status == TIMED_OUT:
        hint = "Look at the store and the node's own log, then type the same command again."
        raise undecided("key-store-silent", what, f"{tool} gave no answer in time", hint)
