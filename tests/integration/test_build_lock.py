"""A build packs what the lock names, and nothing whose text would leave the site."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from teraferry.bundles.digest import digest_of
from tests.lab.builds import (
    RELEASE,
    file_project,
    file_table,
    full_project,
    image_table,
    locked,
    teraferry,
    write_recipe,
)
from tests.lab.images import make_oci_layout, simple_layers


def test_lock_pins_images_and_files(tmp_path: Path) -> None:
    project = full_project(tmp_path)

    answer = teraferry("lock", project)

    lock = json.loads((project / "release.lock.json").read_bytes())
    assert [image["name"] for image in lock["images"]] == [
        f"terachat/{n}" for n in ("api", "multi", "arm", "web", "new")
    ]
    assert lock["files"][0]["digest"] == digest_of((project / "weed").read_bytes())
    assert len(answer.result["pinned"]) == 7


def test_lock_of_the_same_sources_has_the_same_bytes(tmp_path: Path) -> None:
    one, two = locked(full_project(tmp_path / "one")), locked(full_project(tmp_path / "two"))

    assert (one / "release.lock.json").read_bytes() == (two / "release.lock.json").read_bytes()


def test_build_without_a_lock_is_refused_and_says_what_to_type(tmp_path: Path) -> None:
    answer = teraferry("build", file_project(tmp_path / "project"), "-o", tmp_path / "kit")

    assert (answer.status, answer.result["reference"]) == (30, "lock-missing")
    assert "teraferry lock" in answer.result["hint"]
    assert not (tmp_path / "kit").exists()


def test_build_refuses_a_tag_that_moved_since_the_lock(tmp_path: Path) -> None:
    project = write_recipe(tmp_path / "project", RELEASE + image_table("terachat/api", "oci:images:api"))
    before = make_oci_layout(project / "images", "api")
    locked(project)
    after = make_oci_layout(project / "images", "api", simple_layers(1, seed=8))

    answer = teraferry("build", project, "-o", tmp_path / "kit")

    assert (answer.status, answer.result["reference"]) == (30, "lock-stale")
    assert (answer.result["found"], answer.result["expected"]) == (after, before)


@pytest.mark.parametrize("content", [b"HELLO", b"hello, longer"])
def test_build_refuses_a_file_that_changed_since_the_lock(tmp_path: Path, content: bytes) -> None:
    project = locked(file_project(tmp_path / "project", b"hello"))
    (project / "hello.bin").write_bytes(content)

    answer = teraferry("build", project, "-o", tmp_path / "kit")

    assert (answer.status, answer.result["reference"]) == (30, "lock-stale")
    assert "hello.bin" in answer.result["source"]
    assert not (tmp_path / "kit").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("4.2.0", "4.2.1"),
        lambda text: text.replace('name = "hello.bin"', 'name = "hello2.bin"'),
        lambda text: text + file_table("more", "hello.bin"),
        lambda text: text.replace('source = "hello.bin"', 'source = "./hello.bin"'),
    ],
)
def test_build_refuses_a_lock_of_another_recipe(tmp_path: Path, change: Any) -> None:
    project = locked(file_project(tmp_path / "project"))
    recipe = project / "release.toml"
    recipe.write_text(change(recipe.read_text()))

    answer = teraferry("build", project, "-o", tmp_path / "kit")

    assert (answer.status, answer.result["reference"]) == (30, "lock-stale")


def test_comment_in_the_recipe_leaves_the_lock_valid(tmp_path: Path) -> None:
    project = locked(file_project(tmp_path / "project"))
    recipe = project / "release.toml"
    recipe.write_text("# a remark\n" + recipe.read_text())

    assert teraferry("build", project, "-o", tmp_path / "kit").status == 0


@pytest.mark.parametrize("command", ["lock", "build"])
def test_reference_that_would_leave_the_site_stops_lock_and_build(tmp_path: Path, command: str) -> None:
    project = write_recipe(tmp_path / "project", RELEASE + file_table("compose.yml", "compose.yml"))
    (project / "compose.yml").write_text("services:\n  a:\n    image: ${REGISTRY}/terachat/api:4.2.0\n")
    if command == "build":
        locked(project)
    (project / "compose.yml").write_text("services:\n  a:\n    image: docker.io/library/nginx:1.25\n ")
    arguments = ["-o", str(tmp_path / "kit")] if command == "build" else []

    answer = teraferry(command, project, *arguments)

    if command == "build":  # The lock notices first; the reference is found when it is renewed.
        assert answer.result["reference"] == "lock-stale"
        answer = teraferry("lock", project)
    assert (answer.status, answer.result["reference"]) == (30, "reference-leaves-site")
    assert (Path(answer.result["file"]).name, answer.result["line"]) == ("compose.yml", 3)


def test_reference_in_a_locked_file_stops_the_build(tmp_path: Path) -> None:
    """A lock written by hand, or by an older version with fewer rules, is no way round."""
    project = locked(file_project(tmp_path / "project", b"image: nginx\n"))
    for name in ("release.toml", "release.lock.json"):
        text = (project / name).read_text()
        (project / name).write_text(
            text.replace('name = "hello.bin"', 'name = "a.yml"').replace('"name": "hello.bin"', '"name": "a.yml"')
        )

    answer = teraferry("build", project, "-o", tmp_path / "kit")

    assert (answer.status, answer.result["reference"]) == (30, "reference-leaves-site")
