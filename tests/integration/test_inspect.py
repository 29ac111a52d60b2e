"""A bundle that nobody signed yet is described from its own bytes, and only if all of them agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from teraferry.builder.describe import describe_bundle
from teraferry.bundles.digest import digest_of, hex_of
from teraferry.bundles.errors import BundleError
from tests.lab.builds import (
    file_project,
    full_kit,
    full_project,
    locked,
    teraferry,
)
from tests.lab.images import random_bytes


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kit with an image of every kind and two files; read only."""
    return full_kit(tmp_path_factory.mktemp("full"))


def test_description_of_a_bundle_agrees_with_the_build(tmp_path: Path) -> None:
    project = locked(full_project(tmp_path / "project"))
    answer = teraferry("build", project, "-o", tmp_path / "kit")

    found = describe_bundle(Path(answer.result["bundle"]))

    content = Path(answer.result["bundle"]).read_bytes()
    assert (found.length_bytes, hex_of(found.digest)) == (answer.result["size_bytes"], answer.result["sha256"])
    assert found.index_digest == digest_of(content[found.index_offset_bytes :])


def test_blob_that_imitates_the_index_is_not_taken_for_it(tmp_path: Path) -> None:
    first = locked(file_project(tmp_path / "first", random_bytes(100_000, seed=1)))
    teraferry("build", first, "-o", tmp_path / "one")
    bundle = tmp_path / "one" / "terachat-4.2.0.tar.gz"
    real = bundle.read_bytes()
    imitation = real[describe_bundle(bundle).index_offset_bytes :]
    second = locked(file_project(tmp_path / "second", random_bytes(200_000, seed=2) + imitation))
    teraferry("build", second, "-o", tmp_path / "two")

    found = describe_bundle(tmp_path / "two" / "terachat-4.2.0.tar.gz")

    content = (tmp_path / "two" / "terachat-4.2.0.tar.gz").read_bytes()
    assert content.count(imitation[:40]) == 2
    assert found.index_offset_bytes == content.rfind(imitation[:40])


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_bundle_that_changed_since_it_was_built_is_not_described(tmp_path: Path, place: float) -> None:
    project = locked(file_project(tmp_path / "project", random_bytes(9_000_000, seed=1)))
    teraferry("build", project, "-o", tmp_path / "kit")
    bundle = tmp_path / "kit" / "terachat-4.2.0.tar.gz"
    content = bytearray(bundle.read_bytes())
    content[int(len(content) * place)] ^= 1
    bundle.write_bytes(content)

    with pytest.raises(BundleError) as caught:
        describe_bundle(bundle)

    assert caught.value.exit_status == 10


def test_inspect_shows_release_images_files_and_sizes(kit: Path) -> None:
    answer = teraferry("inspect", kit)

    assert (answer.result["product"], answer.result["version"]) == ("terachat", "4.2.0")
    assert answer.result["size_bytes"] == (kit / "terachat-4.2.0.tar.gz").stat().st_size
    assert answer.result["images"][0]["name"] == "terachat/api:4.2.0"
    file = answer.result["files"][0]
    assert (file["name"], file["size_bytes"], file["mode"]) == ("bin/weed", 9_000_000, "0755")
    assert "signers" not in answer.result


def test_inspect_takes_the_bundle_file_as_well(kit: Path) -> None:
    assert teraferry("inspect", kit / "terachat-4.2.0.tar.gz").result["product"] == "terachat"


def test_inspect_shows_who_claims_to_have_signed(tmp_path: Path) -> None:
    project = locked(file_project(tmp_path / "project"))
    teraferry("build", project, "-o", tmp_path / "kit")
    (tmp_path / "kit/metadata").mkdir()
    (tmp_path / "kit/metadata/targets.json").write_text('{"signatures": [{"keyid": "ab", "sig": "00"}]}')

    assert teraferry("inspect", tmp_path / "kit").result["signers"] == ["ab"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"signatures": [1]}', "[" * 100_000])
def test_inspect_refuses_metadata_that_is_none(tmp_path: Path, content: str) -> None:
    project = locked(file_project(tmp_path / "project"))
    teraferry("build", project, "-o", tmp_path / "kit")
    (tmp_path / "kit/metadata").mkdir()
    (tmp_path / "kit/metadata/targets.json").write_text(content)

    answer = teraferry("inspect", tmp_path / "kit")

    assert (answer.status, answer.result["reference"]) == (24, "metadata-unreadable")
