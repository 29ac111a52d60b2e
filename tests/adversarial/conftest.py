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


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """A release of one program and no image: what is loaded is not what the test is about."""
    return make_kit(tmp_path_factory.mktemp("program"), "4.2.0", has_images=False)


@pytest.fixture(scope="session")
def later_program(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """The release after it."""
    return make_kit(tmp_path_factory.mktemp("later-program"), "4.2.1", has_images=False)
