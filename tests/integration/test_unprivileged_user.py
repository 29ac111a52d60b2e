"""A node is reached as a user that is not root: it sees of other users' processes no more than their names."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.transport.command import CommandTransport
from teraferry.installer.adapters.workload.binary import BinaryWorkload
from teraferry.installer.program.handover import digest_of_file

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

USER, OTHER = ("setpriv", "--reuid", "4711", "--clear-groups"), ("setpriv", "--reuid", "4712", "--clear-groups")


@pytest.fixture
def program() -> Iterator[Path]:
    """A program of a name of its own, which everybody may run."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(shutil.copy("/bin/sleep", Path(folder) / "lab-sleeper"))


def workload_seen_by(user: tuple[str, ...], program: Path) -> BinaryWorkload:
    return BinaryWorkload(CommandTransport("there", user), str(program), start=["true"], stop=["true"])


def test_program_of_the_user_itself_is_seen(program: Path) -> None:
    with subprocess.Popen([*USER, program, "60"]) as process:
        assert workload_seen_by(USER, program).running() == {digest_of_file(program)}
        process.kill()

    assert workload_seen_by(USER, program).running() == frozenset()


def test_program_of_another_user_is_not_called_not_running(program: Path) -> None:
    with subprocess.Popen([*OTHER, program, "60"]) as process:
        with pytest.raises(RefusedError) as refused:
            workload_seen_by(USER, program).running()
        process.kill()

    assert refused.value.reference == "node-command-failed"
    assert str(process.pid) in refused.value.message
