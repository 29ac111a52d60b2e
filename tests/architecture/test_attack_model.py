"""The attack model claims nothing that no test proves: what it names is there."""

from __future__ import annotations

import re

import pytest

from tests.architecture.source_tree import REPOSITORY

PAGE = REPOSITORY / "docs" / "attack-model.md"
NAMED = re.compile(r"`((?:bundles|keys|builder|installer|tests|scripts)/[a-z0-9_/.-]+)`")

ATTACKERS = (
    *(
        "thief of a medium",
        "hostile courier",
        "lying device",
        "evil installer on the stick",
        "stale mirror",
        "stranger",
    ),
    *("careless or bought signer", "bought release desk", "insider at the site", "wrong or evil clock", "power cut"),
)


def named_paths() -> list[str]:
    return NAMED.findall(PAGE.read_text(encoding="utf-8"))


def test_every_path_of_the_attack_model_exists() -> None:
    missing = sorted(path for path in set(named_paths()) if not (REPOSITORY / path).exists())
    assert not missing, "\n".join(missing)


def test_every_attack_names_a_test() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| **")]
    unproven = [row for row in rows if not re.search(r"`tests/[a-z0-9_/]+\.py`", row)]
    assert rows
    assert not unproven, "\n".join(unproven)


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_every_attacker_has_a_row_and_an_adversarial_test(attacker: str) -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| **{attacker}**")]
    assert len(rows) == 1
    assert re.search(r"`tests/adversarial/test_[a-z0-9_]+\.py`", rows[0])
    assert rows[0].count("|") == 6, "has, tries, what stops it, proof"
