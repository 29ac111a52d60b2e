"""One installer at a time: the second is told who holds the lock, and a killed one leaves none behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.lock import site_lock

HOLDER = """
import sys
from pathlib import Path
from teraferry.installer.adapters.lock import site_lock
with site_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(state: Path) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-c", HOLDER, str(state)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield holder
        finally:
            holder.kill()


def refusal(state: Path) -> RefusedError:
    with pytest.raises(RefusedError) as refused, site_lock(state):
        pass
    return refused.value


def test_lock_that_another_process_holds_is_refused_and_names_it(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path) as holder:
        error = refusal(tmp_path)

    assert (error.exit_status, error.reference) == (42, "locked")
    assert error.facts["holder"] == f"process {holder.pid}"


def test_lock_is_free_after_its_holder_was_killed(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path) as holder:
        holder.kill()
        holder.wait()

        with site_lock(tmp_path):
            pass


def test_lock_is_free_after_its_block(tmp_path: Path) -> None:
    with site_lock(tmp_path):
        pass
    with site_lock(tmp_path):
        pass


def test_lock_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with site_lock(tmp_path):
        assert refusal(tmp_path).reference == "locked"


def test_lock_is_not_inherited_by_children(tmp_path: Path) -> None:
    with site_lock(tmp_path):
        child = subprocess.Popen(["sleep", "60"])
    try:
        with site_lock(tmp_path):
            pass
    finally:
        child.kill()
        child.wait()


def test_lock_makes_a_state_folder_of_its_owner_alone(tmp_path: Path) -> None:
    with site_lock(tmp_path / "state"):
        assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_lock_leaves_no_file(tmp_path: Path) -> None:
    with site_lock(tmp_path):
        pass

    assert list(tmp_path.iterdir()) == []


def test_locks_of_two_state_folders_are_two(tmp_path: Path) -> None:
    with site_lock(tmp_path / "one"), site_lock(tmp_path / "two"):
        pass
