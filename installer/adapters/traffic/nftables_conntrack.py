"""The connections that the kernel of one gateway keeps track of: how many a side serves, and how they are cut.

Network address translation is decided once, for the first packet; what the kernel forgets, it decides anew. So after a
cut what a client sends goes to the side that has new connections, which knows nothing of it and answers with a reset;
what the old server sends arrives under an address that the client never asked, which resets it as well. One that is
silent learns of it when it speaks. The kernel does not tell where in its stream a connection is, so nobody on the
gateway could send a reset that the ends believe.
"""

from __future__ import annotations

from typing import Final

from teraferry.installer.adapters.traffic.nftables_connections import (
    CONNECTIONS,
    count_established,
    forget_argvs,
    found_none,
)
from teraferry.installer.adapters.traffic.sides import Side, VirtualAddress, cannot_cut, failed
from teraferry.installer.ports import NodeTransport

CONNTRACK_SECONDS: Final = 30.0
"""It walks the whole table: some 0.1 s for 100,000 connections."""


class KernelConnections:
    """What the gateway's kernel knows of the connections of one virtual address.

    Args:
        transport: Reaches the gateway as root.
        virtual: The address, its services, and the servers of both sides.
    """

    def __init__(self, transport: NodeTransport, virtual: VirtualAddress) -> None:
        self._transport = transport
        self._virtual = virtual

    def established(self, side: Side) -> int | None:
        """Count those that ``side`` serves; None where the kernel does not show them."""
        done = self._transport.run(["cat", CONNECTIONS])
        text = done.stdout.decode("utf-8", "replace")
        return None if done.status else count_established(text, self._virtual, side)

    def require_can_cut(self) -> None:
        """See that the gateway has the program that makes the kernel forget.

        Raises:
            RefusedError: ``switch-cannot-cut``, 40.
        """
        done = self._transport.run(["conntrack", "--version"], timeout_seconds=CONNTRACK_SECONDS)
        if done.status:
            hint = "Install conntrack on the gateway, or remove cut_after from [traffic] in site.toml."
            raise cannot_cut(self._virtual, f"conntrack: status {done.status}", "that program", hint=hint)

    def cut(self, side: Side) -> None:
        """Have the kernel forget those that ``side`` serves, and see that it did.

        Raises:
            RefusedError: ``switch-failed`` or ``switch-cannot-cut``, 40.
        """
        self.require_can_cut()
        argvs = forget_argvs(self._virtual, side)
        said = [self._transport.run(argv, timeout_seconds=CONNTRACK_SECONDS) for argv in argvs]
        wrong = [done for done in said if done.status and not found_none(done.stderr)]
        left = self.established(side)
        if left or wrong:
            words = wrong[0].stderr.decode("utf-8", "replace").strip()[-200:] if wrong else "said that it did"
            hint = "See `conntrack -L -p tcp` on the gateway, then type the same command again."
            raise failed(self._virtual, "cut", f"{left} left, conntrack {words}", f"none on {side}", hint=hint)
