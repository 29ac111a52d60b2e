"""Health is counted, never believed: every way a cluster can be below 100 % is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from teraferry.installer.ports import ClusterObservation, MasterView, ReplicatedVolume, StripeGroup
from teraferry.installer.rollout.gates import Baseline, is_drained, judge_health, judge_masters

NODES = frozenset(f"10.0.0.{n}:8080" for n in range(11, 17))


def spread(group_id: int = 1) -> StripeGroup:
    names = sorted(NODES)
    holders: dict[str, set[int]] = {}
    for shard in range(14):
        holders.setdefault(names[shard % 6], set()).add(shard)
    return StripeGroup(group_id, 10, 4, {node: frozenset(shards) for node, shards in holders.items()})


def volume(volume_id: int = 9, *, holders: int = 2, wanted: int = 2) -> ReplicatedVolume:
    return ReplicatedVolume(volume_id, wanted, frozenset(sorted(NODES)[:holders]))


HEALTHY = ClusterObservation(NODES, (spread(),), (volume(),))


def moved(group: StripeGroup, shards: int, source: str, to: str) -> StripeGroup:
    """Move the first ``shards`` shards of ``source``; to "" they are lost."""
    holders = {node: set(held) for node, held in group.holders.items()}
    taken = sorted(holders[source])[:shards]
    holders[source] -= set(taken)
    if to:
        holders.setdefault(to, set()).update(taken)
    return replace(group, holders={node: frozenset(held) for node, held in holders.items() if held})


def test_health_is_full_when_every_shard_and_copy_is_there() -> None:
    health = judge_health(HEALTHY, NODES)

    assert (health.is_full, health.percent, health.shards_present, health.copies_present) == (True, 100.0, 14, 2)


FIRST, SECOND = sorted(NODES)[:2]


@pytest.mark.parametrize(
    ("flaw", "observation"),
    [
        ("a node is away", replace(HEALTHY, nodes=NODES - {FIRST})),
        ("a node is unknown", replace(HEALTHY, nodes=NODES | {"10.0.0.99:8080"})),
        ("a shard is missing", replace(HEALTHY, stripe_groups=(moved(spread(), 1, FIRST, ""),))),
        ("a copy is missing", replace(HEALTHY, volumes=(volume(holders=1),))),
        ("a copy is too many", replace(HEALTHY, volumes=(volume(holders=3),))),
        ("a volume is kept once", replace(HEALTHY, volumes=(volume(holders=1, wanted=1),))),
        ("a group protects nothing", replace(HEALTHY, stripe_groups=(replace(spread(), parity_shards=0),))),
    ],
)
def test_health_is_below_full_when(flaw: str, observation: ClusterObservation) -> None:
    health = judge_health(observation, NODES)

    assert not health.is_full, flaw
    assert health.percent < 100.0


def test_health_is_below_full_when_a_shard_is_held_twice() -> None:
    group = spread()
    doubled = replace(group, holders={**group.holders, SECOND: group.holders[SECOND] | group.holders[FIRST]})

    health = judge_health(replace(HEALTHY, stripe_groups=(doubled,)), NODES)

    assert not health.is_full


def test_health_is_below_full_when_one_node_holds_more_than_the_parity() -> None:
    crowded = moved(spread(), 2, FIRST, SECOND)
    assert len(crowded.holders[SECOND]) == 5

    health = judge_health(replace(HEALTHY, stripe_groups=(crowded,)), NODES)

    assert not health.is_full


def test_health_is_below_full_when_a_stripe_group_is_forgotten() -> None:
    health = judge_health(replace(HEALTHY, stripe_groups=()), NODES, baseline=Baseline(frozenset({1})))

    assert not health.is_full


def test_health_is_below_full_when_the_site_names_no_volume_server() -> None:
    assert not judge_health(ClusterObservation(frozenset(), (), ()), frozenset()).is_full


def test_a_volume_kept_once_passes_where_nodes_are_emptied_first() -> None:
    observation = replace(HEALTHY, volumes=(volume(holders=1, wanted=1),))

    assert judge_health(observation, NODES, single_copies=True).is_full


# ---- a node that is drained


def emptied(group: StripeGroup, node: str) -> StripeGroup:
    others = sorted(NODES - {node})
    return moved(moved(group, 1, node, others[0]), 9, node, others[1])


NODE = sorted(NODES)[5]
BASELINE = Baseline(frozenset({1}))


def test_node_that_holds_nothing_while_every_shard_is_on_line_is_drained() -> None:
    assert is_drained(replace(HEALTHY, stripe_groups=(emptied(spread(), NODE),)), NODE, baseline=BASELINE)


@pytest.mark.parametrize(
    "seen",
    [
        HEALTHY,  # it holds shards
        replace(HEALTHY, stripe_groups=(moved(spread(), 9, NODE, ""),)),  # they are on line nowhere
        replace(HEALTHY, stripe_groups=()),  # the master does not know the group
        replace(HEALTHY, stripe_groups=(emptied(spread(), NODE),), volumes=(volume(holders=6),)),
        replace(HEALTHY, stripe_groups=(emptied(spread(), NODE),), holding=frozenset({NODE})),
    ],
)
def test_node_is_not_drained_when_it_holds_something_or_something_is_on_line_nowhere(seen: ClusterObservation) -> None:
    assert not is_drained(seen, NODE, baseline=BASELINE)


# ---- masters

MASTERS = frozenset(f"10.0.0.{n}:9333" for n in (1, 2, 3))
ONE, TWO, THREE = sorted(MASTERS)
VIEW = MasterView(ONE, MASTERS)
AGREED = dict.fromkeys(MASTERS, VIEW)


def test_masters_that_are_all_up_and_name_one_leader_agree() -> None:
    assert judge_masters(AGREED, MASTERS) == ()


@pytest.mark.parametrize(
    ("views", "expected", "reason"),
    [
        ({ONE: VIEW, TWO: VIEW}, MASTERS, f"master {THREE} does not answer"),
        ({**AGREED, TWO: MasterView("", MASTERS)}, MASTERS, f"master {TWO} knows no leader"),
        ({**AGREED, TWO: MasterView(TWO, MASTERS)}, MASTERS, f"masters follow different leaders: {[ONE, TWO]}"),
        ({**AGREED, TWO: MasterView(ONE, MASTERS | {"10.0.0.9:9333"})}, MASTERS, f"master {TWO} counts"),
        ({**AGREED, TWO: MasterView(ONE, MASTERS - {THREE})}, MASTERS, f"master {TWO} counts"),
        ({}, frozenset[str](), "site.toml names no master"),
    ],
)
def test_masters_do_not_agree(views: dict[str, MasterView], expected: frozenset[str], reason: str) -> None:
    reasons = judge_masters(views, expected)

    assert any(each.startswith(reason) for each in reasons), reasons
