"""What the tests of rollouts in memory share: two signed releases on disk."""

from __future__ import annotations

import pytest

from tests.fakes.rollout_run import Kit, make_kit


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """One release."""
    return make_kit(tmp_path_factory.mktemp("kit"), "4.2.0")


@pytest.fixture(scope="session")
def later_kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """The release after it."""
    return make_kit(tmp_path_factory.mktemp("later"), "4.2.1")
