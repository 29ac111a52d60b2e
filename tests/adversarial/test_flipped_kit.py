"""Attack: one flipped bit anywhere on a medium. 2,000 of them, some in every file that a site reads.

The short form of ``scripts/prove flips``, which flips every bit of the metadata, the index and the signatures.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from teraferry.bundles import layout
from tests.prove.flips import JUDGES, Unit, flip_all, kit_of, make_kit, signed_bundle

METADATA = ("2.root.json", "targets.json", "snapshot.json", "timestamp.json")
FLIPS = {"metadata": 800, "signatures": 240, "index": 300, "bundle": 500, "files": 160}
"""By part; divided among its files."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flips") / "site"
    make_kit(folder)
    return folder


def units(folder: Path, part: str) -> list[Unit]:
    """Return the flips of a part: drawn at random in each of its files, or in the range of the index."""
    kit, bundle = kit_of(folder), signed_bundle(folder)
    if part == "index":
        start, end = bundle.index_offset_bytes * 8, bundle.length_bytes * 8
        return [Unit(part, bundle.name, (start, end, (end - start) // FLIPS[part]), "bundle")]
    files, judge = {
        "metadata": ([f"metadata/{name}" for name in METADATA], "metadata"),
        "signatures": (sorted(path.name for path in kit.iterdir() if path.name.startswith(layout.CHECKSUMS)), "kit"),
        "bundle": ([bundle.name], "bundle"),
        "files": ([layout.START_PAGE, layout.INSTALLER], "kit"),
    }[part]
    return [Unit(part, file, (number, FLIPS[part] // len(files), -1), judge) for number, file in enumerate(files)]


@pytest.mark.parametrize("part", FLIPS)
def test_a_flipped_bit_in_any_file_of_a_kit_is_refused(folder: Path, part: str) -> None:
    found = [flip_all(folder, unit) for unit in units(folder, part)]

    assert sum(count for one in found for count in one.values()) >= FLIPS[part]
    assert not [end for one in found for end in one if end.startswith(("accepted", "traceback"))]


def test_the_kit_is_accepted_as_it_is(folder: Path) -> None:
    # Or flips would prove nothing.
    for judge in JUDGES.values():
        judge(folder, kit_of(folder))
    assert sum(FLIPS.values()) == 2000
