"""Attack: any bytes at all. What a fuzzer once found worth trying is tried again, input by input.

``scripts/prove fuzz`` looks for new ones and leaves the best of them in ``tests/corpus``.
"""

from __future__ import annotations

import pytest

from tests.fuzz.keep import CORPUS, choose
from tests.fuzz.mutate import mutate
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS, Target

MAX_CORPUS_BYTES = 2_000_000
MAX_CORPUS_FILES = 400
MUTATIONS = 300  # of every seed


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs_are_refused_or_accepted_and_nothing_else(name: str) -> None:
    paths = sorted((CORPUS / name).iterdir())
    assert paths
    for path in paths:
        TARGETS[name].run(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_honest_inputs_are_accepted(name: str) -> None:
    # A target that refuses everything would prove nothing.
    assert all(TARGETS[name].run(content) for content in SEEDS[name]())


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_changed_with_their_structure_kept_are_refused_or_accepted(name: str) -> None:
    changed = [mutate(name, content, seed) for content in SEEDS[name]() for seed in range(MUTATIONS)]
    tried = [content for content in changed if content is not None]
    assert len(tried) > MUTATIONS / 2
    for content in tried:
        TARGETS[name].run(content)


def test_the_corpus_stays_small_and_has_no_strangers() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert {path.parent for path in files} == {CORPUS / name for name in TARGETS}
    assert len(files) < MAX_CORPUS_FILES
    assert sum(path.stat().st_size for path in files) < MAX_CORPUS_BYTES


def test_an_error_that_is_not_ours_gets_through_to_the_fuzzer() -> None:
    def fail(content: bytes) -> None:
        raise KeyError(content)

    with pytest.raises(KeyError):
        Target(fail, 10).run(b"x")


def test_an_input_is_kept_only_for_what_no_smaller_one_reaches() -> None:
    small, alike, other = b"name = 1", b"name = 2", b'[site]\nname = "a"\n'

    assert choose(TARGETS["site"], [other, alike, small], set()) == [small, other]
