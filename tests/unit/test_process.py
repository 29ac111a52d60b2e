"""A command that is given up ends with everything it started; one that ends by itself leaves its daemons alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from teraferry.bundles.system.process import run

pytestmark = [pytest.mark.timeout(60)]

SPAWN = 'sleep 600 >/dev/null 2>&1 & echo $! >"$1"; echo started'
"""Starts a grandchild and writes down its number."""


class StoppedError(Exception):
    """Somebody pressed Ctrl-C."""


@pytest.fixture
def alarm() -> Iterator[None]:
    """Interrupt this process after a moment, as Ctrl-C does."""

    def stop(*_: object) -> None:
        raise StoppedError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 1)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def is_running(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"  # dead, and waiting for whoever inherited it


def require_ended(number: int) -> None:
    """Wait until a killed process is gone; the test's own limit ends the wait."""
    while is_running(number):
        time.sleep(0.01)


def test_run_returns_what_the_command_did() -> None:
    done = run(["sh", "-c", "cat; echo two >&2; exit 3"], stdin=b"one", timeout_seconds=50)

    assert (done.status, done.stdout, done.stderr) == (3, b"one", b"two\n")


def test_run_tells_the_signal_that_ended_the_command() -> None:
    assert run(["sh", "-c", "kill -9 $$"], timeout_seconds=50).status == -9


def test_run_ends_grandchildren_at_the_time_limit_and_keeps_what_was_said(tmp_path: Path) -> None:
    done = run(["sh", "-c", SPAWN + "; wait", "sh", str(tmp_path / "number")], timeout_seconds=1)

    assert (done.status, done.stdout) == (124, b"started\n")
    require_ended(int((tmp_path / "number").read_text()))


@pytest.mark.usefixtures("alarm")
def test_run_ends_grandchildren_when_it_is_interrupted(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        run(["sh", "-c", SPAWN + "; wait", "sh", str(tmp_path / "number")], timeout_seconds=50)

    require_ended(int((tmp_path / "number").read_text()))


def test_run_leaves_alone_what_a_command_that_ended_keeps_running(tmp_path: Path) -> None:
    done = run(["sh", "-c", SPAWN, "sh", str(tmp_path / "number")], timeout_seconds=50)

    daemon = int((tmp_path / "number").read_text())
    assert done.status == 0
    assert is_running(daemon)
    os.kill(daemon, signal.SIGKILL)
