"""How a node's service is stopped and started, whatever it runs: by the site's own commands, on the node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.clock import monotonic_seconds, sleep_seconds
from teraferry.bundles.system.process import Completed
from teraferry.installer.ports import NodeTransport

COMMAND_SECONDS: Final = 300.0
"""A site's own stop or start command; a graceful stop may take its time."""

GONE_SECONDS: Final = 60.0
"""After the stop command ended, how long what it stopped may still be there."""

LOOK_AGAIN_SECONDS: Final = 0.1


class Service:
    """Starts and stops one service.

    Args:
        transport: Reaches the node.
        what: What it runs, for messages: a path.
        start: Starts it; run on the node. It must not leave it as a child of its caller.
        stop: Stops it gracefully; run on the node.
    """

    def __init__(self, transport: NodeTransport, what: str, *, start: Sequence[str], stop: Sequence[str]) -> None:
        self._transport = transport
        self._what = what
        self._start = tuple(start)
        self._stop = tuple(stop)

    def start(self) -> None:
        """Run the start command.

        Raises:
            RefusedError: ``node-command-failed``, 40.
        """
        self._run("start", self._start)

    def stop(self, left: Callable[[], Iterable[str]]) -> None:
        """Run the stop command unless nothing is ``left`` to stop, and wait until nothing is.

        Raises:
            RefusedError: ``node-command-failed`` or ``still-running``, 40.
        """
        if not list(left()):
            return
        self._run("stop", self._stop)
        deadline = monotonic_seconds() + GONE_SECONDS
        while still := sorted(left()):
            if monotonic_seconds() > deadline:
                raise RefusedError(
                    "still-running",
                    f"program {self._what}: {still} still run {GONE_SECONDS:.0f} s after its stop command,"
                    " expected none",
                    hint="Stop it on the node by hand and mend `stop` in site.toml, then type the same command again.",
                    facts={"path": self._what},
                )
            sleep_seconds(LOOK_AGAIN_SECONDS)

    def _run(self, name: str, argv: Sequence[str]) -> None:
        require_done(self._transport.run(argv, timeout_seconds=COMMAND_SECONDS), name, self._what)


def require_done(done: Completed, what: str, path: str) -> None:
    """Check that a command on the node ended well.

    Raises:
        RefusedError: ``node-command-failed``, 40.
    """
    if done.status:
        raise command_failed(done, what, path)


def command_failed(done: Completed, what: str, path: str) -> RefusedError:
    """Return the refusal for a command on the node that failed, or answered what cannot be read."""
    said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
    found = f"status {done.status}" + (f", {said[-1][:200]}" if said else "")
    return RefusedError(
        "node-command-failed",
        f"{what} of {path}: {found}, expected status 0",
        hint="Run the same command on the node by hand to see why, then type the same command again.",
        facts={"path": path, "what": what, "status": done.status},
    )


def not_staged(what: str, where: str, digest: str) -> RefusedError:
    """Return the refusal for a version that was to be selected and is not on the node."""
    return RefusedError(
        "not-staged",
        f"{what} {digest}: not {where}, expected it to be staged first",
        hint="Type the same command again; it brings it to the node first.",
        facts={"digest": digest},
    )


def path_not_ours(path: str, found: str, expected: str) -> RefusedError:
    """Return the refusal for something at ``path`` that nobody may overwrite."""
    return RefusedError(
        "path-not-ours",
        f"path {path}: {found}, expected {expected}",
        hint="Put there what is expected, or mend `path` in site.toml, then type the same command again.",
        facts={"path": path},
    )
