"""The masters of SeaweedFS, each asked for itself: whom it follows, and whom it counts as one of them.

Both of SeaweedFS's implementations of raft answer the same question. Only one can be asked to let another master lead
(``-raftHashicorp``); of the other, a leader that stops is replaced by an election, which takes 11 s (measured).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from teraferry.installer.adapters.cluster.seaweedfs_rpc import MASTER, CallFailedError, call
from teraferry.installer.ports import MasterView

ASK_SECONDS: Final = 3.0
"""One that is cut off must not hold up the look at the others; an answer takes milliseconds."""


class SeaweedfsQuorum:
    """``Quorum`` of SeaweedFS 4.

    Args:
        masters: HTTP addresses of all masters.
    """

    def __init__(self, masters: Sequence[str]) -> None:
        self._masters = tuple(masters)

    def observe(self) -> Mapping[str, MasterView]:
        """Return what each master says; see ``installer.ports.Quorum``."""
        views = {}
        for master in self._masters:
            with suppress(CallFailedError):  # left out: that is no pass
                views[master] = _ask(master)
        return views

    def step_down(self, master: str) -> None:
        """Ask ``master`` to hand its lead over, if it leads."""
        from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

        if any(view.leader == master for view in self.observe().values()):
            with suppress(CallFailedError):  # it cannot, or does not lead any more: then it is stopped as it is
                call(
                    master,
                    MASTER + "RaftLeadershipTransfer",
                    pb.RaftLeadershipTransferRequest(),
                    pb.RaftLeadershipTransferResponse,
                )


def _ask(master: str) -> MasterView:
    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

    request = pb.RaftListClusterServersRequest()
    answer = call(
        master, MASTER + "RaftListClusterServers", request, pb.RaftListClusterServersResponse, seconds=ASK_SECONDS
    )
    servers = {_address(server.id): server.isLeader for server in answer.cluster_servers}
    return MasterView(next((address for address, leads in servers.items() if leads), ""), frozenset(servers))


def _address(server: str) -> str:
    """Return the HTTP address of ``host:9333`` or ``host:9333.19333``, which has the port of gRPC behind a dot."""
    host, _, ports = server.rpartition(":")
    return f"{host}:{ports.partition('.')[0]}"
