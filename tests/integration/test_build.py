"""From a folder with a recipe to an unsigned kit, by the commands a person types."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from teraferry.builder.describe import describe_bundle
from teraferry.bundles import layout
from teraferry.bundles.digest import digest_of, hex_of
from tests.lab.builds import (
    RELEASE,
    file_project,
    full_kit,
    image_table,
    locked,
    teraferry,
    write_recipe,
)
from tests.lab.images import make_docker_archive


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kit with an image of every kind and two files; read only."""
    return full_kit(tmp_path_factory.mktemp("full"))


def entries_of(bundle: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(bundle, "r:gz") as tar:
        for entry in tar:
            file = tar.extractfile(entry)
            found[entry.name] = file.read() if file else b""
    return found


def index_rows(kit: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(entries_of(kit / "terachat-4.2.0.tar.gz")["index.json"])["manifests"]
    return rows


def test_new_project_builds_as_it_is(tmp_path: Path) -> None:
    project = tmp_path / "release"
    (tmp_path / "installer").write_bytes(b"x")

    assert teraferry("new", project).status == 0
    assert teraferry("lock", project).status == 0
    answer = teraferry("build", project, "-o", tmp_path / "kit", "--installer", tmp_path / "installer")

    assert (answer.status, answer.result["command"], answer.result["reference"]) == (0, "build", "ok")


def test_new_never_overwrites_a_project(tmp_path: Path) -> None:
    (tmp_path / "release.toml").write_text("mine")

    answer = teraferry("new", tmp_path)

    assert (answer.status, answer.result["reference"]) == (2, "project-exists")
    assert (tmp_path / "release.toml").read_text() == "mine"
    assert not (tmp_path / "files").exists()


def test_smoke_tests_of_a_recipe_are_in_the_manifest_that_people_sign(tmp_path: Path) -> None:
    project = file_project(tmp_path / "project")
    with (project / "release.toml").open("a") as recipe:
        recipe.write('\n[[smoke]]\nhttp = "/health"\nexpect = { field = "status", equals = "ok" }\nrole = "app"\n')

    teraferry("build", locked(project), "-o", tmp_path / "kit")

    (smoke,) = describe_bundle(tmp_path / "kit" / "terachat-4.2.0.tar.gz").manifest.smoke
    assert (smoke.http, smoke.field, smoke.equals, smoke.role) == ("/health", "status", "ok", "app")


def test_build_says_what_it_made(tmp_path: Path) -> None:
    project = locked(file_project(tmp_path / "project"))

    answer = teraferry("build", project, "-o", tmp_path / "kit")

    bundle = tmp_path / "kit" / "terachat-4.2.0.tar.gz"
    assert answer.result["kit"] == str(tmp_path / "kit")
    assert answer.result["bundle"] == str(bundle)
    assert answer.result["size_bytes"] == bundle.stat().st_size
    assert answer.result["sha256"] == hex_of(digest_of(bundle.read_bytes()))
    assert answer.result["seconds"] > 0


def test_kit_holds_the_bundle_and_the_installer_and_nothing_else(kit: Path) -> None:
    assert sorted(item.name for item in kit.iterdir()) == ["terachat-4.2.0.tar.gz", "teraferry-installer"]
    assert (kit / "teraferry-installer").stat().st_mode & 0o777 == 0o755
    assert (kit / "terachat-4.2.0.tar.gz").stat().st_mode & 0o777 == 0o644


def test_entries_are_in_the_order_of_the_format_and_every_blob_is_its_digest(kit: Path) -> None:
    entries = entries_of(kit / "terachat-4.2.0.tar.gz")

    names = list(entries)
    blobs = names[4:-1]
    assert names[:4] == ["oci-layout", "index.json", "manifest.json", "bundle.json"]
    assert names[-1] == layout.INDEX
    assert blobs == sorted(blobs)
    assert all(name == layout.blob_name(digest_of(entries[name])) for name in blobs)


def test_images_are_named_and_artifacts_are_not(kit: Path) -> None:
    named = {row["annotations"]["org.opencontainers.image.ref.name"] for row in index_rows(kit) if "annotations" in row}
    unnamed = [row["artifactType"] for row in index_rows(kit) if "annotations" not in row]

    assert named == {f"terachat/{name}:4.2.0" for name in ("api", "arm", "multi", "new", "web")}
    assert unnamed == ["application/vnd.teraferry.file.v1"] * 2 + ["application/vnd.in-toto+json"]


def test_every_blob_that_a_document_names_is_in_the_bundle(kit: Path) -> None:
    entries = entries_of(kit / "terachat-4.2.0.tar.gz")
    waiting = [row["digest"] for row in json.loads(entries["index.json"])["manifests"]]
    seen: set[str] = set()
    while waiting:
        digest = waiting.pop()
        if digest in seen:
            continue
        seen.add(digest)
        content = entries[layout.blob_name(digest)]
        try:
            document = json.loads(content)
        except ValueError:
            continue
        if isinstance(document, dict):
            rows = [*document.get("manifests", []), *document.get("layers", []), document.get("config", {})]
            waiting += [row["digest"] for row in rows if "digest" in row]

    assert {layout.blob_name(digest) for digest in seen} == {name for name in entries if name.startswith("blobs/")}


def test_docker_manifest_has_one_platform_a_name(kit: Path) -> None:
    entries = entries_of(kit / "terachat-4.2.0.tar.gz")
    rows = json.loads(entries["manifest.json"])

    configs = {row["RepoTags"][0]: json.loads(entries[row["Config"]]) for row in rows}
    assert len(configs) == len(rows) == 5
    assert configs["terachat/multi:4.2.0"]["architecture"] == "amd64"
    assert configs["terachat/arm:4.2.0"]["architecture"] == "arm64"


def test_image_docker_cannot_read_is_not_shown_to_docker(tmp_path: Path) -> None:
    project = write_recipe(tmp_path / "project", RELEASE + image_table("web", "docker-archive:web.tar"))
    make_docker_archive(project / "web.tar", ["web:1"], [b"\x28\xb5\x2f\xfd as zstd begins"])
    teraferry("build", locked(project), "-o", tmp_path / "kit")

    entries = entries_of(tmp_path / "kit" / "terachat-4.2.0.tar.gz")

    assert "manifest.json" not in entries
    assert describe_bundle(tmp_path / "kit" / "terachat-4.2.0.tar.gz").manifest.images[0].name == "web"


def test_release_of_files_alone_has_no_docker_manifest(tmp_path: Path) -> None:
    project = locked(file_project(tmp_path / "project"))
    teraferry("build", project, "-o", tmp_path / "kit")

    assert "manifest.json" not in entries_of(tmp_path / "kit" / "terachat-4.2.0.tar.gz")


def test_manifest_names_images_platforms_and_files(kit: Path) -> None:
    manifest = describe_bundle(kit / "terachat-4.2.0.tar.gz").manifest

    images = {image.name: image for image in manifest.images}
    assert [platform.platform for platform in images["terachat/multi"].platforms] == [
        "linux/amd64",
        "linux/arm64/v8",
        "unknown/unknown",
    ]
    assert images["terachat/arm"].digest == images["terachat/multi"].platforms[1].manifest
    assert {file.name: file.mode for file in manifest.files} == {"bin/weed": "0755", "compose.yml": "0644"}


def test_provenance_names_sources_and_neither_clock_nor_host(kit: Path) -> None:
    entries = entries_of(kit / "terachat-4.2.0.tar.gz")
    row = next(row for row in index_rows(kit) if row.get("artifactType") == "application/vnd.in-toto+json")
    artifact = json.loads(entries[layout.blob_name(row["digest"])])
    statement = json.loads(entries[layout.blob_name(artifact["layers"][0]["digest"])])

    subjects = {item["name"]: "sha256:" + item["digest"]["sha256"] for item in statement["subject"]}
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert layout.blob_name(subjects["file bin/weed"]) in entries
    assert "image terachat/api" in subjects
    assert not {"startedOn", "finishedOn", "invocationId"} & set(json.dumps(statement).split('"'))


def test_build_without_an_installer_is_refused_with_the_freeze_hint(tmp_path: Path) -> None:
    project = locked(file_project(tmp_path / "project"))
    (project / "teraferry-installer").unlink()

    answer = teraferry("build", project, "-o", tmp_path / "kit")

    assert (answer.status, answer.result["reference"]) == (2, "installer-missing")
    assert "teraferry freeze" in answer.result["hint"]


def test_build_takes_the_installer_it_is_given(tmp_path: Path) -> None:
    project = locked(file_project(tmp_path / "project"))
    (tmp_path / "other").write_bytes(b"another installer")

    teraferry("build", project, "-o", tmp_path / "kit", "--installer", tmp_path / "other")

    assert (tmp_path / "kit" / "teraferry-installer").read_bytes() == b"another installer"


def test_image_of_plain_layers_from_docker_keeps_its_id_in_the_bundle(tmp_path: Path) -> None:
    project = write_recipe(tmp_path / "project", RELEASE + image_table("web", "docker-archive:web.tar"))
    image_id = make_docker_archive(project / "web.tar", ["web:1"])
    locked(project)
    teraferry("build", project, "-o", tmp_path / "kit")

    image = describe_bundle(tmp_path / "kit" / "terachat-4.2.0.tar.gz").manifest.images[0]

    assert image.platforms[0].config == image_id


@pytest.mark.parametrize("command", ["new", "lock", "build", "inspect"])
def test_help_of_every_command_has_an_example(command: str) -> None:
    from click.testing import CliRunner

    from teraferry.builder.cli import teraferry as group

    shown = CliRunner().invoke(group, [command, "--help"])

    assert shown.exit_code == 0
    assert f"Example: teraferry {command}" in shown.output
    assert "--json" in shown.output


@pytest.mark.parametrize("option", ["--volume-size", "--for"])
def test_option_that_is_not_delivered_yet_is_refused(tmp_path: Path, option: str) -> None:
    answer = teraferry("build", tmp_path, "-o", tmp_path / "kit", option, "4GiB")

    assert (answer.status, answer.result["reference"]) == (2, "usage")
