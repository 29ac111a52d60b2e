"""What all tests share: no test fails because the machine was busy; labs that several modules use."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.lab.gateway import gateway, gateway_lab
from tests.lab.haproxy import haproxy
from tests.lab.site_switch import site_switch

__all__ = ["gateway", "gateway_lab", "haproxy", "site_switch"]

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

LONGEST_FIRST = (
    "integration/test_weed_lab.py",
    "e2e/test_egress.py",
    "e2e/test_chaos.py",
    "e2e/test_killed_for_real.py",
    "contract/test_cluster.py",
    "e2e/test_cutover_killed_for_real.py",
    "e2e/test_swarm_site.py",
    "integration/test_masters_roll.py",
    "e2e/test_evicted_key.py",
    "e2e/test_blue_green_quick.py",
    "e2e/test_memory.py",
    "e2e/test_refusals_at_the_site.py",
)
"""Files that wait minutes for real clusters. One worker takes a whole file: begun last, they would keep one waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the others keep their order."""
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}

    def place_of(item: pytest.Item) -> int:
        return places.get("/".join(item.path.parts[-2:]), len(places))

    items.sort(key=place_of)
