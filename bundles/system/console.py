"""One way for every command to begin and to end: its output options, its exit status, its last line.

Only ``cli`` modules use this; nothing below them ends a process. What is shown on the way is
``console_output``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import click

from teraferry.bundles.errors import RefusedError, TeraFerryError, UsageError
from teraferry.bundles.progress import Progress
from teraferry.bundles.system.console_output import INTERNAL_ERROR_STATUS, Console

__all__ = ["CommandConsole", "Console", "output_options", "run_command", "run_program"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class CommandConsole(Progress, Protocol):
    """Where one command tells what happens and how it ended: a terminal, or a log that others follow."""

    def paused(self) -> AbstractContextManager[None]:
        """Leave the terminal alone while a person is asked something."""

    def result(self, command: str, fields: Mapping[str, object]) -> None:
        """Tell the outcome of a command that did what it was asked."""

    def error(self, command: str, error: TeraFerryError) -> None:
        """Tell why a command refused or failed, and what to type next."""

    def bug(self, command: str, error: Exception) -> None:
        """Tell an error that nobody expected."""

    def close(self) -> None:
        """End it; calling it again changes nothing."""


def output_options(function: _Function) -> _Function:
    """Give a click command the options of every command: ``json: bool`` and ``quiet: bool``."""
    as_json = click.option("--json", is_flag=True, help="One JSON object a line on stdout; text for people on stderr.")
    quiet = click.option("--quiet", is_flag=True, help="Print nothing but the result, or the error.")
    return as_json(quiet(function))


def run_command(command: str, console: CommandConsole, action: Callable[[], Mapping[str, object]]) -> int:
    """Do ``action``, print its result or its error, close ``console``, and return the exit status.

    Raises nothing: an expected error becomes its own status, Ctrl-C 43 (``stopped-by-operator``),
    and a bug 1 (``internal-error``) with its traceback on stderr.
    """
    try:
        console.result(command, action())
    except TeraFerryError as error:
        console.error(command, error)
        return error.exit_status
    except (KeyboardInterrupt, click.Abort):
        stopped = _stopped(command)
        console.error(command, stopped)
        return stopped.exit_status
    except click.ClickException as error:
        wrong = _wrong_usage(command, error)
        console.error(command, wrong)
        return wrong.exit_status
    except Exception as error:  # the last line of defence: a bug too gets its status and its last line
        console.bug(command, error)
        return INTERNAL_ERROR_STATUS
    finally:
        console.close()
    return 0


def run_program(program: click.Command, arguments: Sequence[str], *, name: str) -> int:
    """Run a whole command line and return its exit status; what click refuses is told our way.

    The click functions return the status that ``run_command`` gave them. A wrong option is
    found before any command runs, so ``--json`` is looked for in ``arguments`` itself: a
    script gets its result line then as well.
    """
    try:
        status = program.main(args=list(arguments), prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path.removeprefix(name).strip() if context is not None else ""
        wrong = _wrong_usage(command or name, error)
        _console(arguments).error(command or name, wrong)
        return wrong.exit_status
    except (KeyboardInterrupt, click.Abort):
        stopped = _stopped(name)
        _console(arguments).error(name, stopped)
        return stopped.exit_status
    return status if isinstance(status, int) else 0


def _console(arguments: Sequence[str]) -> Console:
    options = arguments[: list(arguments).index("--")] if "--" in arguments else arguments
    return Console.from_environment(json="--json" in options, quiet=False)


def _stopped(command: str) -> RefusedError:
    return RefusedError(
        "stopped-by-operator",
        f"command {command}: interrupted from the keyboard, expected to run to its end",
        hint="Type the same command again: it goes on from where it stopped.",
        exit_status=43,
    )


def _wrong_usage(command: str, error: click.ClickException) -> UsageError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else command
    return UsageError(
        "usage", f"command {command}: {error.format_message()}", hint=f"Type: {path} --help", facts={"usage": path}
    )
