"""What every way to a node has in common: small scripts for a POSIX shell there, and what their answers mean.

How the words of a command reach the node is a ``Channel``'s business: a command of the site's own, or ssh. A
node needs a POSIX shell and coreutils only.

A channel that cannot reach the node is told from a command that failed on it by a word that only the
node can say: every call runs below a small script that prints it to standard error first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Protocol

from teraferry.bundles.digest import Buffer, Digest, hex_of
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.process import Completed
from teraferry.installer.adapters.node_shell import DIGEST_OF, FORGET_PARTS

REACHED = b"teraferry-node-reached\n"
"""Printed to standard error on the node, before what was asked for runs."""

UPLOAD_STALLED_SECONDS = 120.0
"""No byte taken by the node for so long ends an upload."""

STATUS_STALLED = 124
STATUS_NO_SPACE = 74
STATUS_DAMAGED = 75

_RUN = 'echo teraferry-node-reached >&2; exec "$@"'

_UPLOAD = """
set -eu
path=$1 mode=$2 digest=$3
folder=$(dirname "$path")
part="$path.part.$$"
mkdir -p "$folder" || exit 74
forget_parts "$path"
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
# Each upload has a part file of its own, see ``FORGET_PARTS``. A power cut leaves them.
# PIPE: nobody may listen any more, which must not keep us from cleaning up.
# 74: the node's disk would not take it. 75: other bytes arrived; their digest is printed.


class Channel(Protocol):
    """Takes a command to a node, every word of it unchanged."""

    def run(self, argv: Sequence[str], *, stdin: bytes, timeout_seconds: float) -> Completed:
        """Run ``argv`` there to its end; status 124 when it took too long.

        Raises:
            OSError: The way there could not be taken; its text is shown to a person.
        """

    def stream(self, argv: Sequence[str], pieces: Iterable[Buffer], *, stalled_after_seconds: float) -> Completed:
        """Run ``argv`` there with ``pieces`` on its standard input; status 124 when no byte was taken for so long.

        What iterating over ``pieces`` raises ends the command there before it can take what it has for the whole.

        Raises:
            OSError: The way there could not be taken.
        """


class ShellTransport:
    """``NodeTransport`` over a channel.

    Args:
        node: The node's name in site.toml, for messages.
        channel: Takes commands to the node.
    """

    def __init__(self, node: str, channel: Channel) -> None:
        self._node = node
        self._channel = channel

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
        """Run ``argv`` on the node; see ``installer.ports.NodeTransport``."""
        try:
            done = self._channel.run(_script(_RUN, argv), stdin=stdin, timeout_seconds=timeout_seconds)
        except OSError as error:
            raise self._unreachable(str(error)) from error
        if REACHED not in done.stderr:
            raise self._unreachable(_last_words(done))
        return Completed(tuple(argv), done.status, done.stdout, _said_there(done))

    def upload(self, pieces: Iterable[Buffer], path: str, *, mode: int, digest: Digest) -> None:
        """Write ``path`` on the node durably; see ``installer.ports.NodeTransport``."""
        script = "echo teraferry-node-reached >&2" + DIGEST_OF + FORGET_PARTS + _UPLOAD
        argv = _script(script, (path, f"{mode:04o}", hex_of(digest)))
        try:
            done = self._channel.stream(argv, pieces, stalled_after_seconds=UPLOAD_STALLED_SECONDS)
        except OSError as error:
            raise self._unreachable(str(error)) from error
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
        if done.status == STATUS_STALLED:
            raise self._unreachable(f"took no byte for {UPLOAD_STALLED_SECONDS:.0f} s")
        if done.status:
            raise RefusedError(
                "node-no-space",
                f"file {path} on node {self._node}: not written ({said or done.status}), expected room to write it",
                hint=f"See `df {PurePosixPath(path).parent}` there, make room, then type the same command again.",
                facts={"node": self._node, "path": path},
            )

    def _unreachable(self, found: str) -> RefusedError:
        return RefusedError(
            "node-unreachable",
            f"node {self._node}: {found}, expected to run a command there",
            hint="Check that it runs and that its `transport` in site.toml is right: `teraferry-installer doctor`.",
            facts={"node": self._node},
        )


def _script(script: str, arguments: Sequence[str]) -> list[str]:
    return ["sh", "-c", script, "sh", *arguments]


def _said_there(done: Completed) -> bytes:
    """Return the node's part of standard error; the way there may have printed a banner before it."""
    return done.stderr.partition(REACHED)[2]


def _last_words(done: Completed) -> str:
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return f"status {done.status}" + (f", {said[-1][:200]}" if said else "")
