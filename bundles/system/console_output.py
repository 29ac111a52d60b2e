"""What a person, or a script, sees of a command: progress, one result, or one error.

Results go to stdout and everything else to stderr; under ``--json`` stdout holds one JSON
object a line and people's text stays on stderr. On a terminal there is one live view;
elsewhere a plain line every few seconds, also while a phase moves no bytes, so that nobody
takes a long wait for a crash. The words are ``console_text``'s and ``console_phase``'s; rich
is imported only on a terminal, since it costs a command more time to start than all the rest.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from teraferry.bundles.errors import Fact, TeraFerryError
from teraferry.bundles.system import console_text as words
from teraferry.bundles.system.clock import monotonic_seconds
from teraferry.bundles.system.console_phase import Phase, Wait

if TYPE_CHECKING:
    from teraferry.bundles.system.live_view import LiveView

PLAIN_SECONDS = 3.0
"""Seconds between plain lines; the promise is 5, and a busy machine wakes us late."""

LIVE_SECONDS = 0.25
"""Seconds between two pictures of the live view: smooth to the eye, nothing to the CPU."""

INTERNAL_ERROR_STATUS = 1
"""Exit status of a bug of ours."""

_BUG_HINT = "send the lines above to your supplier, then type the same command again."


class Console:
    """Progress, results and errors of one command. Its methods may be called from any thread.

    Args:
        json: Print one JSON object a line to ``out``.
        quiet: Print nothing but the result, or the error.
        out: Where results go.
        err: Where progress, told lines and errors go.
        terminal: ``err`` can show a live view.
        color: The live view may use color.
    """

    def __init__(self, *, json: bool, quiet: bool, out: TextIO, err: TextIO, terminal: bool, color: bool) -> None:
        self._json, self._quiet, self._terminal, self._color = json, quiet, terminal, color
        self._out: TextIO | None = out
        self._err: TextIO | None = err
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._ticker: threading.Thread | None = None
        self._view: LiveView | None = None
        self._phase: Phase | None = None
        self._told_seconds = 0.0

    @classmethod
    def from_environment(cls, *, json: bool, quiet: bool) -> Console:
        """Return the console of this process: its streams, whether they are a terminal, NO_COLOR."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A locale without the letters of a message must not turn the message into a crash.
                stream.reconfigure(errors="backslashreplace")
        terminal = sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
        # JSON lines on the same terminal would tear the view apart.
        terminal = terminal and not (json and sys.stdout.isatty())
        color = not os.environ.get("NO_COLOR")
        return cls(json=json, quiet=quiet, out=sys.stdout, err=sys.stderr, terminal=terminal, color=color)

    def start(self, phase: str, *, total_bytes: int | None = None, detail: str = "") -> None:
        """Begin a phase; the one before it is over."""
        with self._lock:
            self._finish_phase()
            self._phase = Phase(phase, detail, total_bytes, monotonic_seconds())
            self._emit({"event": "phase", "phase": phase, "total_bytes": total_bytes, "detail": detail})
            self._tell(self._phase.first_text())
            self._start_ticker()

    def advance(self, count_bytes: int) -> None:
        """Count bytes that are done for good; the wait before them is over.

        Raises:
            ValueError: ``count_bytes`` is negative; progress never runs backwards.
        """
        with self._lock:
            self._current().advance(count_bytes)

    def say(self, event: str, text: str, **facts: Fact) -> None:
        """Tell one thing that happened; what was waited for before it is over."""
        with self._lock:
            if self._phase is not None:
                self._phase.wait = None
            self._emit({"event": event, "text": text, **facts})
            self._tell(text)

    def waiting(self, what: str, why: str) -> None:
        """Tell what is being waited for and why; the first call prints, the ticker repeats."""
        with self._lock:
            phase = self._current()
            now_seconds = monotonic_seconds()
            if phase.wait is not None and phase.wait.what == what:
                phase.wait = Wait(what, why, phase.wait.since_seconds)
                return
            phase.wait = Wait(what, why, now_seconds)
            self._emit(phase.fields(now_seconds, phase.sample(now_seconds)))
            self._tell(f"waiting for {what}: {why}")
            self._start_ticker()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal alone while a person is asked something."""
        # The lock is held, so neither the ticker nor another thread writes into the question.
        with self._lock:
            self._on_view(lambda view: view.stop())
            yield

    def result(self, command: str, fields: Mapping[str, object]) -> None:
        """Print the outcome of a command that did what it was asked."""
        with self._lock:
            self._finish_phase()
            self.close()
            if self._json:
                self._write_out(words.encode_line(words.result_fields(command, fields)))
            else:
                self._write_out("\n".join(words.result_lines(command, fields)))

    def error(self, command: str, error: TeraFerryError) -> None:
        """Print why a command refused or failed, and what to type next."""
        with self._lock:
            self.close()
            self._write_err("\n".join(words.error_lines(command, error)))
            if self._json:
                self._write_out(words.encode_line(words.error_fields(command, error)))

    def bug(self, command: str, error: Exception) -> None:
        """Print an error that nobody expected: the traceback for us, a result line for scripts."""
        with self._lock:
            self.close()
            self._write_err("".join(traceback.format_exception(error)).rstrip())
            self._write_err(f"{command}: this is a bug of TeraFerry; {_BUG_HINT}")
            if self._json:
                fields = {"event": "result", "command": command, "status": INTERNAL_ERROR_STATUS}
                said = {"reference": "internal-error", "message": type(error).__name__, "hint": _BUG_HINT}
                self._write_out(words.encode_line({**fields, **said}))

    def close(self) -> None:
        """End the view and the ticker; calling it again changes nothing."""
        self._over.set()
        with self._lock:
            self._on_view(lambda view: view.stop())
            self._view = self._phase = None

    def tick(self, now_seconds: float) -> None:
        """Redraw the view, and tell that the work goes on if nothing was told for a while."""
        with self._lock:
            if self._phase is None:
                return
            pace = self._phase.sample(now_seconds)
            self._draw(self._phase, self._phase.figures(now_seconds, pace), now_seconds)
            if now_seconds - self._told_seconds >= PLAIN_SECONDS:
                self._told_seconds = now_seconds
                self._emit(self._phase.fields(now_seconds, pace))
                if self._view is None:
                    self._tell(self._phase.text(now_seconds, pace))

    # ---- inside; every caller holds the lock

    def _current(self) -> Phase:
        if self._phase is None:
            self._phase = Phase("work", "", None, monotonic_seconds())
        return self._phase

    def _finish_phase(self) -> None:
        if self._phase is None:
            return
        seconds = monotonic_seconds()
        fields = self._phase.fields(seconds, self._phase.sample(seconds))
        self._emit({**fields, "event": "phase-done"})
        text = self._phase.last_text(seconds)
        if text is not None:
            self._tell(text)
        self._phase = None

    def _start_ticker(self) -> None:
        if self._quiet or self._ticker is not None or self._over.is_set():
            return
        if self._terminal and self._err is not None:
            from teraferry.bundles.system.live_view import LiveView

            self._view = LiveView(self._err, color=self._color)
        # A daemon: a console that nobody closed must not keep a finished command alive.
        self._ticker = threading.Thread(target=self._tick_until_over, name="console", daemon=True)
        self._ticker.start()

    def _tick_until_over(self) -> None:
        while not self._over.wait(LIVE_SECONDS):
            self.tick(monotonic_seconds())

    def _draw(self, phase: Phase, figures: str, now_seconds: float) -> None:
        if self._view is None:
            return
        notes = [phase.detail, phase.wait.text(now_seconds) if phase.wait else ""]
        shown = [words.printable(note) for note in notes if note]
        headline = words.printable(phase.name)
        self._on_view(lambda view: view.draw(headline, share=phase.share(), figures=figures, notes=shown))

    # A reader that went away (a closed terminal, `| head`) must not stop an install half-way:
    # the stream is given up and the work goes on; the exit status still tells how it ended.

    def _emit(self, fields: Mapping[str, object]) -> None:
        if self._json and not self._quiet:
            self._write_out(words.encode_line(fields))

    def _tell(self, text: str) -> None:
        self._told_seconds = monotonic_seconds()
        if self._quiet:
            return
        line = words.indented(text)
        if self._view is None:
            self._write_err(line)
        self._on_view(lambda view: view.tell(line))

    def _on_view(self, action: Callable[[LiveView], None]) -> None:
        if self._view is None:
            return
        try:
            action(self._view)
        except OSError:
            if self._err is not None:
                _silence(self._err)
            self._err = self._view = None

    def _write_out(self, text: str) -> None:
        if self._out is not None and not _write_line(self._out, text):
            self._out = None

    def _write_err(self, text: str) -> None:
        if self._err is not None and not _write_line(self._err, text):
            self._err = None


def _write_line(stream: TextIO, text: str) -> bool:
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except OSError:
        _silence(stream)
        return False
    return True


def _silence(stream: TextIO) -> None:
    # What is left in the buffer would fail again when Python exits and turn the status into 120.
    try:
        descriptor = stream.fileno()
    except OSError:
        return  # not a file of the operating system: nothing fails at exit
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
