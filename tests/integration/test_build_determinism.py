"""The same inputs give the same bundle, whoever builds it, where and when."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.builds import full_project, locked, teraferry


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of one plain build."""
    folder = tmp_path_factory.mktemp("reference")
    answer = teraferry("build", locked(full_project(folder / "a")), "-o", folder / "kit", "--jobs", "1")
    return str(answer.result["sha256"])


@pytest.mark.parametrize(
    ("jobs", "umask", "environment"),
    [
        ("4", 0o022, {}),
        ("1", 0o077, {"TZ": "Asia/Ho_Chi_Minh", "PYTHONHASHSEED": "1"}),
        ("4", 0o000, {"TZ": "America/St_Johns", "PYTHONHASHSEED": "4242", "LC_ALL": "C", "LANG": "C"}),
        ("3", 0o027, {"PYTHONOPTIMIZE": "2", "HOME": "/nonexistent", "USER": "someone"}),
    ],
)
def test_bundle_is_the_same_from_another_folder_zone_umask_seed_and_number_of_jobs(
    tmp_path: Path, reference: str, jobs: str, umask: int, environment: dict[str, str]
) -> None:
    project = locked(full_project(tmp_path / "another place"))

    answer = teraferry("build", project, "-o", tmp_path / "kit", "--jobs", jobs, environment=environment, umask=umask)

    assert answer.result.get("sha256") == reference, answer.stderr


def test_bundle_is_the_same_when_built_inside_the_project(tmp_path: Path, reference: str) -> None:
    project = locked(full_project(tmp_path / "p"))

    answer = teraferry("build", "-o", "../kit", folder=project)

    assert answer.result["sha256"] == reference


def test_bundle_is_the_same_on_another_day(tmp_path: Path, reference: str) -> None:
    project = locked(full_project(tmp_path / "p"))
    import os

    for path in project.rglob("*"):
        os.utime(path, (2_000_000_000, 2_000_000_000))

    assert teraferry("build", project, "-o", tmp_path / "kit").result["sha256"] == reference


def test_second_build_into_the_same_kit_gives_the_same_bundle(tmp_path: Path, reference: str) -> None:
    project = locked(full_project(tmp_path / "p"))

    digests = [teraferry("build", project, "-o", tmp_path / "kit").result["sha256"] for _ in range(2)]

    assert digests == [reference, reference]


def test_source_date_epoch_is_the_time_of_every_entry(tmp_path: Path, reference: str) -> None:
    project = locked(full_project(tmp_path / "p"))
    epoch = {"SOURCE_DATE_EPOCH": "1700000000"}

    one = teraferry("build", project, "-o", tmp_path / "one", environment=epoch).result["sha256"]
    two = teraferry("build", project, "-o", tmp_path / "two", environment=epoch).result["sha256"]

    assert one == two != reference


@pytest.mark.parametrize("epoch", ["yesterday", "-1", "1.5", "99999999999999999999"])
def test_source_date_epoch_that_is_no_time_is_refused(tmp_path: Path, epoch: str) -> None:
    project = locked(full_project(tmp_path / "p"))

    answer = teraferry("build", project, "-o", tmp_path / "kit", environment={"SOURCE_DATE_EPOCH": epoch})

    assert (answer.status, answer.result["reference"]) == (2, "source-date-epoch")
