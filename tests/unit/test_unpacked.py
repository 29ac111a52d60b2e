"""Programs that nobody needs any more are removed, and no other folder is ever touched."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

from teraferry.bundles import layout
from teraferry.installer.program.unpacked import HANDED_OVER_BY, forget_old_trees, running_tree


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / ".lock").touch()
    return folder


def make_tree(home: Path, digit: str) -> Path:
    tree = home / (digit * 32)
    (tree / "_internal").mkdir(parents=True)
    (tree / layout.CHECKSUMS).touch()
    shutil.copy("/bin/sleep", tree / layout.INSTALLER)
    return tree


def names(home: Path) -> set[str]:
    return {path.name[:1] if len(path.name) == 32 else path.name for path in home.iterdir()} - {".lock"}


def test_only_the_running_program_and_the_one_before_it_stay(home: Path) -> None:
    before, older, oldest, running = (make_tree(home, digit) for digit in "0123")

    gone = forget_old_trees(running, {HANDED_OVER_BY: str(before)})

    assert names(home) == {"0", "3"}
    assert set(gone) == {older, oldest}


@pytest.mark.parametrize("by", [{}, {HANDED_OVER_BY: ""}])
def test_program_that_nobody_handed_over_to_keeps_itself(home: Path, by: dict[str, str]) -> None:
    make_tree(home, "0")

    forget_old_trees(make_tree(home, "1"), by)

    assert names(home) == {"1"}


def test_program_that_a_process_runs_from_stays(home: Path) -> None:
    used = make_tree(home, "0")
    with subprocess.Popen([used / layout.INSTALLER, "60"]) as process:
        forget_old_trees(make_tree(home, "1"), {})
        process.kill()

    assert names(home) == {"0", "1"}


def test_folders_that_are_no_programs_stay(home: Path, tmp_path: Path) -> None:
    running = make_tree(home, "1")
    (home / ("a" * 32)).mkdir()  # no digest list in it
    (home / "a person's own").mkdir()
    elsewhere = make_tree(tmp_path / "elsewhere", "b")
    (home / ("b" * 32)).symlink_to(elsewhere)

    assert forget_old_trees(running, {}) == ()
    assert names(home) == {"1", "a", "b", "a person's own"}
    assert (elsewhere / layout.INSTALLER).exists()


def test_nothing_is_removed_while_an_installer_starts(home: Path) -> None:
    running = make_tree(home, "1")
    make_tree(home, "0")
    with (home / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        assert forget_old_trees(running, {}) == ()
    assert names(home) == {"0", "1"}


def test_folder_without_the_stubs_lock_is_not_ours(home: Path) -> None:
    running = make_tree(home, "1")
    make_tree(home, "0")
    (home / ".lock").unlink()

    assert forget_old_trees(running, {}) == ()
    assert names(home) == {"0", "1"}


def test_source_code_was_never_unpacked() -> None:
    assert running_tree() is None
    assert forget_old_trees(None, {}) == ()
