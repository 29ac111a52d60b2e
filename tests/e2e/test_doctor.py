"""``doctor`` at a living site: all well, and told apart when one thing is not."""

from __future__ import annotations

import pytest

from tests.e2e.room import Room
from tests.lab.secops import Answer

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("site")]


def faults(answer: Answer) -> list[str]:
    return [row["name"] for row in answer.result["checks"] if not row["ok"]]


def test_doctor_finds_a_living_site_well_and_changes_nothing(room: Room) -> None:
    before = room.digests()

    answer = room.type("doctor")

    assert (answer.status, faults(answer)) == (0, []), answer.stderr
    names = [row["name"] for row in answer.result["checks"]]
    assert names[:6] == ["tier", "trust", "clock", "journal", "registry", "cluster"]
    assert all(name.startswith("node ") for name in names[6:])
    assert room.digests() == before
    # The lab's certificate ends tomorrow, long before the next visit: told, and no fault.
    assert answer.result["warnings"] == ["registry"]
    assert "warn registry" in answer.stderr


def test_doctor_names_the_one_thing_that_is_wrong_and_its_fix(room: Room) -> None:
    site = room.write_site_file("no-registry.toml", lambda text: text.replace(":5000", ":5001"))

    answer = room.type("--site", site, "doctor")

    assert (answer.status, answer.result["reference"], faults(answer)) == (40, "doctor-found-faults", ["registry"])
    assert all(row["fix"] for row in answer.result["checks"] if not row["ok"])
