"""DEPLOYMENT_TIER and site.toml's tier: which words count, and that nothing is guessed."""

from __future__ import annotations

import pytest

from teraferry.bundles.errors import UsageError
from teraferry.installer.site.strategy import Kind, detect_deployment_strategy


@pytest.mark.parametrize("word", ["1", "tier1", "sme", "personal", "TIER1", " sme ", "Personal\n"])
def test_rolling_is_chosen_by_each_word_of_tier_1(word: str) -> None:
    strategy = detect_deployment_strategy({"DEPLOYMENT_TIER": word}, None)

    assert (strategy.kind, strategy.tier) == (Kind.ROLLING, "1")


@pytest.mark.parametrize("word", ["2", "tier2", "enterprise", "gov", "Gov", "\tENTERPRISE"])
def test_blue_green_is_chosen_by_each_word_of_tier_2(word: str) -> None:
    strategy = detect_deployment_strategy({}, word)

    assert (strategy.kind, strategy.tier) == (Kind.BLUE_GREEN, "2")


@pytest.mark.parametrize("word", ["", " ", "0", "3", "12", "tier 1", "tier", "true", "sme personal", "１", "gov\0"])
def test_strategy_is_refused_when_the_word_is_unknown(word: str) -> None:
    with pytest.raises(UsageError) as in_environment:
        detect_deployment_strategy({"DEPLOYMENT_TIER": word}, None)
    with pytest.raises(UsageError) as in_file:
        detect_deployment_strategy({}, word)

    for refused in (in_environment.value, in_file.value):
        assert (refused.reference, refused.exit_status) == ("tier-unknown", 2)
        assert "sudo DEPLOYMENT_TIER=1 teraferry-installer" in refused.hint


def test_unknown_word_of_the_environment_is_refused_although_the_file_names_a_tier() -> None:
    with pytest.raises(UsageError) as refused:
        detect_deployment_strategy({"DEPLOYMENT_TIER": "three"}, "1")

    assert refused.value.reference == "tier-unknown"


def test_long_unknown_word_is_not_repeated_whole() -> None:
    with pytest.raises(UsageError) as refused:
        detect_deployment_strategy({"DEPLOYMENT_TIER": "x" * 10_000}, None)

    assert len(refused.value.message) < 300


def test_strategy_is_refused_when_nobody_names_a_tier() -> None:
    with pytest.raises(UsageError) as refused:
        detect_deployment_strategy({"PATH": "/bin", "deployment_tier": "1"}, None)

    assert (refused.value.reference, refused.value.exit_status) == ("tier-missing", 2)
    assert "sudo DEPLOYMENT_TIER=1 teraferry-installer" in refused.value.hint


def test_strategy_is_refused_when_environment_and_file_disagree() -> None:
    with pytest.raises(UsageError) as refused:
        detect_deployment_strategy({"DEPLOYMENT_TIER": "sme"}, "gov")

    assert (refused.value.reference, refused.value.exit_status) == ("tier-conflict", 2)
    assert (refused.value.facts["environment"], refused.value.facts["site"]) == ("1", "2")
    assert "sudo DEPLOYMENT_TIER=2" in refused.value.hint


@pytest.mark.parametrize(("environment", "site"), [("1", "tier1"), ("personal", "sme"), ("2", "enterprise")])
def test_two_words_of_one_tier_are_no_conflict(environment: str, site: str) -> None:
    strategy = detect_deployment_strategy({"DEPLOYMENT_TIER": environment}, site)

    assert "agree" in strategy.said


def test_tier_of_the_file_is_used_and_said_when_the_environment_names_none() -> None:
    assert "named by the site file" in detect_deployment_strategy({}, "1").said


def test_tier_of_the_environment_is_used_and_said_when_the_file_names_none() -> None:
    assert "named by the environment variable" in detect_deployment_strategy({"DEPLOYMENT_TIER": "1"}, None).said
