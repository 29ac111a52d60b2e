"""Reach a node by a command of the site's own: the configured argv, then the argv to run there.

``transport = { command = ["nsenter", "--target", "4711", "--net", "--"] }`` runs
``nsenter --target 4711 --net -- sh -c ...``. The command passes standard input, output and the
exit status through, and every word of the argv unchanged: a bare ``ssh HOST`` does not, since ssh
joins its words for the far shell to split again. A node needs a POSIX shell and coreutils only.

A command that cannot reach the node is told from one that failed on it by a word that only the
node can say: every call runs below a small script that prints it to standard error first.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import IO

from teraferry.bundles.digest import Buffer, Digest, hex_of
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.process import Completed, kill_group, run, start
from teraferry.installer.adapters.node_shell import DIGEST_OF

REACHED = b"teraferry-node-reached\n"
"""Printed to standard error on the node, before what was asked for runs."""

UPLOAD_STALLED_SECONDS = 120.0
"""No byte taken by the node for so long ends an upload."""

STATUS_NO_SPACE = 74
STATUS_DAMAGED = 75

_RUN = 'echo teraferry-node-reached >&2; exec "$@"'

_UPLOAD = """
set -eu
path=$1 mode=$2 digest=$3
folder=$(dirname "$path")
part="$path.part.$$"
mkdir -p "$folder" || exit 74
for left in "$path".part.*; do
  if [ -e "$left" ] && ! kill -0 "${left##*.}" 2>/dev/null; then rm -f "$left"; fi
done
trap 'rm -f "$part"' EXIT
trap '' PIPE
( umask 077; cat >"$part" ) || exit 74
chmod "$mode" "$part"
sync "$part" || exit 74
set -- $(digest_of <"$part")
[ "$1" = "$digest" ] || { echo "$1"; exit 75; }
mv -f "$part" "$path"
trap - EXIT
sync "$folder"
"""
# The upload of an installer that was killed may still be ending here: it must not take our part file away
# when it finds that its own is not whole, so each has its own, named by its process. A power cut leaves them.
# PIPE: nobody may listen any more, which must not keep us from cleaning up.
# 74: the node's disk would not take it. 75: other bytes arrived; their digest is printed.


class CommandTransport:
    """``NodeTransport`` by a command prefix. An empty prefix is this machine.

    Args:
        node: The node's name in site.toml, for messages.
        prefix: What reaches the node; the argv to run there is put behind it.
    """

    def __init__(self, node: str, prefix: Sequence[str]) -> None:
        self._node = node
        self._prefix = tuple(prefix)

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
        """Run ``argv`` on the node; see ``installer.ports.NodeTransport``."""
        try:
            done = run(self._argv(_RUN, argv), stdin=stdin, timeout_seconds=timeout_seconds)
        except OSError as error:
            raise self._unreachable(str(error)) from error
        if REACHED not in done.stderr:
            raise self._unreachable(_last_words(done))
        return Completed(tuple(argv), done.status, done.stdout, _said_there(done))

    def upload(self, pieces: Iterable[Buffer], path: str, *, mode: int, digest: Digest) -> None:
        """Write ``path`` on the node durably; see ``installer.ports.NodeTransport``."""
        script = "echo teraferry-node-reached >&2" + DIGEST_OF + _UPLOAD
        try:
            done = self._stream(self._argv(script, (path, f"{mode:04o}", hex_of(digest))), pieces)
        except BaseException:
            # The script was ended before it could clean up after itself.
            with suppress(RefusedError):
                self.run(["sh", "-c", 'rm -f "$1".part.*', "sh", path])
            raise
        if REACHED not in done.stderr:
            raise self._unreachable(_last_words(done))
        said = _said_there(done).decode("utf-8", "replace").strip()
        if done.status == STATUS_DAMAGED:
            raise RefusedError(
                "upload-damaged",
                f"file {path} on node {self._node}: sha256:{done.text().strip()} arrived, expected {digest}",
                hint="Check the connection to the node and its memory, then type the same command again.",
                facts={"node": self._node, "path": path, "expected": digest},
            )
        if done.status == 124:
            raise self._unreachable(f"took no byte for {UPLOAD_STALLED_SECONDS:.0f} s")
        if done.status:
            raise RefusedError(
                "node-no-space",
                f"file {path} on node {self._node}: not written ({said or done.status}), expected room to write it",
                hint=f"See `df {PurePosixPath(path).parent}` there, make room, then type the same command again.",
                facts={"node": self._node, "path": path},
            )

    def _argv(self, script: str, arguments: Sequence[str]) -> list[str]:
        return [*self._prefix, "sh", "-c", script, "sh", *arguments]

    def _unreachable(self, found: str) -> RefusedError:
        return RefusedError(
            "node-unreachable",
            f"node {self._node}: {found}, expected to run a command there",
            hint="Check that it runs and that its `transport` in site.toml is right: `teraferry-installer doctor`.",
            facts={"node": self._node},
        )

    def _stream(self, argv: list[str], pieces: Iterable[Buffer]) -> Completed:
        """Run ``argv`` with ``pieces`` on its standard input; status 124 when it stalled."""
        try:
            process = start(argv)
        except OSError as error:
            raise self._unreachable(str(error)) from error
        with process, _Watch(process) as watch:
            try:
                _feed(process.stdin, pieces, watch)
            except BaseException:
                # The reader of the bundle refused, or we are told to stop. A closed pipe would look
                # like the end of the file, so the script is ended before it can count as one.
                kill_group(process)
                raise
            stdout, stderr = watch.outputs()
        return Completed(tuple(argv), 124 if watch.stalled else process.returncode, stdout, stderr)


class _Watch:
    """Collects the outputs in threads, so no pipe fills up, and ends a process that stalls."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
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
            if not self._moved.wait(UPLOAD_STALLED_SECONDS):
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


def _said_there(done: Completed) -> bytes:
    """Return the node's part of standard error; the way there may have printed a banner before it."""
    return done.stderr.partition(REACHED)[2]


def _last_words(done: Completed) -> str:
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return f"status {done.status}" + (f", {said[-1][:200]}" if said else "")
