"""Every subprocess goes through here: argument lists, a clean environment, a bound on time."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


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
    them would run with our libcrypto. Proxies are dropped: a site has none we may use.
    """
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
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

    Raises:
        OSError: The program could not be started.
    """
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            capture_output=True,
            timeout=timeout_seconds,
            env=clean_environment(environment),
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        return Completed(tuple(argv), 124, expired.stdout or b"", expired.stderr or b"")
    return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)
