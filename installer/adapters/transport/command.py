"""Reach a node by a command of the site's own: the configured argv, then the argv to run there.

``transport = { command = ["nsenter", "--target", "4711", "--net", "--"] }`` runs
``nsenter --target 4711 --net -- sh -c ...``. The command passes standard input, output and the
exit status through, and every word of the argv unchanged: a bare ``ssh HOST`` does not, since ssh
joins its words for the far shell to split again.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterable, Sequence
from typing import IO

from teraferry.bundles.digest import Buffer
from teraferry.bundles.system.process import Completed, kill_group, run, start
from teraferry.installer.adapters.transport.shell import STATUS_STALLED, ShellTransport


class CommandTransport(ShellTransport):
    """``NodeTransport`` by a command prefix. An empty prefix is this machine.

    Args:
        node: The node's name in site.toml, for messages.
        prefix: What reaches the node; the argv to run there is put behind it.
    """

    def __init__(self, node: str, prefix: Sequence[str]) -> None:
        super().__init__(node, CommandChannel(prefix))


class CommandChannel:
    """``Channel`` by a command prefix."""

    def __init__(self, prefix: Sequence[str]) -> None:
        self._prefix = tuple(prefix)

    def run(self, argv: Sequence[str], *, stdin: bytes, timeout_seconds: float) -> Completed:
        """Run the prefix with ``argv`` behind it; see ``transport.shell.Channel``."""
        return run([*self._prefix, *argv], stdin=stdin, timeout_seconds=timeout_seconds)

    def stream(self, argv: Sequence[str], pieces: Iterable[Buffer], *, stalled_after_seconds: float) -> Completed:
        """Run it with ``pieces`` on its standard input; see ``transport.shell.Channel``."""
        process = start([*self._prefix, *argv])
        with process, _Watch(process, stalled_after_seconds=stalled_after_seconds) as watch:
            try:
                _feed(process.stdin, pieces, watch)
            except BaseException:
                # The reader of the bundle refused, or we are told to stop. A closed pipe would look
                # like the end of the file, so the script is ended before it can count as one.
                kill_group(process)
                raise
            stdout, stderr = watch.outputs()
        return Completed(tuple(argv), STATUS_STALLED if watch.stalled else process.returncode, stdout, stderr)


class _Watch:
    """Collects the outputs in threads, so no pipe fills up, and ends a process that stalls."""

    def __init__(self, process: subprocess.Popen[bytes], *, stalled_after_seconds: float) -> None:
        self._process = process
        self._stalled_after_seconds = stalled_after_seconds
        self._moved = threading.Event()
        self._over = threading.Event()
        self._texts = [b"", b""]
        self.stalled = False
        self._threads = [
            threading.Thread(target=self._collect, args=(0, process.stdout), daemon=True),
            threading.Thread(target=self._collect, args=(1, process.stderr), daemon=True),
        ]
        self._guard = threading.Thread(target=self._end_when_stalled, daemon=True)

    def __enter__(self) -> _Watch:
        for thread in (*self._threads, self._guard):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._moved.set()
        self._guard.join()

    def moved(self) -> None:
        """Note that the node took something."""
        self._moved.set()

    def outputs(self) -> tuple[bytes, bytes]:
        """Wait for the end and return stdout and stderr."""
        for thread in self._threads:
            thread.join()
        self._process.wait()
        return self._texts[0], self._texts[1]

    def _collect(self, number: int, pipe: IO[bytes] | None) -> None:
        if pipe is not None:
            self._texts[number] = pipe.read()

    def _end_when_stalled(self) -> None:
        while not self._over.is_set():
            if not self._moved.wait(self._stalled_after_seconds):
                self.stalled = True
                kill_group(self._process)
                return
            self._moved.clear()


def _feed(pipe: IO[bytes] | None, pieces: Iterable[Buffer], watch: _Watch) -> None:
    """Write every piece. A node that ends early (full disk) says why by its status, so that is no error here."""
    if pipe is None:
        return
    broken = False
    for piece in pieces:
        view = memoryview(piece)
        while view and not broken:
            try:
                view = view[os.write(pipe.fileno(), view) :]
            except BrokenPipeError:
                broken = True
            watch.moved()
        if broken:
            break
    try:
        pipe.close()
    except BrokenPipeError:
        return
