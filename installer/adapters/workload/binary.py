"""A program on a node: ``PATH`` is a link to ``PATH.d/<digest>``, and every version is kept there.

What runs is read from ``/proc/PID/exe``, never from a version text: the bytes of the running file
are hashed on the node. At the first visit ``PATH`` may be a plain file. It is adopted: hashed,
linked into ``PATH.d`` under its digest, then ``PATH`` is replaced by a link in one rename, so at
every moment something startable is at ``PATH``.

A node needs a POSIX shell, coreutils and Linux's /proc; nothing is installed there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from teraferry.bundles.digest import Buffer, Digest, hex_of, parse_digest
from teraferry.bundles.errors import BundleError, RefusedError
from teraferry.bundles.system.clock import monotonic_seconds, sleep_seconds
from teraferry.bundles.system.process import Completed
from teraferry.installer.adapters.node_shell import DIGEST_OF
from teraferry.installer.ports import NodeTransport

DIGEST_SECONDS: Final = 300.0
"""Time to hash a program on a slow node; a few hundred MB."""

COMMAND_SECONDS: Final = 300.0
"""A site's own stop or start command; a graceful stop may take its time."""

GONE_SECONDS: Final = 60.0
"""After the stop command ended, how long processes may still be there."""

STATUS_NOTHING = 80
STATUS_NOT_OURS = 81

_SELECTED = """
path=$1
if [ -L "$path" ]; then
  target=$(readlink "$path")
  case "$target" in "$(basename "$path").d/"*) basename "$target" ;; *) echo "$target"; exit 81 ;; esac
elif [ -f "$path" ]; then
  set -- $(digest_of <"$path"); echo "$1"
elif [ -e "$path" ]; then
  echo "$path"; exit 81
else
  exit 80
fi
"""

_SELECT = """
set -eu
path=$1 digest=$2
folder=$path.d
if [ -f "$path" ] && [ ! -L "$path" ]; then
  old=$(digest_of <"$path"); old=${old%% *}
  if [ ! -f "$folder/$old" ]; then
    mkdir -p "$folder"
    part=$folder/.$old.part.$$
    ln -f "$path" "$part" 2>/dev/null || cp -p "$path" "$part"
    sync "$part"
    mv -f "$part" "$folder/$old"
    sync "$folder"
  fi
fi
[ -f "$folder/$digest" ] || exit 80
ln -sfn "$(basename "$path").d/$digest" "$path.new.$$"
mv -fT "$path.new.$$" "$path"
sync "$(dirname "$path")"
"""
# The old file is safe under its digest, and its name durable, before PATH lets go of it. Names of its own, since
# what a killed installer had running here may still be at it when the next one comes.

_STAGED = """
[ -f "$1" ] || exit 80
set -- $(digest_of <"$1"); echo "$1"
"""

_RUNNING = r"""
path=$1
own=$(readlink -f "$(dirname "$path")")/$(basename "$path")
QUOTING_STYLE=literal stat -c %N /proc/[0-9]*/exe 2>/dev/null | while IFS= read -r line; do
  process=${line%%/exe -> *} exe=${line#*/exe -> }
  exe=${exe% (deleted)}
  case "$exe" in "$own" | "$own.d/"*) ;; *) continue ;; esac
  if set -- $(digest_of <"$process/exe" 2>/dev/null) && [ -n "${1:-}" ]; then echo "$1"
  elif [ -e "$process/exe" ]; then exit 81
  fi
done
"""
# A process that ended while it was looked at has no exe any more; one whose file cannot be read is not guessed at.


class BinaryWorkload:
    """``Workload`` of one program on one node.

    Args:
        transport: Reaches the node.
        path: What the service starts; absolute.
        start: Starts the service; run on the node. It must not leave it as a child of its caller.
        stop: Stops it gracefully; run on the node.
    """

    def __init__(self, transport: NodeTransport, path: str, *, start: Sequence[str], stop: Sequence[str]) -> None:
        self._transport = transport
        self._path = path
        self._start = tuple(start)
        self._stop = tuple(stop)

    def staged(self, digest: Digest) -> bool:
        """Tell whether the bytes are on the node, whole; they are hashed there."""
        done = self._script(_STAGED, self._file(digest))
        if done.status == STATUS_NOTHING:
            return False
        return self._digest(done) == digest

    def stage(self, pieces: Iterable[Buffer], digest: Digest, *, mode: int) -> None:
        """Upload beside the running version; see ``installer.ports.Workload``."""
        if not self.staged(digest):
            self._transport.upload(pieces, self._file(digest), mode=mode, digest=digest)

    def selected(self) -> Digest | None:
        """Return what the next start runs; a plain file is hashed.

        Raises:
            RefusedError: ``path-not-ours``, 40: ``path`` is a link elsewhere or no file.
        """
        done = self._script(_SELECTED, self._path)
        if done.status == STATUS_NOTHING:
            return None
        if done.status == STATUS_NOT_OURS:
            raise RefusedError(
                "path-not-ours",
                f"path {self._path}: {done.text().strip()}, expected a program or a link into {self._path}.d",
                hint="Put the program itself there or mend `path` in site.toml, then type the same command again.",
                facts={"path": self._path},
            )
        return self._digest(done)

    def select(self, digest: Digest) -> None:
        """Make ``path`` a link to the bytes, in one rename; adopts a plain file first.

        Raises:
            RefusedError: ``not-staged`` or ``path-not-ours``, 40.
        """
        if self.selected() == digest and self._is_link():
            return
        done = self._script(_SELECT, self._path, hex_of(digest))
        if done.status == STATUS_NOTHING:
            raise RefusedError(
                "not-staged",
                f"program {digest}: not in {self._path}.d, expected it to be staged first",
                hint="Type the same command again; it brings the program to the node first.",
                facts={"path": self._path, "digest": digest},
            )
        self._require_done(done, "select")

    def running(self) -> frozenset[Digest]:
        """Return the digests of what runs from ``path`` or ``path.d``, deleted files included."""
        done = self._script(_RUNNING, self._path)
        self._require_done(done, "look at processes")
        return frozenset(self._parse(line, done) for line in done.text().split())

    def stop(self) -> None:
        """Run the stop command unless nothing runs, and wait until it is gone.

        Raises:
            RefusedError: ``node-command-failed`` or ``still-running``, 40.
        """
        if not self.running():
            return
        self._command("stop", self._stop)
        deadline = monotonic_seconds() + GONE_SECONDS
        while left := self.running():
            if monotonic_seconds() > deadline:
                raise RefusedError(
                    "still-running",
                    f"program {self._path}: {sorted(left)} still run {GONE_SECONDS:.0f} s after its stop command,"
                    " expected none",
                    hint="Stop it on the node by hand and mend `stop` in site.toml, then type the same command again.",
                    facts={"path": self._path},
                )
            sleep_seconds(0.1)

    def start(self) -> None:
        """Run the start command unless the selected version runs already.

        Raises:
            RefusedError: ``node-command-failed``, 40.
        """
        if self.running() != {self.selected()}:
            self._command("start", self._start)

    def _command(self, name: str, argv: Sequence[str]) -> None:
        done = self._transport.run(argv, timeout_seconds=COMMAND_SECONDS)
        self._require_done(done, name)

    def _script(self, script: str, *arguments: str) -> Completed:
        return self._transport.run(["sh", "-c", DIGEST_OF + script, "sh", *arguments], timeout_seconds=DIGEST_SECONDS)

    def _file(self, digest: Digest) -> str:
        return f"{self._path}.d/{hex_of(digest)}"

    def _is_link(self) -> bool:
        return self._transport.run(["test", "-L", self._path]).status == 0

    def _digest(self, done: Completed) -> Digest:
        self._require_done(done, "digest")
        return self._parse(done.text().strip(), done)

    def _parse(self, text: str, done: Completed) -> Digest:
        try:
            return parse_digest("sha256:" + text)
        except BundleError as error:
            raise self._failed("digest", done) from error

    def _require_done(self, done: Completed, what: str) -> None:
        if done.status:
            raise self._failed(what, done)

    def _failed(self, what: str, done: Completed) -> RefusedError:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        found = f"status {done.status}" + (f", {said[-1][:200]}" if said else "")
        return RefusedError(
            "node-command-failed",
            f"{what} of {self._path}: {found}, expected status 0",
            hint="Run the same command on the node by hand to see why, then type the same command again.",
            facts={"path": self._path, "what": what, "status": done.status},
        )
