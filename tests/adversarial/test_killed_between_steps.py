"""An installer is killed at every touch of its site, and typed again: it always ends well.

Ends well means: every node runs the signed digest and would start it, health is 100 %, the
journal's chain holds, every step of a run has exactly one "done", nothing was tagged before all
bytes were there, and at no moment a shard was on line nowhere (safe) or shards of more than one
node were missing (quick). The journal is the real one, on disk; a kill also tears a line of it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teraferry.bundles.errors import OperatorNeededError, RefusedError, RolledBackError, TeraFerryError
from teraferry.installer.execute import DONE, STARTED
from tests.fakes.rollout_run import NODES, Kit, Site, make_kit
from tests.fakes.rollout_site import FILER, OLD, VOLUME_NODES, Life, address_of

SHARES = 10
MODES = ("safe", "quick")
READS = ("observe", "running", "selected", "staged", "serves", "has_blob", "get_manifest", "require_ready")
"""A kill at one of these leaves the world as the kill before it does, so it is not tried again."""


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return make_kit(tmp_path_factory.mktemp("kit"), "4.2.0")


@pytest.fixture(scope="module")
def later_kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return make_kit(tmp_path_factory.mktemp("later"), "4.2.1")


@pytest.fixture(scope="module")
def touches(kit: Kit, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Every touch of an install that nobody disturbs, by mode."""
    found = {}
    for mode in MODES:
        site = Site(tmp_path_factory.mktemp(mode) / "journal.jsonl", kit, mode=mode)
        life = Life()
        site.install(life)
        assert site.problems() == []
        found[mode] = life.touches
    return found


def kill_points(touches: list[str]) -> list[int]:
    return [number for number, what in enumerate(touches, start=1) if not what.startswith(READS)]


@pytest.mark.parametrize("mode", MODES)
def test_kill_points_are_every_effect_of_an_install(touches: dict[str, list[str]], mode: str) -> None:
    tried = {touches[mode][number - 1] for number in kill_points(touches[mode])}

    for effect in ("leave", "stop", "select", "start", "stage"):
        assert {f"{effect} {address_of('vol-1') if effect == 'leave' else 'vol-1'}: {when}" for when in ("before", "after")} <= tried
    assert mode == "quick" or f"drain {address_of('vol-1')}: copied 1.4" in tried
    assert len(tried) > 200


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("mode", MODES)
def test_install_killed_anywhere_ends_well_when_typed_again(
    tmp_path: Path, kit: Kit, touches: dict[str, list[str]], mode: str, share: int
) -> None:
    failures = {}
    for kill_at in kill_points(touches[mode])[share::SHARES]:
        site = Site(tmp_path / f"{kill_at}.jsonl", kit, mode=mode)
        site.killed(kill_at)
        try:
            site.install()
            problems = site.problems()
        except TeraFerryError as error:
            problems = [f"{error.exit_status} {error.reference}: {error.message}"]
        if problems:
            failures[f"{kill_at} {touches[mode][kill_at - 1]}"] = problems

    assert failures == {}
