"""Where a rollout may halt on request: never while a node is out of the cluster by our doing."""

from __future__ import annotations

import pytest

from teraferry.installer.rollout.plan import CHECK, DRAIN, PATCH, REBALANCE, REJOIN, STAGE, Step
from teraferry.installer.rollout.stopping import may_halt_before


@pytest.mark.parametrize("mode", ["safe", "quick"])
@pytest.mark.parametrize("action", [STAGE, CHECK, DRAIN])
def test_rollout_may_halt_while_every_node_is_in(mode: str, action: str) -> None:
    assert may_halt_before(Step(f"{action} a", action, "a", ""), mode=mode)


@pytest.mark.parametrize("mode", ["safe", "quick"])
@pytest.mark.parametrize("action", [REJOIN, REBALANCE])
def test_rollout_never_halts_while_a_node_is_out(mode: str, action: str) -> None:
    assert not may_halt_before(Step(f"{action} a", action, "a", ""), mode=mode)


def test_emptied_node_still_serves_but_one_told_to_leave_does_not() -> None:
    step = Step("patch a", PATCH, "a", "")

    assert may_halt_before(step, mode="safe")
    assert not may_halt_before(step, mode="quick")
