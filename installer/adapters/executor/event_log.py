"""The console of a process that has no terminal: it writes events, and followers show them."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from teraferry.bundles.errors import Fact, RefusedError, TeraFerryError
from teraferry.bundles.system.clock import monotonic_seconds, sleep_seconds
from teraferry.installer.adapters.executor.folder import ExecutorFolder, this_process
from teraferry.installer.executor.events import (
    Advanced,
    Asked,
    Crashed,
    Event,
    Failed,
    PhaseBegan,
    Said,
    Started,
    Succeeded,
    Waited,
    encode_event,
)

ADVANCE_SECONDS = 0.2
"""Bytes are told this often at most: a follower's view moves no faster."""

WAITING_SECONDS = 1.0
"""A wait for the same thing is told this often at most, when only its reason changed."""

ASK_SECONDS = 900.0
"""A question that nobody answers is answered no: nothing may begin hours later, unwatched."""


class EventLog:
    """Takes what a ``Console`` takes. May be called from any thread."""

    def __init__(self, folder: ExecutorFolder, command: str) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._pending_bytes = 0
        self._advanced_seconds = 0.0
        self._waiting: tuple[str, str] = ("", "")
        self._waiting_seconds = 0.0
        self._descriptor = os.open(folder.events_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        process = this_process()
        self._write(Started(pid=process.pid, start_ticks=process.start_ticks, command=command))

    def start(self, phase: str, *, total_bytes: int | None = None, detail: str = "") -> None:
        """Begin a phase."""
        with self._lock:
            self._flush()
            self._write(PhaseBegan(phase=phase, total_bytes=total_bytes, detail=detail))

    def advance(self, count_bytes: int) -> None:
        """Count bytes."""
        with self._lock:
            self._pending_bytes += count_bytes
            if monotonic_seconds() - self._advanced_seconds >= ADVANCE_SECONDS:
                self._flush()

    def say(self, event: str, text: str, **facts: Fact) -> None:
        """Tell one thing that happened."""
        with self._lock:
            self._flush()
            self._write(Said(event=event, text=text, facts=facts))

    def waiting(self, what: str, why: str) -> None:
        """Tell what is being waited for."""
        with self._lock:
            now_seconds = monotonic_seconds()
            is_news = what != self._waiting[0] or why != self._waiting[1]
            if what == self._waiting[0] and not (is_news and now_seconds - self._waiting_seconds >= WAITING_SECONDS):
                return
            self._waiting, self._waiting_seconds = (what, why), now_seconds
            self._write(Waited(what=what, why=why))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """There is no terminal to leave alone."""
        yield

    def ask(self, question: str) -> bool:
        """Ask whoever follows and wait for the answer.

        Raises:
            RefusedError: ``stopped-by-operator``, 43: a stop was asked for instead.
        """
        with self._lock:
            self._flush()
            self._write(Asked(question=question))
        give_up = monotonic_seconds() + ASK_SECONDS
        while (answer := self._folder.answered()) is None:
            if self._folder.stop_requested():
                raise RefusedError(
                    "stopped-by-operator",
                    "install: stopped before it began, expected to run to its end",
                    hint="Nothing was changed. Type the same command again when it suits.",
                    exit_status=43,
                )
            if monotonic_seconds() > give_up:
                return False
            sleep_seconds(ADVANCE_SECONDS)
        return answer

    def result(self, command: str, fields: Mapping[str, object]) -> None:
        """Tell the outcome."""
        self._last(Succeeded(command=command, fields=dict(fields)))

    def error(self, command: str, error: TeraFerryError) -> None:
        """Tell why it refused or failed."""
        self._last(
            Failed(
                command=command,
                exit_status=error.exit_status,
                reference=error.reference,
                message=error.message,
                hint=error.hint,
                facts=dict(error.facts),
            )
        )

    def bug(self, command: str, error: Exception) -> None:
        """Tell an error that nobody expected."""
        self._last(Crashed(command=command, traceback="".join(traceback.format_exception(error)).rstrip()))

    def close(self) -> None:
        """Nothing is left to end: the last event is the end."""

    def _last(self, event: Event) -> None:
        with self._lock:
            self._flush()
            self._write(event)

    def _flush(self) -> None:
        self._advanced_seconds = monotonic_seconds()
        self._waiting = ("", "")
        if self._pending_bytes:
            self._write(Advanced(count_bytes=self._pending_bytes))
            self._pending_bytes = 0

    def _write(self, event: Event) -> None:
        # A full file system under the view must not stop an install; the journal has its own.
        with suppress(OSError):
            os.write(self._descriptor, encode_event(event))
