"""A file of a release on a node, beside the one that runs: ``PATH.d/<digest>``, every version of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from teraferry.bundles.digest import Buffer, Digest, hex_of, parse_digest
from teraferry.bundles.errors import BundleError
from teraferry.bundles.system.process import Completed
from teraferry.installer.adapters.node_shell import DIGEST_OF
from teraferry.installer.adapters.workload.pulled_file import FilePull
from teraferry.installer.adapters.workload.service import command_failed, require_done
from teraferry.installer.ports import NodeTransport

DIGEST_SECONDS: Final = 300.0
"""Time to hash a program on a slow node; a few hundred MB."""

STATUS_NOTHING = 80

_STAGED = """
[ -f "$1" ] || exit 80
set -- $(digest_of <"$1"); echo "$1"
"""


class StagedFiles:
    """The versions of one file.

    Args:
        transport: Reaches the node.
        path: Absolute; versions lie in ``PATH.d``.
        pull: Lets the node fetch a version by itself; None for one that is sent from here.
    """

    def __init__(self, transport: NodeTransport, path: str, *, pull: FilePull | None = None) -> None:
        self._transport = transport
        self._path = path
        self._pull = pull

    def place(self, digest: Digest) -> str:
        """Return where the bytes of ``digest`` lie, or will."""
        return f"{self._path}.d/{hex_of(digest)}"

    def staged(self, digest: Digest) -> bool:
        """Tell whether the bytes are on the node, whole; they are hashed there."""
        done = self.script(_STAGED, self.place(digest))
        if done.status == STATUS_NOTHING:
            return False
        return self.digest(done) == digest

    def stage(self, pieces: Iterable[Buffer], digest: Digest, *, mode: int) -> None:
        """Bring it there, beside the running version; see ``installer.ports.Workload``."""
        if self.staged(digest) or (self._pull is not None and self._pull.bring(self.place(digest), digest, mode=mode)):
            return
        self._transport.upload(pieces, self.place(digest), mode=mode, digest=digest)

    def script(self, script: str, *arguments: str) -> Completed:
        """Run ``script`` on the node; it may use ``digest_of``."""
        return self._transport.run(["sh", "-c", DIGEST_OF + script, "sh", *arguments], timeout_seconds=DIGEST_SECONDS)

    def digest(self, done: Completed) -> Digest:
        """Return the one digest that a script printed.

        Raises:
            RefusedError: ``node-command-failed``, 40.
        """
        require_done(done, "digest", self._path)
        return self.parse(done.text().strip(), done)

    def parse(self, text: str, done: Completed) -> Digest:
        """Return 64 hex digits as a digest.

        Raises:
            RefusedError: ``node-command-failed``, 40.
        """
        try:
            return parse_digest("sha256:" + text)
        except BundleError as error:
            raise command_failed(done, "digest", self._path) from error
