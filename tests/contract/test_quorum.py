"""What every ``Quorum`` must do: the fake, and real masters of SeaweedFS with each of its implementations of raft."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from teraferry.installer.adapters.cluster.seaweedfs_quorum import SeaweedfsQuorum
from teraferry.installer.ports import MasterView, Quorum
from teraferry.installer.rollout.gates import judge_masters
from tests.fakes.quorum import FakeQuorum
from tests.lab.nodes import wait_until
from tests.lab.weed import weed_binary
from tests.lab.weed_masters import LoopbackMasters


@dataclass(frozen=True)
class Rig:
    """Three masters under test."""

    quorum: Quorum
    masters: tuple[str, ...]
    stop: Callable[[str], None]
    start: Callable[[str], None]
    hands_over: bool  # a leader can be asked to

    @property
    def leader(self) -> str:
        return next(iter(self.quorum.observe().values())).leader

    def reasons(self) -> tuple[str, ...]:
        return judge_masters(self.quorum.observe(), frozenset(self.masters))


@pytest.fixture(
    scope="module",
    params=["fake", pytest.param("real", marks=pytest.mark.real), pytest.param("hashicorp", marks=pytest.mark.real)],
)
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    if request.param == "fake":
        masters = tuple(f"10.0.0.{number}:9333" for number in (1, 2, 3))
        fake = FakeQuorum(masters)
        yield Rig(fake, masters, fake.stop, fake.start, hands_over=True)
        return
    hands_over = request.param == "hashicorp"
    folder, raft = tmp_path_factory.mktemp("masters"), "-raftHashicorp" if hands_over else ""
    with LoopbackMasters(folder, program=weed_binary("4.47"), count=3, raft=raft) as real:
        quorum = SeaweedfsQuorum(real.addresses)
        yield Rig(quorum, real.addresses, real.kill, real.start, hands_over=hands_over)


def test_each_master_names_the_leader_and_all_of_them(rig: Rig) -> None:
    wait_until("one leader", lambda: not rig.reasons())

    assert rig.quorum.observe() == dict.fromkeys(rig.masters, MasterView(rig.leader, frozenset(rig.masters)))
    assert rig.leader in rig.masters


def test_a_follower_is_asked_to_step_down_in_vain(rig: Rig) -> None:
    wait_until("one leader", lambda: not rig.reasons())
    leader = rig.leader

    rig.quorum.step_down(next(master for master in rig.masters if master != leader))

    assert rig.leader == leader


def test_a_leader_that_steps_down_where_it_can_is_followed_by_another(rig: Rig) -> None:
    wait_until("one leader", lambda: not rig.reasons())
    leader = rig.leader

    rig.quorum.step_down(leader)

    wait_until("one leader", lambda: not rig.reasons())
    assert (rig.leader != leader) == rig.hands_over


def test_a_leader_that_is_away_is_left_out_and_another_one_leads_until_and_after_it_is_back(rig: Rig) -> None:
    wait_until("one leader", lambda: not rig.reasons())
    leader = rig.leader
    others = [master for master in rig.masters if master != leader]

    rig.stop(leader)

    assert leader not in rig.quorum.observe()
    wait_until("another leader", lambda: {view.leader for view in rig.quorum.observe().values()} <= {*others})
    assert rig.reasons() == (f"master {leader} does not answer",)
    rig.start(leader)
    wait_until("one leader", lambda: not rig.reasons())
    assert rig.leader in others
