"""A build that fails, is killed or meets a full disk leaves nothing half-done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import pytest

from teraferry.builder import kit_folder
from teraferry.builder.kit_folder import claimed_kit, require_space, told_write_errors
from teraferry.builder.pack import fat_warning
from teraferry.bundles.errors import BuildError
from teraferry.bundles.limits import FAT_MAX_FILE_BYTES
from teraferry.bundles.system import durable
from teraferry.bundles.system.durable import durable_replace
from tests.lab.builds import RELEASE, file_project, file_table, image_table, locked, teraferry, write_recipe
from tests.lab.images import make_docker_archive, make_oci_layout, random_bytes

if TYPE_CHECKING:
    from _typeshed import TraceFunction


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def blob_paths(layout: Path) -> list[Path]:
    return sorted((layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)


def test_damaged_layer_stops_the_build_and_names_the_image(tmp_path: Path) -> None:
    project = write_recipe(tmp_path / "project", RELEASE + image_table("terachat/api", "oci:images:api"))
    make_oci_layout(project / "images", "api")
    locked(project)
    layer = blob_paths(project / "images")[-1]
    content = bytearray(layer.read_bytes())
    content[len(content) // 2] ^= 1
    layer.write_bytes(content)

    answer = teraferry("build", project, "-o", tmp_path / "kit")

    assert (answer.status, answer.result["reference"]) == (30, "source-blob-damaged")
    assert answer.result["source"] == "image terachat/api"
    assert not (tmp_path / "kit").exists()


def test_layer_that_is_not_what_the_docker_config_says_stops_the_build(tmp_path: Path) -> None:
    project = write_recipe(tmp_path / "project", RELEASE + image_table("web", "docker-archive:web.tar"))
    make_docker_archive(project / "web.tar", ["web:1"])
    locked(project)
    content = bytearray((project / "web.tar").read_bytes())
    content[4096] ^= 1  # inside the first layer's content
    (project / "web.tar").write_bytes(content)

    answer = teraferry("build", project, "-o", tmp_path / "kit")

    assert (answer.status, answer.result["reference"]) == (30, "source-blob-damaged")
    assert not (tmp_path / "kit").exists()


def test_failed_build_leaves_an_earlier_kit_as_it_was(tmp_path: Path) -> None:
    project = locked(file_project(tmp_path / "project"))
    teraferry("build", project, "-o", tmp_path / "kit")
    before = {path.name: path.read_bytes() for path in (tmp_path / "kit").iterdir()}
    (project / "hello.bin").write_bytes(b"HELLO")

    assert teraferry("build", project, "-o", tmp_path / "kit").status == 30

    assert {path.name: path.read_bytes() for path in (tmp_path / "kit").iterdir()} == before


def end_in_the_middle(tmp_path: Path, kit: Path, how: signal.Signals) -> tuple[Path, int]:
    """Start a build, send it ``how`` while it writes, and return its project and its exit status."""
    # Text on one thread: a second of work, however late a busy machine lets us look.
    project = locked(file_project(tmp_path / "project", random_bytes(96 << 20, seed=1).hex().encode()))
    # A shell that started the tests in the background may have told its children to ignore Ctrl-C.
    builder = ["env", "--default-signal=INT", sys.executable, "-m", "teraferry.builder.cli"]
    process = subprocess.Popen(
        [*builder, "build", str(project), "-o", str(kit), "--quiet", "--jobs", "1"], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    # Bytes in it: it is being written, and no longer just made.
    while not (kit.exists() and any(part.stat().st_size for part in kit.glob(".terachat*.part"))):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(process.pid, how)
    return project, process.wait()


def test_killed_build_leaves_no_bundle_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    project, _ = end_in_the_middle(tmp_path, kit, signal.SIGKILL)
    assert [path.name for path in kit.iterdir() if path.name[0] != "."] == ["teraferry-installer"]

    answer = teraferry("build", project, "-o", kit)

    assert answer.status == 0
    assert sorted(path.name for path in kit.iterdir()) == ["terachat-4.2.0.tar.gz", "teraferry-installer"]


def test_interrupted_build_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    _, status = end_in_the_middle(tmp_path, kit, signal.SIGINT)

    assert status == 43
    assert not kit.exists()


def test_disk_that_is_too_small_is_refused_before_the_first_byte(tmp_path: Path, small_disk: Path) -> None:
    project = locked(file_project(tmp_path / "project", random_bytes(2 << 20, seed=1)))

    answer = teraferry("build", project, "-o", small_disk / "kit")

    assert (answer.status, answer.result["reference"]) == (30, "no-space")
    assert "pack" not in [event.get("phase") for event in answer.events]
    assert answer.result["needed_bytes"] > 2 << 20
    assert 0 < answer.result["free_bytes"] <= 1 << 20
    assert not (small_disk / "kit").exists()


def test_disk_that_fills_up_while_the_bundle_is_written_leaves_nothing(tmp_path: Path, small_disk: Path) -> None:
    kit = small_disk / "kit"

    with pytest.raises(BuildError) as caught, claimed_kit(kit, "a-1.tar.gz"), told_write_errors(kit, 2 << 20):
        (kit / "teraferry-installer").write_bytes(b"x")
        with durable_replace(kit / "a-1.tar.gz") as file:
            file.write(bytes(2 << 20))

    assert (caught.value.reference, caught.value.facts["needed_bytes"]) == ("no-space", 2 << 20)
    assert list(small_disk.iterdir()) == []


def test_disk_that_cannot_be_written_is_told(tmp_path: Path, small_disk: Path) -> None:
    project = locked(file_project(tmp_path / "project"))
    (small_disk / "kit").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    answer = teraferry("build", project, "-o", small_disk / "kit")

    assert (answer.status, answer.result["reference"]) == (30, "kit-unwritable")


@pytest.mark.parametrize(("command", "reference"), [("lock", "lock-unwritable"), ("new", "project-unwritable")])
def test_folder_that_cannot_be_written_is_told(small_disk: Path, command: str, reference: str) -> None:
    if command == "lock":
        file_project(small_disk / "project")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    assert teraferry(command, small_disk / "project").result["reference"] == reference


def test_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    project = write_recipe(tmp_path, RELEASE + file_table("memory", "/proc/self/mem"))

    answer = teraferry("lock", project)

    assert (answer.status, answer.result["reference"]) == (30, "source-unreadable")


def test_space_is_judged_where_the_kit_will_be(tmp_path: Path) -> None:
    require_space(tmp_path / "a" / "b" / "kit", 1)

    with pytest.raises(BuildError) as caught:
        require_space(tmp_path / "a" / "b" / "kit", 1 << 62)
    assert caught.value.facts["needed_bytes"] == 1 << 62


@pytest.mark.parametrize("name", ["metadata", "SHA256SUMS"])
def test_signed_kit_is_never_changed(tmp_path: Path, name: str) -> None:
    project = locked(file_project(tmp_path / "project"))
    (tmp_path / "kit" / name).mkdir(parents=True)

    answer = teraferry("build", project, "-o", tmp_path / "kit")

    assert (answer.status, answer.result["reference"]) == (2, "kit-signed")


def test_folder_with_other_things_is_no_kit(tmp_path: Path) -> None:
    project = locked(file_project(tmp_path / "project"))

    answer = teraferry("build", project, "-o", tmp_path)

    assert (answer.status, answer.result["reference"]) == (2, "kit-not-empty")
    assert [path.name for path in tmp_path.iterdir()] == ["project"]


def test_kit_that_is_a_file_is_refused(tmp_path: Path) -> None:
    project = locked(file_project(tmp_path / "project"))
    (tmp_path / "kit").write_bytes(b"")

    answer = teraferry("build", project, "-o", tmp_path / "kit")

    assert (answer.status, answer.result["reference"]) == (2, "kit-not-a-folder")


def test_second_build_of_a_kit_at_the_same_time_is_refused(tmp_path: Path) -> None:
    import fcntl

    project = locked(file_project(tmp_path / "project"))
    (tmp_path / "kit").mkdir()
    descriptor = os.open(tmp_path / "kit", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        answer = teraferry("build", project, "-o", tmp_path / "kit")
    finally:
        os.close(descriptor)

    assert (answer.status, answer.result["reference"]) == (30, "kit-busy")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"format": 2}'])
def test_lock_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    project = file_project(tmp_path / "project")
    (project / "release.lock.json").write_bytes(content)

    answer = teraferry("build", project, "-o", tmp_path / "kit")

    assert (answer.status, answer.result["reference"]) == (30, "lock-malformed")


def test_folder_without_a_recipe_is_refused_and_says_what_to_type(tmp_path: Path) -> None:
    answer = teraferry("lock", tmp_path)

    assert (answer.status, answer.result["reference"]) == (2, "recipe-missing")
    assert "teraferry new" in answer.result["hint"]


def test_empty_installer_is_refused(tmp_path: Path) -> None:
    project = locked(file_project(tmp_path / "project"))
    (project / "teraferry-installer").write_bytes(b"")

    answer = teraferry("build", project, "-o", tmp_path / "kit")

    assert (answer.status, answer.result["reference"]) == (2, "installer-wrong-size")


def test_bundle_that_fits_a_fat_medium_is_no_warning_and_one_byte_more_is() -> None:
    assert fat_warning("x.tar.gz", FAT_MAX_FILE_BYTES) is None
    assert fat_warning("x.tar.gz", FAT_MAX_FILE_BYTES + 1) is not None


def test_build_interrupted_at_any_line_leaves_a_whole_kit_or_nothing(tmp_path: Path) -> None:
    interrupted, outcomes = 0, set()
    while True:
        kit = tmp_path / f"kit-{interrupted}"
        finished = write_kit_interrupted_at(kit, line=interrupted)
        left = {path.name: path.read_bytes() for path in kit.iterdir()} if kit.exists() else {}
        assert left in ({}, {"b.tar.gz": b"whole"})
        outcomes.add(bool(left))
        if finished:
            break
        interrupted += 1

    assert interrupted > 20
    assert outcomes == {True, False}


def write_kit_interrupted_at(kit: Path, *, line: int) -> bool:
    """Write a kit and have Ctrl-C come before the line so many of ours that runs; tell whether there were fewer."""
    left = line

    def trace(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        nonlocal left
        if frame.f_code.co_filename not in (kit_folder.__file__, durable.__file__):
            return None
        if event == "line":
            left -= 1
            if left == -1:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        with claimed_kit(kit, "b.tar.gz"), durable_replace(kit / "b.tar.gz") as file:
            file.write(b"whole")
    except KeyboardInterrupt:
        return False
    finally:
        sys.settrace(None)
    return True
