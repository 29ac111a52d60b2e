"""What is repeated until servers obey, and what is not."""

from __future__ import annotations

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.cluster.seaweedfs_moving import ATTEMPTS, persist


class Server:
    """Refuses a number of times, then obeys."""

    def __init__(self, times: int, reference: str = "cannot-drain") -> None:
        self.left, self.reference, self.asked, self.pauses = times, reference, 0, 0

    def act(self) -> None:
        self.asked += 1
        if self.left:
            self.left -= 1
            raise RefusedError(self.reference, "node a: it is busy, expected it to obey", hint="Wait.")

    def pause(self) -> None:
        self.pauses += 1


@pytest.mark.parametrize("reference", ["cannot-drain", "cannot-tell"])
def test_persist_asks_again_after_a_pause(reference: str) -> None:
    server = Server(ATTEMPTS - 1, reference)
    persist(server.act, pause=server.pause)
    assert (server.asked, server.pauses) == (ATTEMPTS, ATTEMPTS - 1)


def test_persist_gives_up_after_its_last_attempt() -> None:
    server = Server(ATTEMPTS)
    with pytest.raises(RefusedError) as caught:
        persist(server.act, pause=server.pause)
    assert (caught.value.reference, server.asked) == ("cannot-drain", ATTEMPTS)


@pytest.mark.parametrize("reference", ["storage-lock-lost", "shard-copies-differ", "cluster-unreachable"])
def test_persist_does_not_repeat_what_waiting_cannot_mend(reference: str) -> None:
    server = Server(1, reference)
    with pytest.raises(RefusedError) as caught:
        persist(server.act, pause=server.pause)
    assert (caught.value.reference, server.asked, server.pauses) == (reference, 1, 0)
