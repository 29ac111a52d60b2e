"""What a proof remembers: an interrupted one goes on, one about other code starts again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.prove.lives import judge
from tests.prove.record import Outcome, Record


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    return {"cache": tmp_path / "cache", "pages": tmp_path / "pages"}


def test_an_interrupted_proof_goes_on_after_its_last_finished_piece(places: dict[str, Path]) -> None:
    Record("p", {"n": 2}, **places).open().done("one", {"flips": 1})

    again = Record("p", {"n": 2}, **places).open()

    assert "one" in again
    assert again["one"] == {"flips": 1}


def test_pieces_with_other_settings_are_not_taken_over(places: dict[str, Path]) -> None:
    Record("p", {"n": 2}, **places).open().done("one", {})

    assert Record("p", {"n": 3}, **places).open().is_new


def test_pieces_of_other_code_are_not_taken_over(places: dict[str, Path]) -> None:
    Record("p", {}, **places).open().done("one", {})
    state = places["cache"] / "p.json"
    left = json.loads(state.read_bytes())
    left["key"]["source"] = "0" * 64
    state.write_text(json.dumps(left))

    assert Record("p", {}, **places).open().is_new


def test_a_finished_proof_leaves_its_page_and_starts_anew_the_next_time(places: dict[str, Path]) -> None:
    record = Record("p", {}, **places).open()
    record.done("one", {})

    record.publish(Outcome(held=False, said="1 accepted", counts={"flips": 8}))

    page = json.loads((places["pages"] / "p.json").read_bytes())
    assert (page["held"], page["said"], page["counts"]) == (False, "1 accepted", {"flips": 8})
    assert "**FAILED**" in (places["pages"] / "README.md").read_text()
    assert Record("p", {}, **places).open().is_new


def test_a_crash_proof_leaves_every_point_at_which_it_died(places: dict[str, Path]) -> None:
    counts = {"reads": 5}
    pieces = {
        "none": {"wrong": [], "deaths": [], "touches": ["a | append #1"], "counts": counts},
        "vol-1": {
            "wrong": ["2 reads failed"],
            "deaths": ["a | append #1", "b | rm #2"],
            "touches": [],
            "counts": counts,
        },
    }
    record = Record("p", {}, **places).open()

    record.publish(judge(pieces, {"none": "", "vol-1": "^a"}, crash_free="none", clients="reads"))

    matrix = (places["pages"] / "p.matrix.txt").read_text()
    assert "[none] 0 deaths; in the end: all right\n" in matrix
    assert "[vol-1] 2 deaths; in the end: 2 reads failed\na | append #1\nb | rm #2\n" in matrix
    assert "**FAILED**" in (places["pages"] / "README.md").read_text()
