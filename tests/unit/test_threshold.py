"""A threshold counts keys, not signatures and not ids."""

from __future__ import annotations

import pytest

from teraferry.bundles.errors import TrustError
from teraferry.keys.threshold import Role, require_threshold

ROLE = Role("targets", {"a": "key-a", "b": "key-b", "c": "key-c"}, 2)


def refused(role: Role, signed: list[str], undecided: list[str]) -> TrustError:
    with pytest.raises(TrustError) as caught:
        require_threshold(role, signed, undecided)
    return caught.value


def test_enough_distinct_keys_are_named() -> None:
    assert require_threshold(ROLE, ["c", "a"]) == ["a", "c"]


@pytest.mark.parametrize("signed", [[], ["a"], ["a", "a"], ["a", "stranger"], ["stranger", "other"]])
def test_too_few_distinct_keys_of_the_role_are_refused(signed: list[str]) -> None:
    error = refused(ROLE, signed, [])

    assert (error.exit_status, error.reference, error.facts["need"]) == (20, "threshold-not-met", 2)


def test_one_key_under_two_ids_counts_once() -> None:
    role = Role("targets", {"a": "same", "b": "same"}, 2)

    assert refused(role, ["a", "b"], []).facts["have"] == 1


def test_what_cannot_be_checked_is_undecided_only_if_it_could_suffice() -> None:
    assert refused(ROLE, ["a"], ["b"]).exit_status == 23
    assert refused(ROLE, [], ["b"]).exit_status == 20
    assert refused(ROLE, ["a"], ["a"]).exit_status == 20


def test_what_cannot_be_checked_never_counts_nor_hinders() -> None:
    assert require_threshold(ROLE, ["a", "b"], ["c"]) == ["a", "b"]


@pytest.mark.parametrize("threshold", [0, -1])
def test_a_threshold_that_nobody_must_meet_cannot_exist(threshold: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Role("targets", {"a": "key-a"}, threshold)
