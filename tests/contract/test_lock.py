"""What every ``Lock`` must do: the fake, and files on nodes; and what two installers on two machines meet."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from teraferry.bundles.digest import Buffer, Digest
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.process import Completed
from teraferry.installer.adapters.node_locks import Holder, NodeLocks, this_holder
from teraferry.installer.adapters.transport.local import LocalTransport
from teraferry.installer.ports import Lock, NodeTransport
from tests.fakes.rollout_site import Life, SiteLock, World

OURS, THEIRS = Holder("a" * 16, "laptop-1:/var/lib/teraferry"), Holder("b" * 16, "laptop-2:/var/lib/teraferry")


def on_node(folder: Path, holder: Holder, *, instead_of: str = "") -> NodeLocks:
    return NodeLocks({"vol-1": LocalTransport("vol-1")}, holder, instead_of=instead_of, path=str(folder / "n" / "lock"))


@pytest.fixture(params=["fake", "nodes"])
def lock(request: pytest.FixtureRequest, tmp_path: Path) -> Lock:
    return SiteLock(World(), Life()) if request.param == "fake" else on_node(tmp_path, OURS)


def test_lock_is_taken_again_by_whoever_holds_it(lock: Lock) -> None:
    lock.acquire()
    lock.acquire()
    lock.release()
    lock.release()
    lock.acquire()


def test_second_machine_is_refused_and_told_who_is_at_work(tmp_path: Path) -> None:
    on_node(tmp_path, THEIRS).acquire()

    with pytest.raises(RefusedError) as refused:
        on_node(tmp_path, OURS).acquire()

    assert (refused.value.exit_status, refused.value.reference) == (42, "node-locked")
    assert (refused.value.facts["holder"], refused.value.facts["place"]) == (THEIRS.id, THEIRS.place)


def test_lock_of_another_is_never_given_back(tmp_path: Path) -> None:
    on_node(tmp_path, THEIRS).acquire()

    on_node(tmp_path, OURS).release()

    with pytest.raises(RefusedError):
        on_node(tmp_path, OURS).acquire()


def test_lost_machine_is_replaced_by_naming_it(tmp_path: Path) -> None:
    on_node(tmp_path, THEIRS).acquire()

    on_node(tmp_path, OURS, instead_of=THEIRS.id).acquire()

    with pytest.raises(RefusedError) as refused:
        on_node(tmp_path, THEIRS).acquire()
    assert refused.value.facts["holder"] == OURS.id


def test_naming_somebody_else_takes_nothing_over(tmp_path: Path) -> None:
    on_node(tmp_path, THEIRS).acquire()

    with pytest.raises(RefusedError):
        on_node(tmp_path, OURS, instead_of="c" * 16).acquire()


def test_refused_lock_gives_back_what_it_took_and_keeps_what_was_ours(tmp_path: Path) -> None:
    transport = LocalTransport("here")
    paths = [tmp_path / name / "lock" for name in ("one", "two", "three")]
    for path, holder in ((paths[0], OURS), (paths[2], THEIRS)):
        NodeLocks({"n": transport}, holder, path=str(path)).acquire()

    class Rewritten(LocalTransport):
        """A node whose lock lies at a path of its own, since all nodes of this test are one machine."""

        def __init__(self, path: Path) -> None:
            super().__init__(path.parent.name)
            self._path = str(path)

        def run(self, argv, **more):  # type: ignore[no-untyped-def]
            return super().run([self._path if word == "LOCK" else word for word in argv], **more)

    nodes = {path.parent.name: Rewritten(path) for path in paths}
    with pytest.raises(RefusedError):
        NodeLocks(nodes, OURS, path="LOCK").acquire()

    assert [path.exists() for path in paths] == [True, False, True]


def test_of_many_at_the_same_moment_exactly_one_gets_it(tmp_path: Path) -> None:
    got: list[str] = []

    def attempt(number: int) -> None:
        holder = Holder(f"{number:016x}", f"laptop-{number}:/var/lib/teraferry")
        try:
            on_node(tmp_path, holder).acquire()
            got.append(holder.id)
        except RefusedError:
            return

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(got) == 1


def test_lock_that_cannot_be_read_is_nobody_s_to_take(tmp_path: Path) -> None:
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / "lock").write_text("\x00 garbage")

    with pytest.raises(RefusedError) as refused:
        on_node(tmp_path, OURS).acquire()

    assert refused.value.reference == "node-locked"


def test_holder_is_the_same_tomorrow_and_another_for_another_state(tmp_path: Path) -> None:
    assert this_holder(tmp_path) == this_holder(tmp_path)
    assert this_holder(tmp_path).id != this_holder(tmp_path / "other").id


class Away:
    """The way to a node that is gone."""

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60) -> Completed:
        raise RefusedError("node-unreachable", "node green-1: gone, expected to run a command", hint="Look at it.")

    def upload(self, pieces: Iterable[Buffer], path: str, *, mode: int, digest: Digest) -> None:
        raise AssertionError("a lock uploads nothing")


def beside_one_that_is_gone(folder: Path, holder: Holder, *, may_miss: bool) -> NodeLocks:
    ways: dict[str, NodeTransport] = {"green-1": Away(), "blue-1": LocalTransport("blue-1")}
    return NodeLocks(ways, holder, path=str(folder / "n" / "lock"), may_miss=may_miss)


def test_node_that_is_gone_is_missed_only_where_that_was_said(tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as refused:
        beside_one_that_is_gone(tmp_path, OURS, may_miss=False).acquire()
    assert refused.value.reference == "node-unreachable"

    beside_one_that_is_gone(tmp_path, OURS, may_miss=True).acquire()

    with pytest.raises(RefusedError) as refused:
        beside_one_that_is_gone(tmp_path, THEIRS, may_miss=True).acquire()
    assert refused.value.reference == "node-locked"


def test_lock_that_misses_every_node_is_none(tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as refused:
        NodeLocks({"green-1": Away()}, OURS, path=str(tmp_path / "lock"), may_miss=True).acquire()

    assert refused.value.reference == "node-unreachable"
