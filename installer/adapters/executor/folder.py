"""Where an executor and its followers meet: a folder of three files on a file system that a reboot empties.

``events.jsonl`` is written by the executor alone. ``answer`` and ``stop`` are written by a follower and looked
for by the executor. Files outlive a follower that is killed, and need no server in the executor.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from teraferry.bundles.errors import UsageError
from teraferry.bundles.system.clock import monotonic_seconds, sleep_seconds
from teraferry.installer.executor.events import LAST, Event, Started, parse_event

EVENTS: Final = "events.jsonl"
ANSWER: Final = "answer"
STOP: Final = "stop"

POLL_SECONDS: Final = 0.1
"""How often a follower looks for new lines."""

START_SECONDS: Final = 30.0
"""An executor that did not write its first line by then never began."""

_KEPT_FOLDERS: Final = 3
"""Of earlier executors, for whoever comes to look afterwards."""

_START_TICKS_FIELD: Final = 22


@dataclass(frozen=True, slots=True)
class ExecutorProcess:
    """One process, told apart from a later one with the same number."""

    pid: int
    start_ticks: int

    def is_alive(self) -> bool:
        """Tell whether it still runs."""
        stat = _stat_fields(self.pid)
        return stat is not None and stat[0] != "Z" and int(stat[_START_TICKS_FIELD - 3]) == self.start_ticks


def this_process() -> ExecutorProcess:
    """Return the process that asks. It stays the same when it executes another program."""
    stat = _stat_fields(os.getpid())
    if stat is None:
        raise OSError("/proc is not mounted")
    return ExecutorProcess(os.getpid(), int(stat[_START_TICKS_FIELD - 3]))


def _stat_fields(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the third, the state, on; a name may hold spaces and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


class ExecutorFolder:
    """One executor's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def events_path(self) -> Path:
        """Where the executor writes."""
        return self.path / EVENTS

    def process(self) -> ExecutorProcess | None:
        """Return the executor; None as long as it wrote nothing."""
        with suppress(OSError), self.events_path.open("rb") as file:
            line = file.readline()
            if line.endswith(b"\n"):
                first = parse_event(line)
                return ExecutorProcess(first.pid, first.start_ticks) if isinstance(first, Started) else None
        return None

    def is_alive(self) -> bool:
        """Tell whether the executor runs now."""
        process = self.process()
        return process is not None and process.is_alive()

    def request_stop(self) -> None:
        """Ask the executor to stop after the step it is at."""
        (self.path / STOP).touch(mode=0o600)

    def stop_requested(self) -> bool:
        """Tell whether somebody asked for a stop."""
        return (self.path / STOP).exists()

    def answer(self, *, agreed: bool) -> None:
        """Answer what the executor asked; the first answer counts."""
        part = self.path / f".{ANSWER}.{os.getpid()}"
        part.write_text("yes" if agreed else "no")
        with suppress(FileExistsError):
            os.link(part, self.path / ANSWER)
        part.unlink()

    def answered(self) -> bool | None:
        """Return the answer; None as long as there is none."""
        try:
            return (self.path / ANSWER).read_text() == "yes"
        except FileNotFoundError:
            return None

    def events(self) -> Iterator[Event]:
        """Yield every event from the first on, waiting for the next, until the last one or the executor's death.

        An executor that ended without a last event was killed; the caller tells by what it got.
        """
        give_up = monotonic_seconds() + START_SECONDS
        while not self.events_path.exists():
            if monotonic_seconds() > give_up:
                return
            sleep_seconds(POLL_SECONDS)
        with self.events_path.open("rb") as file:
            begun = b""
            while True:
                # Asked before reading: what it wrote before it died is there to be read.
                alive = self.is_alive() or (self.process() is None and monotonic_seconds() < give_up)
                begun += file.read()
                *lines, begun = begun.split(b"\n")
                for line in lines:
                    event = parse_event(line)
                    yield event
                    if isinstance(event, LAST):
                        return
                if not alive:
                    return
                sleep_seconds(POLL_SECONDS)


def runtime_folder(state: Path) -> Path:
    """Return where the executors of one state folder meet their followers."""
    top = Path("/run/teraferry") if os.geteuid() == 0 else Path(f"/run/user/{os.geteuid()}/teraferry")
    return top / hashlib.sha256(os.fsencode(state.resolve())).hexdigest()[:16]


def new_folder(state: Path) -> ExecutorFolder:
    """Make a folder for an executor that is about to start; those of executors long gone are removed.

    Raises:
        UsageError: ``runtime-folder``, 2.
    """
    folders = _folders(state)
    for old in folders[_KEPT_FOLDERS:]:
        if not old.is_alive():
            shutil.rmtree(old.path, ignore_errors=True)
    number = 1 + max((int(folder.path.name.partition("-")[0]) for folder in folders), default=0)
    path = runtime_folder(state) / f"{number:06}-{secrets.token_hex(4)}"
    try:
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        path.mkdir(mode=0o700)
    except OSError as error:
        raise UsageError(
            "runtime-folder",
            f"folder {path}: {error.strerror}, expected to be writable",
            hint="Type the command as root: sudo DEPLOYMENT_TIER=... teraferry-installer install KIT",
        ) from error
    return ExecutorFolder(path)


def running_executor(state: Path) -> ExecutorFolder | None:
    """Return the folder of the executor that runs now, if one does."""
    return next((folder for folder in _folders(state) if folder.is_alive()), None)


def _folders(state: Path) -> list[ExecutorFolder]:
    """Return every folder, newest first."""
    top = runtime_folder(state)
    found = top.iterdir() if top.is_dir() else ()
    names = sorted((path.name for path in found if path.name[:6].isdecimal()), reverse=True)
    return [ExecutorFolder(top / name) for name in names]
