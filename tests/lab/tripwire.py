"""Kills a piece of our own code right before its nth effect on the machine, by SIGKILL, in a process of its own.

Nothing of the code is replaced: Python itself tells an audit hook of every file that is opened, renamed, linked, made
or removed and of every program that is started, before it happens. What only looks is not counted: dying
before it leaves what dying before the next effect leaves.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_CHANGES = {"os.rename", "os.link", "os.mkdir", "os.remove", "os.symlink", "os.truncate"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_SECONDS = 120.0


@dataclass(frozen=True)
class Tripwire:
    """What counts as an effect.

    Args:
        folder: Files outside it are not the machine's: caches, pipes.
        programs: A started program is an effect when one of these words is in its command.
    """

    folder: Path
    programs: Sequence[str]

    def effect(self, event: str, arguments: tuple[object, ...]) -> str:
        """Return what is about to be done, in words; "" for a look."""
        if event in _CHANGES:
            places = [str(word) for word in arguments if isinstance(word, (str, os.PathLike))]
            inside = [Path(place).name for place in places if Path(place).is_relative_to(self.folder)]
            return f"{event} {inside[-1]}" if inside else ""
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str) and isinstance(flags, int) and flags & _WRITES:
                return f"write {Path(path).name}" if Path(path).is_relative_to(self.folder) else ""
        if event == "subprocess.Popen":
            command = " ".join(map(str, arguments[1])) if isinstance(arguments[1], list) else ""
            return next((f"run {word}" for word in self.programs if word in command), "")
        return ""


def effects_of(function: Callable[[], object], wire: Tripwire) -> list[str]:
    """Run ``function`` to its end in a process of its own and return its effects, in order."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        _become(function, wire, kill_at=0, told=writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        seen = told.read().decode().splitlines()
    if _wait(pid) != 0:
        raise AssertionError(f"the run that was not to be killed failed after {seen}")
    return seen


def kill_before(function: Callable[[], object], wire: Tripwire, *, effect: int) -> None:
    """Run ``function`` in a process of its own, which is killed right before its effect number ``effect``, from 1."""
    pid = os.fork()
    if not pid:
        _become(function, wire, kill_at=effect, told=os.open(os.devnull, os.O_WRONLY))
    status = _wait(pid)
    if status != -signal.SIGKILL:
        raise AssertionError(f"ended with {status}, expected to be killed before effect {effect}")


def _become(function: Callable[[], object], wire: Tripwire, *, kill_at: int, told: int) -> None:
    """Run ``function`` and end this process: 0 when it returned or refused, 1 when it broke."""
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if effect := wire.effect(event, arguments):
            seen += 1
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            os.write(told, effect.encode() + b"\n")

    status = 1
    try:
        sys.addaudithook(hook)
        function()
        status = 0
    finally:
        os._exit(status)


def _wait(pid: int) -> int:
    """Return how the child ended: its status, or the negative signal."""
    deadline = time.monotonic() + _SECONDS
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
