"""Somebody asks for a stop at every touch of the site: it halts where nothing is worse, and goes on later.

Worse would be a node that is out of the cluster, or stopped, because of us: until it is back the cluster can
lose less. So a stop that comes then waits until that node is whole again.
"""

from __future__ import annotations

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.rollout.execute import STARTED, STOPPED
from teraferry.installer.rollout.stopping import StoppedByOperatorError
from tests.fakes.rollout_run import MODES, Kit, Site
from tests.fakes.rollout_site import VOLUME_NODES, Life, address_of

SHARES = 4


@pytest.fixture(scope="module")
def lengths(kit: Kit) -> dict[str, int]:
    """How many touches an undisturbed install has, by mode."""
    found = {}
    for mode in MODES:
        life = Life()
        Site(None, kit, mode=mode).install(life)
        found[mode] = len(life.touches)
    return found


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("mode", MODES)
def test_install_stopped_anywhere_leaves_every_node_in_and_goes_on_later(
    kit: Kit, lengths: dict[str, int], mode: str, share: int
) -> None:
    failures = {}
    stopped = 0
    for stop_after in range(1, lengths[mode], 3)[share::SHARES]:
        site = Site(None, kit, mode=mode)
        try:
            site.install(stop_after=stop_after)
        except StoppedByOperatorError:
            stopped += 1
        problems = [
            f"{node} is out"
            for node in VOLUME_NODES
            if address_of(node) not in site.world.placement().observation.nodes
        ]
        problems += [f"{node} does not run" for node, digest in site.running().items() if digest is None]
        site.install()
        problems += site.problems()
        if problems:
            failures[stop_after] = problems

    assert failures == {}
    assert stopped > 10


def test_stop_before_anything_began_leaves_no_trace(kit: Kit) -> None:
    site = Site(None, kit)

    with pytest.raises(RefusedError) as refused:
        site.install(stop_after=1)

    assert (refused.value.exit_status, refused.value.reference) == (43, "stopped-by-operator")
    assert not site.entries()


def test_stop_in_the_middle_is_journaled_with_the_step_it_came_before(kit: Kit, lengths: dict[str, int]) -> None:
    site = Site(None, kit)

    with pytest.raises(StoppedByOperatorError):
        site.install(stop_after=lengths["safe"] // 2)

    last = site.entries()[-1]
    assert last.event == STOPPED
    assert last.step.partition(" ")[0] in {"stage_file", "check_cluster_health", "drain_node", "patch_binary"}
    assert [entry.event for entry in site.entries()].count(STARTED) == 1
