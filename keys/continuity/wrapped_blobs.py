"""Wrapped keys that lie as files on a node: digested at every look, and copied away before anything is done.

A blob is wrapped by its store, so a copy is of no use to a thief without that store; and without a
copy, one wrong `rm` on the node is the end of all that the key protects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from teraferry.bundles.digest import Digest, digest_of, hex_of
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.limits import MAX_KEY_BLOB_BYTES
from teraferry.bundles.system.durable import sync_directory, write_durably
from teraferry.keys.ports import NodeRunner
from teraferry.keys.stores.refusals import undecided

READ_SECONDS: Final = 60.0
STATUS_ABSENT: Final = 80
STATUS_NOT_A_FILE: Final = 81

_READ: Final = """
[ -e "$1" ] || exit 80
[ -f "$1" ] || exit 81
exec head -c "$2" -- "$1"
"""


class WrappedBlobs:
    """The wrapped blobs of one key.

    Args:
        what: The key, as a person would name it.
        paths: Absolute, on the node.
        runner: Reaches the node.
    """

    def __init__(self, what: str, paths: Sequence[str], runner: NodeRunner) -> None:
        self._what = what
        self._paths = tuple(paths)
        self._runner = runner

    def digests(self) -> dict[str, Digest]:
        """Return path -> digest of every blob that is there.

        Raises:
            RefusedError: ``key-blob-unreadable``, 40: one is there, or may be, and cannot be read.
        """
        return {path: digest_of(content) for path, content in self._contents()}

    def back_up(self, folder: Path) -> dict[str, Digest]:
        """Copy every blob to ``folder``, durably and named by its digest, and return path -> digest.

        Raises:
            RefusedError: ``key-blob-unreadable``, 40; ``key-backup-failed``, 44: then nothing may be begun.
        """
        found: dict[str, Digest] = {}
        for path, content in self._contents():
            found[path] = digest_of(content)
            _store(folder, found[path], content)
        return found

    def _contents(self) -> Iterator[tuple[str, bytes]]:
        for path in self._paths:
            argv = ["sh", "-c", _READ, "sh", path, str(MAX_KEY_BLOB_BYTES + 1)]
            done = self._runner.run(argv, timeout_seconds=READ_SECONDS)
            if done.status == STATUS_ABSENT:
                continue
            if done.status != 0 or len(done.stdout) > MAX_KEY_BLOB_BYTES:
                found = "not a regular file" if done.status == STATUS_NOT_A_FILE else f"status {done.status}"
                found = "too large" if done.status == 0 else found
                hint = f"Look at that file on the node, and at `blobs` in site.toml: ls -l {path}"
                raise undecided("key-blob-unreadable", self._what, f"wrapped blob {path}: {found}", hint)
            yield path, done.stdout


def _store(folder: Path, digest: Digest, content: bytes) -> None:
    target = folder / hex_of(digest)
    try:
        # One that is there already may be from a disk that lies.
        if target.is_file() and not target.is_symlink() and digest_of(target.read_bytes()) == digest:
            return
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_directory(folder.parent)
        write_durably(target, content, mode=0o600)
        is_good = digest_of(target.read_bytes()) == digest
    except OSError as error:
        raise _failed(target, str(error.strerror)) from error
    if not is_good:
        raise _failed(target, "it reads back as something else")


def _failed(target: Path, found: str) -> RefusedError:
    return RefusedError(
        "key-backup-failed",
        f"backup {target}: {found}, expected the copy of a wrapped key to be safe first",
        hint="Make room on that disk, or mend it. Then type the same command again; nothing was begun.",
        exit_status=44,
        facts={"path": str(target)},
    )
