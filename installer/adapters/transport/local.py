"""The node is this machine: ``transport = { local = true }``."""

from __future__ import annotations

from teraferry.installer.adapters.transport.command import CommandTransport


class LocalTransport(CommandTransport):
    """``NodeTransport`` for the machine the installer runs on; the same scripts, no prefix."""

    def __init__(self, node: str) -> None:
        super().__init__(node, ())
