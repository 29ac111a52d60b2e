"""Starts an executor that outlives whoever started it.

Where systemd runs, it is a transient unit: a session that ends takes its processes with it there, whatever
session they put themselves in. Elsewhere it is a process in a session of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from teraferry.bundles.errors import OperatorNeededError
from teraferry.bundles.system.process import clean_environment, run, start_detached
from teraferry.installer.adapters.executor.folder import ExecutorFolder

EXECUTOR: Final = "TERAFERRY_EXECUTOR"
"""Set for the executor: the folder where it meets its followers."""

OUTPUT: Final = "output"
"""What the executor, or its interpreter, printed; empty unless something went very wrong."""

_HANDED_ON: Final = ("DEPLOYMENT_TIER", "PATH", "HOME")
_OURS: Final = "TERAFERRY_"
_SYSTEMD: Final = Path("/run/systemd/system")
_START_SECONDS: Final = 30.0


def launch(folder: ExecutorFolder, arguments: Sequence[str]) -> None:
    """Start this program again with ``arguments``, as an executor that writes to ``folder``.

    Raises:
        OperatorNeededError: ``executor-not-started``, 62; nothing was done.
    """
    argv = [*_program(), *arguments]
    environment = {EXECUTOR: str(folder.path)}
    try:
        if _SYSTEMD.is_dir():
            done = run(_systemd_run(folder, environment, argv), timeout_seconds=_START_SECONDS)
            if done.status:
                raise _not_started(done.stderr.decode("utf-8", "replace").strip()[-500:])
        else:
            start_detached(argv, environment=environment, output=folder.path / OUTPUT)
    except OSError as error:
        raise _not_started(str(error.strerror)) from error


def _program() -> list[str]:
    if getattr(sys, "frozen", False):
        return [sys.executable]
    return [sys.executable, "-m", "teraferry.installer.cli"]


def _systemd_run(folder: ExecutorFolder, extra: Mapping[str, str], argv: Sequence[str]) -> list[str]:
    known = {name: value for name, value in clean_environment().items() if name in _HANDED_ON or name.startswith(_OURS)}
    environment = [f"--setenv={name}={value}" for name, value in {**known, **extra}.items()]
    output = f"append:{folder.path / OUTPUT}"
    properties = {
        # What it started on this machine, a node's server say, must not end with it.
        "KillMode": "process",
        "StandardOutput": output,
        "StandardError": output,
        "WorkingDirectory": str(Path.cwd()),
        "UMask": "0077",
    }
    return [
        "systemd-run",
        "--quiet",
        "--collect",
        f"--unit=teraferry-{folder.path.parent.name}-{folder.path.name}",
        *(f"--property={name}={value}" for name, value in properties.items()),
        *environment,
        "--",
        *argv,
    ]


def _not_started(found: str) -> OperatorNeededError:
    return OperatorNeededError(
        "executor-not-started",
        f"install: its own process did not start: {found}, expected it to run apart from this terminal",
        hint="Type the same command with --foreground; then keep this terminal open until it ends.",
        exit_status=62,
        facts={"uid": os.geteuid()},
    )
