"""Every subprocess goes through here: argument lists, a clean environment, a bound on time.

Each child leads a session of its own. What it started in turn (a shell's commands, what ``nsenter`` or
``sudo`` forked) is in its process group, so that giving a command up ends all of it: a grandchild that
lived on would go on changing a node that we believe to be left alone, and hold our pipes open for ever.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PIN_VARIABLE = "TERAFERRY_PIN"
"""Holds a signer's PIN or passphrase; ``ps e`` would show it in every child."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command did."""

    argv: tuple[str, ...]
    status: int  # exit status; negative: the signal that ended it; 124: our time limit
    stdout: bytes
    stderr: bytes

    @property
    def replayable(self) -> str:
        """The command line as a shell would take it."""
        return shlex.join(self.argv)

    def text(self) -> str:
        """Return stdout as text, undecodable bytes replaced."""
        return self.stdout.decode("utf-8", "replace")


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a child.

    A frozen program's loader points LD_LIBRARY_PATH at its own libraries; a child that took
    them would run with our libcrypto. Proxies are dropped: a site has none we may use. So is a PIN:
    the one child that needs it is told by a pipe.
    """
    kept = (name for name in os.environ if not name.lower().endswith("_proxy") and name != PIN_VARIABLE)
    environment = {name: os.environ[name] for name in kept}
    original = environment.pop("LD_LIBRARY_PATH_ORIG", None)
    environment.pop("LD_LIBRARY_PATH", None)
    if original:
        environment["LD_LIBRARY_PATH"] = original
    environment["LC_ALL"] = "C.UTF-8"
    environment.update(extra or {})
    return environment


def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout_seconds: float,
    environment: Mapping[str, str] | None = None,
) -> Completed:
    """Run ``argv`` to its end and return what it did; a nonzero status does not raise.

    At the limit it is ended, with everything it started and that stayed in its process group.

    Raises:
        OSError: The program could not be started.
    """
    process = start(argv, environment=environment)
    with process:
        try:
            stdout, stderr = process.communicate(stdin, timeout=timeout_seconds)
        except subprocess.TimeoutExpired as expired:
            kill_group(process)
            return Completed(tuple(argv), 124, expired.stdout or b"", expired.stderr or b"")
        except BaseException:
            # Told to stop: Ctrl-C reaches us alone, since the child is in another session.
            kill_group(process)
            raise
    return Completed(tuple(argv), process.returncode, stdout, stderr)


def start(argv: Sequence[str], *, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start ``argv`` with pipes for its three streams; the caller waits for it, or gives it up by ``kill_group``.

    Raises:
        OSError: The program could not be started.
    """
    return subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(environment),
        start_new_session=True,
    )


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process of ``start`` and all it started, before anybody waited for it; the caller still waits."""
    # Gone already is as good; its number is not given to another while nobody waited for it.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def start_detached(argv: Sequence[str], *, environment: Mapping[str, str], output: Path) -> None:
    """Start ``argv`` in a session of its own and leave it alone: the end of ours, or of our terminal, is not its end.

    Args:
        argv: The program and its arguments.
        environment: Added to a clean one.
        output: File that takes what it prints.

    Raises:
        OSError: The program could not be started.
    """
    with output.open("ab") as sink:
        subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=clean_environment(environment),
            start_new_session=True,
        )
