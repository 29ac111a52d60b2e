"""A program on a node: ``PATH`` is a link to ``PATH.d/<digest>``, and every version is kept there.

What runs is read from ``/proc/PID/exe``, never from a version text: the bytes of the running file
are hashed on the node. At the first visit ``PATH`` may be a plain file. It is adopted: hashed,
linked into ``PATH.d`` under its digest, then ``PATH`` is replaced by a link in one rename, so at
every moment something startable is at ``PATH``.

A node needs a POSIX shell, coreutils and Linux's /proc; nothing is installed there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from teraferry.bundles.digest import Buffer, Digest, hex_of
from teraferry.installer.adapters.workload.pulled_file import FilePull
from teraferry.installer.adapters.workload.service import (
    Service,
    not_staged,
    path_not_ours,
    require_done,
)
from teraferry.installer.adapters.workload.staged_file import StagedFiles
from teraferry.installer.ports import NodeTransport

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
name=$(basename "$path" | cut -c 1-15)
for found in $(grep -lxF "$name" /proc/[0-9]*/comm 2>/dev/null); do
  process=${found%/comm}
  readlink "$process/exe" >/dev/null 2>&1 || ! grep -q '^State:[[:space:]][^ZX]' "$process/status" 2>/dev/null || {
    echo "$(id -un) may not see what process ${process#/proc/} runs, which is called $name" >&2
    exit 81
  }
done
"""
# A process that ended while it was looked at has no exe any more; one whose file cannot be read is not guessed at. Of
# other users' processes a user sees the name only: one with ours could be the program, and is not called "not running".


class BinaryWorkload:
    """``Workload`` of one program on one node.

    Args:
        transport: Reaches the node.
        path: What the service starts; absolute.
        start: Starts the service; run on the node. It must not leave it as a child of its caller.
        stop: Stops it gracefully; run on the node.
        pull: Lets the node fetch the new version by itself; None for one that is sent from here.
    """

    def __init__(
        self,
        transport: NodeTransport,
        path: str,
        *,
        start: Sequence[str],
        stop: Sequence[str],
        pull: FilePull | None = None,
    ) -> None:
        self._transport = transport
        self._path = path
        self._files = StagedFiles(transport, path, pull=pull)
        self._service = Service(transport, path, start=start, stop=stop)

    def staged(self, digest: Digest) -> bool:
        """Tell whether the bytes are on the node, whole; they are hashed there."""
        return self._files.staged(digest)

    def stage(self, pieces: Iterable[Buffer], digest: Digest, *, mode: int) -> None:
        """Bring it there, beside the running version; see ``installer.ports.Workload``."""
        self._files.stage(pieces, digest, mode=mode)

    def selected(self) -> Digest | None:
        """Return what the next start runs; a plain file is hashed.

        Raises:
            RefusedError: ``path-not-ours``, 40: ``path`` is a link elsewhere or no file.
        """
        done = self._files.script(_SELECTED, self._path)
        if done.status == STATUS_NOTHING:
            return None
        if done.status == STATUS_NOT_OURS:
            raise path_not_ours(self._path, done.text().strip(), f"a program or a link into {self._path}.d")
        return self._files.digest(done)

    def select(self, digest: Digest) -> None:
        """Make ``path`` a link to the bytes, in one rename; adopts a plain file first.

        Raises:
            RefusedError: ``not-staged`` or ``path-not-ours``, 40.
        """
        if self.selected() == digest and self._is_link():
            return
        done = self._files.script(_SELECT, self._path, hex_of(digest))
        if done.status == STATUS_NOTHING:
            raise not_staged("program", f"in {self._path}.d", digest)
        require_done(done, "select", self._path)

    def running(self) -> frozenset[Digest]:
        """Return the digests of what runs from ``path`` or ``path.d``, deleted files included."""
        done = self._files.script(_RUNNING, self._path)
        require_done(done, "look at processes", self._path)
        return frozenset(self._files.parse(line, done) for line in done.text().split())

    def stop(self) -> None:
        """Run the stop command unless nothing runs, and wait until it is gone.

        Raises:
            RefusedError: ``node-command-failed`` or ``still-running``, 40.
        """
        self._service.stop(self.running)

    def start(self) -> None:
        """Run the start command unless the selected version runs already.

        Raises:
            RefusedError: ``node-command-failed``, 40.
        """
        if self.running() != {self.selected()}:
            self._service.start()

    def _is_link(self) -> bool:
        return self._transport.run(["test", "-L", self._path]).status == 0
