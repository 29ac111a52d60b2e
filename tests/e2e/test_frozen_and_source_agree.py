"""The frozen installer file answers as the source does: same status, reference, fields and hint, nothing changed.

The other end-to-end tests type their commands from source, which starts sooner; this one shows
that what they found holds for the file that a site runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.room import SOURCE, Room, bundle_of, flip, rewrite
from tests.lab.secops import Answer
from tests.lab.site import STATE

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("site")]

VOLATILE = {"seconds", "state_free_bytes"}
"""Result fields that differ from run to run."""


@dataclass(frozen=True)
class Case:
    """One command line; KIT stands for the kit's path."""

    words: tuple[str, ...]
    status: int
    change: Callable[[Path], object] = field(default=lambda kit: None)
    tier: str | None = "1"


def one_signature(kit: Path) -> None:
    def change(content: bytes) -> bytes:
        targets: dict[str, Any] = json.loads(content)
        targets["signatures"] = targets["signatures"][:1]
        return json.dumps(targets).encode()

    rewrite(kit / "metadata" / "targets.json", change)


CASES = {
    "verify": Case(("verify", "KIT"), 0),
    "plan": Case(("plan", "KIT"), 0),
    "status": Case(("status",), 0, tier=None),
    "trust-show": Case(("trust", "show"), 0, tier=None),
    "no-such-command": Case(("instal",), 2),
    "no-yes": Case(("install", "KIT"), 2),
    "tier-conflict": Case(("install", "KIT", "--yes"), 2, tier="2"),
    "flipped-byte": Case(("install", "KIT", "--yes"), 10, lambda kit: flip(bundle_of(kit), 5_000_000)),
    "no-bundle": Case(("install", "KIT", "--yes"), 10, lambda kit: bundle_of(kit).unlink()),
    "one-of-two": Case(("install", "KIT", "--yes"), 20, one_signature),
    "not-pinned": Case(("--state", "/var/lib/never-pinned", "install", "KIT", "--yes"), 24),
}


@pytest.fixture(scope="module")
def frozen(room: Room) -> tuple[str, ...]:
    """The installer file of the kit, at the site."""
    copy = room.site.state.parent / "teraferry-installer"
    copy.write_bytes((room.kit / "teraferry-installer").read_bytes())
    copy.chmod(0o700)
    return ("sh", f"{STATE.parent}/{copy.name}")


def said(answer: Answer) -> dict[str, Any]:
    return {name: value for name, value in answer.result.items() if name not in VOLATILE}


@pytest.mark.parametrize("name", CASES)
def test_frozen_file_and_source_say_the_same_and_change_nothing(room: Room, frozen: tuple[str, ...], name: str) -> None:
    case = CASES[name]
    with room.carried(room.kit, change=case.change) as there:
        words = [word.replace("KIT", str(there)) for word in case.words]
        before = room.digests()
        by_source = room.type(*words, tier=case.tier, installer=SOURCE)
        by_file = room.type(*words, tier=case.tier, installer=frozen)
        after = room.digests()

    assert by_source.status == by_file.status == case.status, by_file.stderr
    assert said(by_file) == said(by_source)
    assert after == before
