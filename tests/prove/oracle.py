"""python-tuf's client as the oracle: thousands of generated repositories, judged by it and by us.

Held means: the same verdict on each, or a stricter one of ours that the table in ``tests.prove.stricter`` explains;
and where both accept, they believe the same lengths and digests of the same files.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.lab import repositories
from tests.lab.repositories import Case, cases
from tests.lab.verifiers import NgClient, OurSite, Verdict, lay_out
from tests.prove.record import PAGES, Outcome, Record
from tests.prove.stricter import STRICTER, render

REPOSITORIES = 5_000
SLICE = 500
MOST_SLICES = 30


def _generator_digest() -> str:
    return hashlib.sha256(Path(repositories.__file__).read_bytes()).hexdigest()[:16]


SETTINGS: dict[str, int | str] = {"repositories": REPOSITORIES, "slice": SLICE, "generator": _generator_digest()}


class DisagreementError(Exception):
    """The two verifiers disagree in a way that nothing explains."""


def prove(record: Record) -> Outcome:
    """Judge slices of repositories until enough different ones were judged."""
    total: Counter[str] = Counter()
    seen: set[str] = set()
    for number in range(MOST_SLICES):
        piece = f"{number}"
        if piece not in record:
            try:
                found, digests = judge_slice(number, SLICE)
            except DisagreementError as error:
                return Outcome(False, str(error), dict(total))
            record.done(piece, {"found": found, "digests": sorted(digests)})
            record.tell(f"slice {number}: {found}")
        total.update(record[piece]["found"])
        seen |= set(record[piece]["digests"])
        if len(seen) >= REPOSITORIES:
            break
    (PAGES / "stricter.md").write_text(render())
    counts = {"different repositories": len(seen), **dict(sorted(total.items()))}
    kinds = sum(name.startswith("stricter") for name in total)
    said = f"the same verdict, or one of {kinds} kinds of stricter verdict, on {len(seen)} repositories; 0 others"
    return Outcome(len(seen) >= REPOSITORIES, said, counts)


def judge_slice(
    number: int, count: int, *, strategy: st.SearchStrategy[Case] | None = None
) -> tuple[dict[str, int], set[str]]:
    """Judge ``count`` drawn repositories.

    Returns:
        How many came to which end, and a digest of each repository.

    Raises:
        DisagreementError: With the smallest repository that hypothesis finds to show it.
    """
    found: Counter[str] = Counter()
    digests: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:

        @seed(number)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(cases() if strategy is None else strategy)
        def judge(case: Case) -> None:
            end = judge_case(case, Path(folder))
            if case.digest not in digests:
                digests.add(case.digest)
                found[end] += 1

        judge()
    return dict(found), digests


def judge_case(case: Case, folder: Path) -> str:
    """Return how the last visit of a case ended: "accepted", "refused", or "stricter: " and the kind.

    Raises:
        DisagreementError: The verdicts differ and nothing explains it.
    """
    ours, theirs = OurSite(case.root), NgClient(case.root, folder / "cache")
    for number, visit in enumerate(case.visits, start=1):
        kit = lay_out(visit.files, folder / "kit")
        mine, other = ours.judge(kit, visit.now), theirs.judge(kit, visit.now)
        if number < len(case.visits) and not (mine.accepted and other.accepted):
            raise DisagreementError(f"{case}: a good visit is {mine.reference} here, {other.reference} there")
    return _compare(case, mine, other)


def _compare(case: Case, mine: Verdict, other: Verdict) -> str:
    if mine.accepted and not other.accepted:
        raise DisagreementError(f"{case}: accepted here, {other.reference} there")
    if mine.accepted:
        # What is named with a version it has seen it does not look at, and believes what it kept.
        if mine.files != other.files and not case.names_what_was_seen_before:
            raise DisagreementError(f"{case}: both accept, and believe other files")
        return "accepted"
    if not other.accepted:
        return "refused"
    for kind in STRICTER:
        if kind.explains(case, mine.reference):
            return f"stricter: {kind.name}"
    raise DisagreementError(f"{case}: {mine.reference} here, accepted there")
