"""A kit with an OpenPGP signature, at a living site whose site file demands one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.room import Room
from tests.lab.gnupg import GpgHome
from tests.lab.secops import Answer
from tests.lab.site import SITE_FILE

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("site")]

KEY_FILE = "openpgp.asc"


@pytest.fixture
def demanding(room: Room, openpgp: GpgHome) -> Iterator[Path]:
    """A site file that demands the release's OpenPGP key, and that key beside it."""
    key = openpgp.fingerprint("release")
    (room.site.etc / KEY_FILE).write_bytes(openpgp.export(key, armor=True))
    demand = f'[trust]\nrequire_openpgp = "{key}"\nopenpgp_key = "{SITE_FILE.parent / KEY_FILE}"\n'
    yield room.write_site_file("demanding.toml", lambda text: f"{text}\n{demand}")
    for name in ("demanding.toml", KEY_FILE):
        (room.site.etc / name).unlink()


def verify(room: Room, site: Path, there: Path) -> Answer:
    return room.type("--site", site, "verify", there)


def test_kit_with_the_demanded_signature_is_verified_and_the_key_named(
    room: Room, demanding: Path, openpgp: GpgHome
) -> None:
    with room.carried(room.kit) as there:
        answer = verify(room, demanding, there)

    assert (answer.status, answer.result["openpgp"]) == (0, openpgp.fingerprint("release")), answer.stderr
    assert any(event["event"] == "openpgp" for event in answer.events)


def test_same_kit_at_a_site_that_demands_nothing_is_verified_and_told_as_unchecked(room: Room) -> None:
    with room.carried(room.kit) as there:
        answer = room.type("verify", there)

    assert (answer.status, answer.result["openpgp"]) == (0, None), answer.stderr
    assert "SHA256SUMS.asc was not checked" in answer.stderr


@pytest.mark.parametrize("command", ["verify", "plan", "load", "install"])
def test_kit_without_the_demanded_signature_is_refused_by_every_command(
    room: Room, demanding: Path, command: str
) -> None:
    more = ["--yes"] if command == "install" else []
    with room.carried(room.kit, change=lambda folder: (folder / "SHA256SUMS.asc").unlink()) as there:
        room.refuses(20, "openpgp-missing", lambda: room.type("--site", demanding, command, there, *more))


def test_older_kit_that_never_had_one_is_refused_too(room: Room, demanding: Path) -> None:
    with room.carried(room.rolling) as there:
        room.refuses(20, "openpgp-missing", lambda: verify(room, demanding, there))


def test_doctor_looks_at_the_demanded_key(room: Room, demanding: Path, openpgp: GpgHome) -> None:
    answer = room.type("--site", demanding, "doctor")

    row = next(row for row in answer.result["checks"] if row["name"] == "openpgp")
    assert (row["ok"], row["warning"]) == (True, False), row
    assert openpgp.fingerprint("release") in str(row["found"])
