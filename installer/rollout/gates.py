"""Gates: what was observed goes in, pass or refuse with every reason comes out. Pure.

Health of an erasure-coded cluster is exactly 100 % or it is not healthy: every shard of every
stripe group is present once, no node holds more of a group than its parity can lose, every
normal volume has its copies, and the nodes that are in are the nodes of the site. One green
light is not trusted; the shards are counted.

Source: ``docs/rollout.md``, section "Health".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from teraferry.installer.ports import ClusterObservation, MasterView, ReplicatedVolume, StripeGroup

SHOWN_REASONS = 5


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the cluster held when the rollout began; none of it may be forgotten later."""

    stripe_groups: frozenset[int]


@dataclass(frozen=True, slots=True)
class Health:
    """A verdict on one observation. There is no ``__bool__``: ask for ``is_full``."""

    reasons: tuple[str, ...]  # why it is below 100 %, empty when it is not
    shards_present: int
    shards_expected: int
    copies_present: int
    copies_expected: int
    conditions_held: int = 0
    conditions_expected: int = 0

    @property
    def is_full(self) -> bool:
        """Tell whether health is exactly 100 %."""
        return not self.reasons

    @property
    def percent(self) -> float:
        """Share of shards and copies that are where they must be; 100.0 only when full."""
        expected = self.shards_expected + self.copies_expected + self.conditions_expected
        present = self.shards_present + self.copies_present + self.conditions_held
        share = 100.0 * present / expected if expected else 100.0
        return share if self.is_full else min(share, 99.9)

    def summary(self) -> str:
        """Return one line for people."""
        shown = "; ".join(self.reasons[:SHOWN_REASONS])
        more = f"; and {len(self.reasons) - SHOWN_REASONS} more" if len(self.reasons) > SHOWN_REASONS else ""
        counts = (
            f"{self.shards_present}/{self.shards_expected} shards, {self.copies_present}/{self.copies_expected} copies"
        )
        if self.conditions_expected:
            counts = f"{self.conditions_held}/{self.conditions_expected} conditions"
        return f"100 %: {counts}" if self.is_full else f"{self.percent:.1f} %: {shown}{more} ({counts})"


def judge_health(
    observation: ClusterObservation,
    expected: frozenset[str],
    *,
    baseline: Baseline | None = None,
    single_copies: bool = False,
) -> Health:
    """Judge one observation over all nodes and every stripe group.

    Args:
        observation: What the storage said just now.
        expected: Addresses of all volume servers of the site.
        baseline: What was there at the start; a group that nobody lists any more is lost, not healthy.
        single_copies: Normal volumes kept once are accepted: true only where a node is emptied
            before it is touched, since otherwise its volumes are gone while it restarts.
    """
    reasons = [f"node {node} is not in" for node in sorted(expected - observation.nodes)]
    reasons += [f"node {node} is in but not in site.toml" for node in sorted(observation.nodes - expected)]
    if not expected:
        reasons.append("site.toml names no volume server")
    known = {group.id for group in observation.stripe_groups}
    for lost in sorted((baseline.stripe_groups if baseline else frozenset()) - known):
        reasons.append(f"stripe group {lost} is unknown to the master")
    present = total = 0
    for group in observation.stripe_groups:
        present += len(_shards(group))
        total += group.data_shards + group.parity_shards
        reasons += _judge_group(group)
    copies = wanted = 0
    for volume in observation.volumes:
        copies += min(len(volume.holders), volume.copies_wanted)
        wanted += volume.copies_wanted
        reasons += _judge_volume(volume, single_copies=single_copies)
    reasons += [f"{each.condition}: found {each.found}" for each in observation.said if not each.passes]
    held = sum(each.passes for each in observation.said)
    return Health(tuple(reasons), present, total, copies, wanted, held, len(observation.said))


def baseline_of(observation: ClusterObservation) -> Baseline:
    """Return what must not be forgotten from here on."""
    return Baseline(frozenset(group.id for group in observation.stripe_groups))


def is_drained(observation: ClusterObservation, node: str, *, baseline: Baseline) -> bool:
    """Tell whether ``node`` may be stopped without a shard going off line by that.

    It holds nothing, and all that is known to be there is on line elsewhere. A master that was just started calls
    every node empty: it has not been told yet.
    """
    known = {group.id for group in observation.stripe_groups}
    return (
        node not in observation.holding
        and not any(node in group.holders or group.missing for group in observation.stripe_groups)
        and not any(node in volume.holders for volume in observation.volumes)
        and baseline.stripe_groups <= known
    )


def judge_masters(views: Mapping[str, MasterView], expected: frozenset[str]) -> tuple[str, ...]:
    """Return why a master may not be taken away, and may not count as back; nothing when all agree about one leader.

    Args:
        views: Master -> what it said just now.
        expected: Addresses of all masters of the site.
    """
    reasons = [f"master {master} does not answer" for master in sorted(expected - views.keys())]
    for master, view in sorted(views.items()):
        if not view.leader:
            reasons.append(f"master {master} knows no leader")
        if view.members != expected:
            reasons.append(f"master {master} counts {sorted(view.members)} as masters, site.toml {sorted(expected)}")
    leaders = {view.leader for view in views.values()} - {""}
    if len(leaders) > 1:
        reasons.append(f"masters follow different leaders: {sorted(leaders)}")
    if not expected:
        reasons.append("site.toml names no master")
    return tuple(reasons)


def _shards(group: StripeGroup) -> frozenset[int]:
    return frozenset().union(*group.holders.values())


def _judge_group(group: StripeGroup) -> list[str]:
    reasons = []
    if group.data_shards < 1 or group.parity_shards < 1:
        return [f"stripe group {group.id} has {group.data_shards}+{group.parity_shards} shards, which protects nothing"]
    counts = Counter(shard for shards in group.holders.values() for shard in shards)
    missing = sorted(group.missing)
    doubled = sorted(shard for shard, times in counts.items() if times > 1)
    if missing:
        reasons.append(f"stripe group {group.id} misses shards {missing}")
    if doubled:
        reasons.append(f"stripe group {group.id} has shards {doubled} twice")
    for node, shards in sorted(group.holders.items()):
        if len(shards) > group.parity_shards:
            reasons.append(
                f"node {node} holds {len(shards)} shards of stripe group {group.id}, "
                f"more than its {group.parity_shards} parity"
            )
    return reasons


def _judge_volume(volume: ReplicatedVolume, *, single_copies: bool) -> list[str]:
    if volume.copies_wanted < 2 and not single_copies:
        return [f"volume {volume.id} is kept once only, so its node cannot be touched"]
    if len(volume.holders) != volume.copies_wanted:
        return [f"volume {volume.id} has {len(volume.holders)} copies, expected {volume.copies_wanted}"]
    return []
