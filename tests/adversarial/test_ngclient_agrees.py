"""Attack: a repository that is wrong in some way. python-tuf's own client says what it thinks of it, and so do we.

A few hundred generated ones; ``scripts/prove oracle`` judges thousands.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st

from tests.fakes.small_repository import NOW, make_root, make_snapshot, make_targets, make_timestamp, signed_by
from tests.lab.repositories import ODDITIES, Case, Draft, Visit, cases
from tests.prove.oracle import DisagreementError, judge_case, judge_slice
from tests.prove.record import PAGES
from tests.prove.stricter import STRICTER, render

REPOSITORIES = 120
OF_EACH_KIND = 6


def test_our_verdicts_are_those_of_ngclient_or_stricter_in_a_known_way() -> None:
    found, digests = judge_slice(20_260_504, REPOSITORIES)

    assert len(digests) > REPOSITORIES * 0.7
    assert min(found["accepted"], found["refused"]) > REPOSITORIES * 0.1, found


@pytest.mark.parametrize("oddity", ODDITIES, ids=lambda oddity: oddity.__name__)
def test_whatever_is_wrong_with_a_repository_we_accept_nothing_that_ngclient_refuses(
    oddity: Callable[[Draft], None],
) -> None:
    _, digests = judge_slice(1, OF_EACH_KIND, strategy=cases(oddity))

    assert len(digests) >= OF_EACH_KIND / 2


def honest(**changes: bytes) -> Case:
    roles = {"root": (["root-1"], 1), "targets": (["release-1"], 1)}
    roles |= {role: (["desk-1"], 1) for role in ("snapshot", "timestamp")}
    root = signed_by(make_root(roles), "root-1").to_bytes()
    files = {
        "1.root.json": root,
        "targets.json": signed_by(make_targets(), "release-1").to_bytes(),
        "snapshot.json": signed_by(make_snapshot(), "desk-1").to_bytes(),
        "timestamp.json": signed_by(make_timestamp(), "desk-1").to_bytes(),
    }
    files |= {name.replace("_", "."): content for name, content in changes.items()}
    return Case(root, (Visit(files, NOW),), ())


def test_an_honest_repository_is_accepted_by_both(tmp_path: Path) -> None:
    assert judge_case(honest(), tmp_path) == "accepted"


def test_a_stricter_verdict_that_the_table_does_not_explain_fails(tmp_path: Path) -> None:
    targets = signed_by(make_targets(product="other"), "release-1").to_bytes()

    # The generator did not say that it changed the product, so nothing explains the refusal.
    with pytest.raises(DisagreementError, match="product-differs here, accepted there"):
        judge_case(honest(targets_json=targets), tmp_path)


def test_a_case_that_disagrees_ends_the_slice() -> None:
    targets = signed_by(make_targets(product="other"), "release-1").to_bytes()

    with pytest.raises(DisagreementError):
        judge_slice(1, 5, strategy=st.just(honest(targets_json=targets)))


def test_there_are_at_most_ten_kinds_of_stricter_verdict() -> None:
    assert len({one.name for one in STRICTER}) == len(STRICTER) <= 10


def test_the_committed_table_is_the_one_that_is_used() -> None:
    assert (PAGES / "stricter.md").read_text() == render()
