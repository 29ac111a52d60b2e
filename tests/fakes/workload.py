"""A program on a node in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

from teraferry.bundles.digest import Buffer, Digest
from teraferry.bundles.errors import RefusedError


def _nothing() -> None:
    """No cluster is told."""


class FakeWorkload:
    """``Workload`` in memory; ``on_stop`` and ``on_start`` tell a ``FakeCluster``.

    Args:
        selected: What the node was set up with; it runs.
    """

    def __init__(
        self,
        selected: Digest | None = None,
        *,
        on_stop: Callable[[], None] = _nothing,
        on_start: Callable[[], None] = _nothing,
    ) -> None:
        self.files: dict[Digest, bytes] = {selected: b""} if selected else {}
        self.calls: list[str] = []
        self.broken: set[Digest] = set()  # versions that end at once when started
        self._selected = selected
        self._running = selected
        self._on_stop = on_stop
        self._on_start = on_start

    def staged(self, digest: Digest) -> bool:
        return digest in self.files

    def stage(self, pieces: Iterable[Buffer], digest: Digest, *, mode: int) -> None:
        if digest in self.files:
            return
        self.calls.append("stage")
        content = b"".join(bytes(piece) for piece in pieces)
        found = "sha256:" + hashlib.sha256(content).hexdigest()
        if found != digest:
            raise RefusedError("upload-damaged", f"program: {found}, expected {digest}", hint="Try again.")
        self.files[digest] = content

    def selected(self) -> Digest | None:
        return self._selected

    def select(self, digest: Digest) -> None:
        if digest not in self.files:
            raise RefusedError("not-staged", f"program {digest}: not here, expected it staged", hint="Stage it.")
        self.calls.append("select")
        self._selected = digest

    def running(self) -> frozenset[Digest]:
        return frozenset({self._running} if self._running else ())

    def stop(self) -> None:
        if self._running is None:
            return
        self.calls.append("stop")
        self._running = None
        self._on_stop()

    def start(self) -> None:
        if self._running is not None and self._running == self._selected:
            return
        self.calls.append("start")
        if self._selected is not None and self._selected not in self.broken:
            self._running = self._selected
            self._on_start()
