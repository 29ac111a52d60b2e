"""What every ``Workload`` must do: the fake, and real programs on this machine, in one run.

The programs are copies of ``sleep`` with a few bytes behind them, so each version runs and has a
digest of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from teraferry.bundles.digest import digest_of, hex_of
from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.transport.command import CommandTransport
from teraferry.installer.adapters.transport.local import LocalTransport
from teraferry.installer.adapters.workload.binary import BinaryWorkload
from teraferry.installer.ports import Workload
from tests.fakes.workload import FakeWorkload
from tests.lab.nodes import wait_until

SLEEP = Path(shutil.which("sleep") or "/bin/sleep").read_bytes()
OLD, NEW = SLEEP + b"old", SLEEP + b"new"

SERVICE = """#!/bin/sh
set -eu
case "$1" in
start) setsid {path} 600 </dev/null >/dev/null 2>&1 & echo $! >{folder}/pid ;;
stop) kill "$(cat {folder}/pid)" ;;
esac
"""


@dataclass
class Rig:
    """One workload, set up with OLD at its path and not running."""

    workload: Workload
    path: Path | None = None
    pids: Callable[[], list[int]] = field(default=list)


def _pids_below(folder: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str((entry / "exe").readlink()).startswith(f"{folder}/"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def real_rig(folder: Path, *, stop: str = "stop") -> Rig:
    folder.mkdir()
    path = folder / "program"
    path.write_bytes(OLD)
    path.chmod(0o755)
    service = folder / "service"
    service.write_text(SERVICE.format(path=path, folder=folder))
    service.chmod(0o755)
    workload = BinaryWorkload(
        LocalTransport("here"), str(path), start=[str(service), "start"], stop=[str(service), stop]
    )
    return Rig(workload, path, lambda: _pids_below(folder))


@pytest.fixture(params=["fake", "real"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    if request.param == "fake":
        fake = FakeWorkload(digest_of(OLD))
        fake.stop()
        yield Rig(fake)
        return
    yield from _ended_afterwards(real_rig(tmp_path / "opt"))


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Rig]:
    yield from _ended_afterwards(real_rig(tmp_path / "opt"))


def _ended_afterwards(rig: Rig) -> Iterator[Rig]:
    yield rig
    for pid in rig.pids():
        os.kill(pid, signal.SIGKILL)


def staged(rig: Rig, content: bytes = NEW) -> str:
    rig.workload.stage([content[:1000], content[1000:]], digest_of(content), mode=0o755)
    return digest_of(content)


def start(rig: Rig, content: bytes = OLD) -> None:
    rig.workload.start()
    # The service's own command returns before the program it started is one.
    wait_until("it to run", lambda: rig.workload.running() == {digest_of(content)})


def test_selected_tells_the_digest_of_what_was_installed_by_hand(rig: Rig) -> None:
    assert rig.workload.selected() == digest_of(OLD)


def test_stage_brings_the_bytes_beside_and_changes_nothing_else(rig: Rig) -> None:
    assert not rig.workload.staged(digest_of(NEW))
    staged(rig)
    assert rig.workload.staged(digest_of(NEW))
    assert rig.workload.selected() == digest_of(OLD)


def test_stage_twice_is_fine(rig: Rig) -> None:
    staged(rig)
    staged(rig)
    assert rig.workload.staged(digest_of(NEW))


def test_stage_refuses_other_bytes(rig: Rig) -> None:
    with pytest.raises(RefusedError) as caught:
        rig.workload.stage([b"other"], digest_of(NEW), mode=0o755)
    assert caught.value.reference == "upload-damaged"
    assert not rig.workload.staged(digest_of(NEW))


def test_select_makes_the_next_start_run_it_and_keeps_the_old(rig: Rig) -> None:
    start(rig)
    rig.workload.select(staged(rig))
    assert rig.workload.selected() == digest_of(NEW)
    assert rig.workload.running() == {digest_of(OLD)}
    rig.workload.stop()
    start(rig, NEW)
    assert rig.workload.staged(digest_of(OLD))


def test_select_goes_back_to_the_old_version(rig: Rig) -> None:
    rig.workload.select(staged(rig))
    rig.workload.select(digest_of(OLD))
    assert rig.workload.selected() == digest_of(OLD)
    start(rig)


def test_select_refuses_what_is_not_staged(rig: Rig) -> None:
    with pytest.raises(RefusedError) as caught:
        rig.workload.select(digest_of(NEW))
    assert (caught.value.reference, caught.value.exit_status) == ("not-staged", 40)
    assert rig.workload.selected() == digest_of(OLD)


def test_stop_and_start_may_be_repeated(rig: Rig) -> None:
    rig.workload.stop()
    assert rig.workload.running() == frozenset()
    start(rig)
    start(rig)
    rig.workload.stop()
    rig.workload.stop()
    assert rig.workload.running() == frozenset()


def test_started_program_is_not_our_child(real: Rig) -> None:
    start(real)
    (pid,) = real.pids()
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert parent != os.getpid()


def test_running_tells_a_program_whose_file_was_deleted(real: Rig) -> None:
    assert real.path is not None
    start(real)
    real.path.unlink()
    assert real.workload.running() == {digest_of(OLD)}


def test_path_is_a_link_into_its_folder_after_select(real: Rig) -> None:
    assert real.path is not None
    real.workload.select(staged(real))
    assert str(real.path.readlink()) == f"program.d/{hex_of(digest_of(NEW))}"
    assert (real.path.parent / "program.d" / hex_of(digest_of(OLD))).read_bytes() == OLD


def test_staged_is_false_for_a_file_that_was_cut_short(real: Rig) -> None:
    assert real.path is not None
    staged(real)
    file = real.path.parent / "program.d" / hex_of(digest_of(NEW))
    file.write_bytes(NEW[:-1])
    assert not real.workload.staged(digest_of(NEW))
    staged(real)
    assert file.read_bytes() == NEW


def test_selected_is_none_when_there_is_no_program(real: Rig) -> None:
    assert real.path is not None
    real.path.unlink()
    assert real.workload.selected() is None


def test_selected_refuses_a_link_that_leads_elsewhere(real: Rig) -> None:
    assert real.path is not None
    real.path.unlink()
    real.path.symlink_to("/bin/sleep")
    with pytest.raises(RefusedError) as caught:
        real.workload.selected()
    assert (caught.value.reference, caught.value.exit_status) == ("path-not-ours", 40)


def test_stop_refuses_when_the_site_s_own_command_fails(tmp_path: Path) -> None:
    rig = real_rig(tmp_path / "opt")
    start(rig)
    (tmp_path / "opt" / "pid").write_text("no number")
    try:
        with pytest.raises(RefusedError) as caught:
            rig.workload.stop()
        assert (caught.value.reference, caught.value.exit_status) == ("node-command-failed", 40)
    finally:
        for pid in rig.pids():
            os.kill(pid, signal.SIGKILL)


KILLER = """#!/bin/sh
count=$(($(cat {folder}/count 2>/dev/null || echo 0) + 1))
echo $count >{folder}/count
[ $count -ne {number} ] || kill -KILL $PPID
exec {program} "$@"
"""
CHANGES = 8


def killed_at(number: int, folder: Path) -> CommandTransport:
    """This machine, where a script is killed at the ``number``-th command that changes something."""
    folder.mkdir()
    for name in ("mkdir", "ln", "cp", "mv", "sync"):
        wrapper = folder / name
        wrapper.write_text(KILLER.format(folder=folder, number=number, program=shutil.which(name)))
        wrapper.chmod(0o755)
    return CommandTransport("here", ("env", f"PATH={folder}:{os.environ['PATH']}"))


@pytest.mark.parametrize("number", range(1, CHANGES + 2))
def test_path_can_be_started_wherever_the_first_select_is_killed(tmp_path: Path, number: int) -> None:
    rig = real_rig(tmp_path / "opt")
    assert rig.path is not None
    digest = staged(rig)
    killing = BinaryWorkload(killed_at(number, tmp_path / "killer"), str(rig.path), start=[], stop=[])
    with pytest.raises(RefusedError) if number <= CHANGES else contextlib.nullcontext():
        killing.select(digest)
    assert subprocess.run([rig.path, "0"]).returncode == 0
    assert rig.workload.selected() in (digest_of(OLD), digest)
    rig.workload.select(digest)
    assert rig.workload.selected() == digest
    assert rig.workload.staged(digest_of(OLD))
