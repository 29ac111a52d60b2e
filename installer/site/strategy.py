"""Which way a site is updated: decided first, from words alone, before anything is read or touched.

Pure: the environment is passed in. There is no default. A wrong guess would roll a
blue-green site node by node, or start a second cluster where there is no room for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from teraferry.bundles.errors import Fact, UsageError

Tier = Literal["1", "2"]

VARIABLE: Final = "DEPLOYMENT_TIER"
"""The environment variable that names the tier."""

_WORDS: Final[Mapping[str, Tier]] = {
    "1": "1",
    "tier1": "1",
    "sme": "1",
    "personal": "1",
    "2": "2",
    "tier2": "2",
    "enterprise": "2",
    "gov": "2",
}

_SHOWN_CHARACTERS: Final = 40  # of an unknown word: enough to know it again

# sudo drops the environment, so the variable has to stand after it.
_HINT: Final = (
    "Name the tier after sudo, which drops the environment: "
    f"sudo {VARIABLE}=1 teraferry-installer ... (1, tier1, sme, personal: rolling; "
    "2, tier2, enterprise, gov: blue-green)"
)


class Kind(Enum):
    """How the nodes of a site get their new version."""

    ROLLING = "rolling"  # tier 1: node after node
    BLUE_GREEN = "blue-green"  # tier 2: a second cluster, then one cutover


@dataclass(frozen=True, slots=True)
class Strategy:
    """The decision, and where it came from."""

    kind: Kind
    tier: Tier
    said: str  # one sentence for people and the journal


def parse_tier(word: str, *, source: str) -> Tier:
    """Return the tier that ``word`` means; case and surrounding blanks do not matter.

    Args:
        word: As somebody typed it.
        source: Where it stands, for the message.

    Raises:
        UsageError: ``tier-unknown``, 2.
    """
    tier = _WORDS.get(word.strip().casefold())
    if tier is None:
        raise UsageError(
            "tier-unknown",
            f"tier of {source}: {word[:_SHOWN_CHARACTERS]!r}, expected one of {' '.join(_WORDS)}",
            hint=_HINT,
            facts={"found": word[:_SHOWN_CHARACTERS], "expected": list(_WORDS), "source": source},
        )
    return tier


def parse_environment_tier(environment: Mapping[str, str]) -> Tier | None:
    """Return the tier that the environment names; None when the variable is absent.

    A variable that is set but empty is refused: somebody meant to say something.

    Raises:
        UsageError: ``tier-unknown``, 2.
    """
    word = environment.get(VARIABLE)
    return None if word is None else parse_tier(word, source=f"the environment variable {VARIABLE}")


def detect_deployment_strategy(environment: Mapping[str, str], site_tier: str | None) -> Strategy:
    """Return the strategy of this run, the environment first, then the site file.

    Args:
        environment: Of the process; only ``DEPLOYMENT_TIER`` is looked at.
        site_tier: ``tier`` of site.toml as it stands there; None when absent.

    Raises:
        UsageError: ``tier-missing``, ``tier-unknown`` or ``tier-conflict``, 2.
    """
    from_environment = parse_environment_tier(environment)
    from_site = None if site_tier is None else parse_tier(site_tier, source="the site file")
    if from_environment is not None and from_site is not None and from_environment != from_site:
        facts: dict[str, Fact] = {"environment": from_environment, "site": from_site}
        raise UsageError(
            "tier-conflict",
            f"tier: {from_environment} in the environment variable {VARIABLE}, {from_site} in the site file, "
            "expected the same in both",
            hint=f"Find out which is right. Then correct tier in the site file, or type: "
            f"sudo {VARIABLE}={from_site} teraferry-installer ...",
            facts=facts,
        )
    tier = from_environment or from_site
    if tier is None:
        raise UsageError(
            "tier-missing",
            f"tier: neither in the environment variable {VARIABLE} nor in the site file, expected it in one of them",
            hint=_HINT,
        )
    return Strategy(
        kind=Kind.ROLLING if tier == "1" else Kind.BLUE_GREEN,
        tier=tier,
        said=_said(tier, from_environment=from_environment is not None, from_site=from_site is not None),
    )


def _said(tier: Tier, *, from_environment: bool, from_site: bool) -> str:
    way = "rolling, node by node" if tier == "1" else "blue-green"
    if from_environment and from_site:
        source = f"the environment variable {VARIABLE} and the site file agree"
    elif from_environment:
        source = f"named by the environment variable {VARIABLE}; the site file names none"
    else:
        source = f"named by the site file; the environment variable {VARIABLE} is absent"
    return f"tier {tier} ({way}): {source}"
