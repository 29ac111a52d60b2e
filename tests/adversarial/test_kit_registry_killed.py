"""An installer is killed before each of its effects while it sets a registry up, upgrades it or takes it back.

Typed again, it always ends well: the wanted program serves, no key, certificate or password that was there was
replaced, nothing half written is left, nobody else can read a secret, and the journal's chain holds. The program is
Debian's docker-registry; the kills are real.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from teraferry.bundles.digest import digest_of, hex_of
from teraferry.bundles.errors import RolledBackError
from teraferry.installer.kit_registry.generation import SERVE
from teraferry.installer.verify import VerifiedBundle
from tests.lab.kit_registry import ADDRESS, PROGRAMS, KitRegistryLab, KitSite, kits_in
from tests.lab.tripwire import Tripwire, effects_of, kill_before

EVERY = int(os.environ.get("TERAFERRY_REGISTRY_KILL_EVERY", "15"))
"""The suite tries one effect of so many; ``scripts/prove registry-kills`` tries each."""

SCRIPTS = ("mv -f", "ln -sfn", "setsid", "kill $(cat")
"""What is in the commands that change something: upload, selection, start, stop."""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, VerifiedBundle]:
    kits = kits_in(tmp_path_factory.getbasetemp() / "registry-kits")
    return {name: kits.bundle(name) for name in PROGRAMS}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KitRegistryLab]:
    with KitRegistryLab(tmp_path_factory.mktemp("lab")) as opened:
        yield opened


class Trial:
    """One site, and what an installer that is killed does there."""

    def __init__(self, lab: KitRegistryLab, folder: Path) -> None:
        self.site = KitSite(lab, folder, host=ADDRESS)
        self.wire = Tripwire(self.site.folder, SCRIPTS)

    def bring_up(self, bundle: VerifiedBundle) -> str:
        """Bring it up and return which status that ended with."""
        try:
            self.site.bring_up(bundle)
        except RolledBackError as error:
            return error.reference
        return "ok"

    def forget(self, bundle: VerifiedBundle) -> None:
        """Have the site as it was before the program of ``bundle`` came to it."""
        (program,) = (file for file in bundle.manifest.files if file.name == "bin/registry")
        Path(f"{self.site.program}.d", hex_of(program.digest)).unlink(missing_ok=True)

    def secrets(self) -> dict[Path, bytes]:
        """Return what is there of what nobody may replace."""
        site = self.site
        places = [site.ca, site.password, *(site.settings / name for name in ("ca.key", "server.key", "server.pem"))]
        return {place: place.read_bytes() for place in places if place.exists()}

    def problems(self, before: dict[Path, bytes], program: str) -> list[str]:
        """Return what is not as it must be, once the same was typed again."""
        site, found = self.site, []
        if site.running() != PROGRAMS[program]:
            found.append("another program runs")
        found += [f"{path.name} was replaced" for path, content in before.items() if path.read_bytes() != content]
        found += [f"{path} is left" for path in site.folder.rglob("*.part*")]
        private = [site.password, *(path for path in site.settings.rglob("*") if path.name not in ("server.pem",))]
        found += [f"{path} is open" for path in private if path.is_file() and path.stat().st_mode & 0o077]
        if len(self.secrets()) != 5:
            found.append("not everything was made")
        proven = [entry.facts["program"] for entry in site.entries("done") if entry.step == SERVE]
        if proven[-1:] != [digest_of(PROGRAMS[program])]:  # and reading it raises where its chain is broken
            found.append("the journal does not say that it serves")
        return found


def kill_points(what: str, effects: list[str]) -> list[int]:
    points = list(range(1, len(effects) + 1))[::EVERY]
    if report := os.environ.get("TERAFERRY_REGISTRY_KILL_REPORT"):
        with Path(report).open("a") as file:
            file.write(f"{what} {len(points)}\n")
    return points


def test_first_registry_killed_anywhere_ends_well_when_typed_again(
    lab: KitRegistryLab, bundles: dict[str, VerifiedBundle], tmp_path: Path
) -> None:
    whole = Trial(lab, tmp_path / "whole")
    effects = effects_of(lambda: whole.bring_up(bundles["old"]), whole.wire)
    whole.site.end()
    assert {"os.link ca.key", "os.link registry.password", "run setsid", "write journal.jsonl"} <= set(effects)

    failures = {}
    for number in kill_points("set-up", effects):
        trial = Trial(lab, tmp_path / f"kill-{number}")
        kill_before(lambda trial=trial: trial.bring_up(bundles["old"]), trial.wire, effect=number)  # type: ignore[misc]
        before = trial.secrets()
        assert trial.bring_up(bundles["old"]) == "ok"
        if problems := trial.problems(before, "old"):
            failures[f"{number}: {effects[number - 1]}"] = problems
        trial.site.end()

    assert failures == {}


@pytest.mark.parametrize(("kit", "outcome"), [("new", "ok"), ("broken", "registry-rolled-back")])
def test_upgrade_killed_anywhere_ends_well_when_typed_again(
    lab: KitRegistryLab, bundles: dict[str, VerifiedBundle], tmp_path: Path, kit: str, outcome: str
) -> None:
    trial = Trial(lab, tmp_path / "site")
    try:
        trial.bring_up(bundles["old"])
        before = trial.secrets()
        effects = effects_of(lambda: trial.bring_up(bundles[kit]), trial.wire)
        assert effects.count("run setsid") == (2 if kit == "broken" else 1)

        failures = {}
        for number in kill_points(f"upgrade to {kit}", effects):
            trial.bring_up(bundles["old"])
            trial.forget(bundles[kit])
            kill_before(lambda: trial.bring_up(bundles[kit]), trial.wire, effect=number)
            problems = [] if trial.bring_up(bundles[kit]) == outcome else ["another outcome"]
            problems += trial.problems(before, "old" if kit == "broken" else kit)
            if problems:
                failures[f"{number}: {effects[number - 1]}"] = problems
        assert failures == {}
    finally:
        trial.site.end()
