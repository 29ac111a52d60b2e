"""The command line and the executor: started apart, followed, answered, asked to stop.

``install`` starts an executor and follows it; a closed terminal, a lost connection or Ctrl-C ends the
following and nothing else. ``status --follow`` follows again from the first event on.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teraferry.bundles.errors import OperatorNeededError, RefusedError
from teraferry.bundles.system.console import CommandConsole, Console
from teraferry.installer.adapters.executor.folder import ExecutorFolder, new_folder, running_executor
from teraferry.installer.adapters.executor.launch import EXECUTOR, OUTPUT, launch
from teraferry.installer.executor.events import LAST, Asked, outcome_of, show

if TYPE_CHECKING:
    from types import FrameType

    from teraferry.installer.cli_wiring import Place


def executor_folder() -> ExecutorFolder | None:
    """Return where this process meets its followers; None when it is no executor."""
    named = os.environ.get(EXECUTOR)
    return ExecutorFolder(Path(named)) if named else None


def console_of(command: str, *, json: bool, quiet: bool) -> CommandConsole:
    """Return the console of this process: a log for an executor, the terminal for everything else."""
    folder = executor_folder()
    if folder is None:
        return Console.from_environment(json=json, quiet=quiet)
    from teraferry.installer.adapters.executor.event_log import EventLog

    return EventLog(folder, command)


def run_apart(place: Place, console: CommandConsole) -> Mapping[str, object]:
    """Start this very command line again as an executor and follow it to its end.

    Raises:
        TeraFerryError: What the executor ended with; or one of ``follow``.
    """
    folder = new_folder(place.state)
    launch(folder, sys.argv[1:])
    return follow(folder, console)


def follow(folder: ExecutorFolder, console: CommandConsole) -> Mapping[str, object]:
    """Show what the executor tells, from its first event on, and return its outcome.

    Raises:
        TeraFerryError: What it ended with.
        RefusedError: ``left-running``, 43: Ctrl-C ended the following; the executor goes on.
        OperatorNeededError: ``executor-died``, 62.
    """
    try:
        for event in folder.events():
            if isinstance(event, LAST):
                return outcome_of(event)
            if isinstance(event, Asked):
                if folder.answered() is None:
                    folder.answer(agreed=_ask_here(console, event.question))
            else:
                show(event, console)
    except KeyboardInterrupt:
        raise RefusedError(
            "left-running",
            "install: this terminal follows no longer; the install itself goes on",
            hint="To see it again: teraferry-installer status --follow. To halt it: teraferry-installer stop.",
            exit_status=43,
        ) from None
    raise OperatorNeededError(
        "executor-died",
        f"install: its process ended without a word, expected a result (see {folder.path / OUTPUT})",
        hint="Type the same install again: it goes on from where it was. `teraferry-installer status` tells where.",
        exit_status=62,
    )


def follow_running(place: Place, console: CommandConsole) -> Mapping[str, object] | None:
    """Follow the executor that runs here; None when none does."""
    folder = running_executor(place.state)
    return None if folder is None else follow(folder, console)


def request_stop(place: Place) -> bool:
    """Ask the executor that runs here to stop after its step; False when none runs."""
    folder = running_executor(place.state)
    if folder is None:
        return False
    folder.request_stop()
    return True


def is_running(place: Place) -> bool:
    """Tell whether an executor runs for this state folder."""
    return running_executor(place.state) is not None


def stop_requests() -> Callable[[], bool]:
    """Return what tells whether somebody asked for a stop: by `stop`, or by SIGTERM."""
    folder = executor_folder()
    asked: list[int] = []

    def take(number: int, _: FrameType | None) -> None:
        asked.append(number)

    signal.signal(signal.SIGTERM, take)
    return lambda: bool(asked) or (folder is not None and folder.stop_requested())


def confirm(console: CommandConsole, question: str) -> bool:
    """Ask the operator, here or at whichever terminal follows."""
    from teraferry.installer.adapters.executor.event_log import EventLog

    if isinstance(console, EventLog):
        return console.ask(question)
    return _ask_here(console, question)


def _ask_here(console: CommandConsole, question: str) -> bool:
    with console.paused():
        return click.confirm(question, err=True)
