"""A node in memory: files by path, and commands that are Python functions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from teraferry.bundles.digest import Buffer, Digest
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.process import Completed

Command = Callable[[Sequence[str], bytes], tuple[int, bytes, bytes]]


class FakeTransport:
    """``NodeTransport`` in memory.

    ``commands`` maps a program's name to what it does: (argv, stdin) -> (status, stdout, stderr).
    """

    def __init__(self, node: str = "node") -> None:
        self.node = node
        self.reachable = True
        self.room_bytes = 1 << 40
        self.files: dict[str, tuple[bytes, int]] = {}
        self.commands: dict[str, Command] = {
            "cat": lambda argv, stdin: (0, self.files[argv[1]][0] if len(argv) > 1 else stdin, b""),
            "true": lambda _argv, _stdin: (0, b"", b""),
            "false": lambda _argv, _stdin: (1, b"", b""),
            "echo": lambda argv, _stdin: (0, " ".join(argv[1:]).encode() + b"\n", b""),
        }

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
        self._require_reachable()
        command = self.commands.get(argv[0])
        if command is None:
            return Completed(tuple(argv), 127, b"", f"{argv[0]}: not found\n".encode())
        return Completed(tuple(argv), *command(argv, stdin))

    def upload(self, pieces: Iterable[Buffer], path: str, *, mode: int, digest: Digest) -> None:
        self._require_reachable()
        content = b"".join(bytes(piece) for piece in pieces)
        if len(content) > self.room_bytes:
            raise RefusedError("node-no-space", f"file {path}: no room, expected room", hint="Make room.")
        found = "sha256:" + hashlib.sha256(content).hexdigest()
        if found != digest:
            raise RefusedError("upload-damaged", f"file {path}: {found}, expected {digest}", hint="Try again.")
        self.files[path] = (content, mode)

    def _require_reachable(self) -> None:
        if not self.reachable:
            raise RefusedError("node-unreachable", f"node {self.node}: down, expected it up", hint="Start it.")
