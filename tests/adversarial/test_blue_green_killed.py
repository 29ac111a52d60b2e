"""A blue-green install is killed at every touch of its site, and typed again: it goes on, or it went back rightly.

Ends well means: traffic is on one side and a reboot brings the same; its nodes run the signed digest; every
acknowledged write is there; nothing was cut over with a hold running, restarted while it served or committed before it
was well for the whole window; every step of a run has exactly one "done"; the chain holds.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from teraferry.bundles.errors import TeraFerryError
from tests.fakes import typed
from tests.fakes.pair_run import PairSite
from tests.fakes.rollout_run import Kit
from tests.fakes.rollout_site import OLD, Killed, Life

LOOKS = (*typed.LOOKS, "switch observe")
AFTER_CUTOVER = "hold green: after"


def kill_points(touches: list[str]) -> list[int]:
    return typed.kill_points(touches, looks=LOOKS)


def make(program: Kit, **more: object) -> PairSite:
    return PairSite(program, has_key=True, **more)  # type: ignore[arg-type]


def touches_of(site: PairSite) -> list[str]:
    life = Life()
    site.install(life)
    assert site.problems() == []
    return life.touches


@pytest.mark.parametrize("writers", ["two", "one"])
def test_kill_points_are_every_effect_of_an_install(program: Kit, writers: str) -> None:
    touches = touches_of(make(program, writers=writers))
    tried = {touches[number - 1] for number in kill_points(touches)}

    effects = ["set_up", "stop green-1", "select green-2", "start green-2", "hold green", "renew", "commit green"]
    effects += ["journal run-started", "journal intent switch_virtual_ip", "journal done monitor_stability"]
    effects += ["sync blue"] + (["hold writes", "promote green", "release writes"] if writers == "one" else [])
    assert {f"{effect}: after" for effect in effects} <= tried
    assert "journal intent commit_switch: torn" in tried


@pytest.mark.parametrize(
    ("writers", "has_dead_man", "between_seconds"),
    [
        pytest.param("two", True, 60.0, id="two-later"),
        pytest.param("one", True, 0.0, id="one-at-once"),
        pytest.param("two", False, 0.0, id="two-without-dead-man-at-once"),
        pytest.param("one", False, 60.0, id="one-without-dead-man-later"),
    ],
)
def test_install_killed_anywhere_ends_well_when_typed_again(
    program: Kit, writers: str, has_dead_man: bool, between_seconds: float
) -> None:
    failures = {}
    touches = touches_of(make(program, writers=writers, has_dead_man=has_dead_man))
    for kill_at in kill_points(touches):
        site = make(program, writers=writers, has_dead_man=has_dead_man)
        site.killed(kill_at)
        site.between_seconds = between_seconds
        try:
            site.install()
            problems = site.problems()
        except TeraFerryError as error:
            problems = [f"{error.exit_status} {error.reference}: {error.message}"]
        if problems:
            failures[f"{kill_at} {touches[kill_at - 1]}"] = problems

    assert failures == {}


@pytest.mark.parametrize("fault", ["error", "silent"])
@pytest.mark.parametrize("writers", ["two", "one"])
def test_way_back_killed_anywhere_ends_on_blue(program: Kit, writers: str, fault: str) -> None:
    def broken() -> PairSite:
        site = make(program, writers=writers)
        site.world.at = {AFTER_CUTOVER: lambda: site.world.health.update(green=fault)}
        return site

    life = Life()
    with pytest.raises(TeraFerryError) as caught:
        broken().install(life)
    assert caught.value.exit_status == 50
    first = life.touches.index(AFTER_CUTOVER)
    failures = {}
    for kill_at in [number for number in kill_points(life.touches) if number > first]:
        site, status = broken(), 0
        site.killed(kill_at)
        try:
            site.install()
        except TeraFerryError as error:
            status = error.exit_status
        problems = site.problems(standing="blue", digest=OLD)
        if status != 50 or problems:
            failures[f"{kill_at} {life.touches[kill_at - 1]}"] = [status, *problems]

    assert failures == {}


# ---- rollback by hand


def half_done(program: Kit, writers: str) -> PairSite:
    """Return a site whose installer was killed in its window, before the dead-man ended that."""
    site = make(program, writers=writers, has_dead_man=False)
    site.killed_at("renew: after", times=3)
    return site


def committed(program: Kit, writers: str) -> PairSite:
    site = make(program, writers=writers)
    site.install()
    return site


def recovering(program: Kit, writers: str) -> PairSite:
    """Return a site whose green died with writes on it, and is back."""
    site = make(program, writers=writers)
    site.world.replicates = False
    seen = iter(range(1, 1000))
    site.world.at = {"health green": lambda: site.world.kill("green") if next(seen) == 4 else None}
    with pytest.raises(TeraFerryError):
        site.install()
    site.world.at = {}
    site.world.revive("green")
    return site


@pytest.mark.parametrize(
    ("begin", "writers"),
    [(half_done, "two"), (half_done, "one"), (committed, "two"), (committed, "one"), (recovering, "two")],
)
def test_rollback_killed_anywhere_ends_well_when_typed_again(
    program: Kit, begin: Callable[[Kit, str], PairSite], writers: str
) -> None:
    life = Life()
    first = begin(program, writers)
    first.rollback(life)
    assert first.problems(standing="blue", digest=OLD) == []
    failures = {}
    for kill_at in kill_points(life.touches):
        site = begin(program, writers)
        with pytest.raises(Killed):
            site.rollback(Life(kill_at))
        try:
            site.rollback()
            problems = site.problems(standing="blue", digest=OLD)
        except TeraFerryError as error:
            problems = site.problems(standing="blue", digest=OLD)
            if error.reference != "nothing-to-roll-back":  # else it had come to its end
                problems.append(f"{error.exit_status} {error.reference}: {error.message}")
        if problems:
            failures[f"{kill_at} {life.touches[kill_at - 1]}"] = problems

    assert failures == {}
