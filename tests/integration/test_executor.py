"""An executor and its followers, as real processes: whoever follows may die, and the executor too."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from teraferry.bundles.errors import OperatorNeededError
from teraferry.installer.adapters.executor.folder import ExecutorFolder, ExecutorProcess, new_folder, running_executor
from teraferry.installer.adapters.executor.launch import OUTPUT, launch
from tests.lab.nodes import wait_until

BEGIN = """
import sys
from pathlib import Path
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.clock import sleep_seconds
from teraferry.installer.adapters.executor.event_log import EventLog
from teraferry.installer.adapters.executor.folder import ExecutorFolder

folder = ExecutorFolder(Path(sys.argv[1]))
log = EventLog(folder, "install")
log.start("verify", total_bytes=300)
log.advance(100)
log.say("gate", "all is well", node="vol-1")
"""
UNTIL_STOPPED = "while not folder.stop_requested(): sleep_seconds(0.02)\n"
END = 'log.result("install", {"nodes": ["vol-1"]})\n'
ASK = 'log.say("answer", "agreed" if log.ask("Go on?") else "declined")\n'
REFUSE = 'log.error("install", RefusedError("locked", "state: held", hint="Wait.", exit_status=42))\n'
CRASH = 'log.bug("install", ValueError("what only we can mend"))\n'

FOLLOW = """
import sys
from pathlib import Path
from teraferry.bundles.system.console import Console, run_command
from teraferry.installer.adapters.executor.folder import ExecutorFolder
from teraferry.installer.cli_executor import follow

console = Console.from_environment(json=True, quiet=False)
sys.exit(run_command("install", console, lambda: follow(ExecutorFolder(Path(sys.argv[1])), console)))
"""

Started = subprocess.Popen[bytes]


class Stage:
    """Executors and followers of one folder; all are ended at the end."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.folder = new_folder(state)
        self.started: list[Started] = []

    def execute(self, *parts: str) -> Started:
        return self._start("".join((BEGIN, *parts)))

    def follow(self) -> Started:
        return self._start(FOLLOW)

    def _start(self, code: str) -> Started:
        # A shell that started the tests in the background may have told its children to ignore Ctrl-C.
        argv = ["env", "--default-signal=INT", sys.executable, "-c", code, str(self.folder.path)]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.started.append(process)
        return process

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.communicate()


def seen(follower: Started) -> list[dict[str, Any]]:
    """Return what a follower printed, once it ended."""
    out, _ = follower.communicate(timeout=60)
    return [json.loads(line) for line in out.splitlines()]


def reads(follower: Started, event: str) -> dict[str, Any]:
    """Return the first line of ``event`` that a running follower prints."""
    assert follower.stdout is not None
    while line := follower.stdout.readline():
        fields: dict[str, Any] = json.loads(line)
        if fields["event"] == event:
            return fields
    raise AssertionError(f"it ended without {event}")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path / "state")
    try:
        yield stage
    finally:
        stage.end()


def test_follower_shows_what_the_executor_tells_and_ends_as_it_does(stage: Stage) -> None:
    stage.execute(END)
    follower = stage.follow()

    lines = seen(follower)

    assert follower.returncode == 0
    assert [line["event"] for line in lines] == ["phase", "gate", "phase-done", "result"]
    assert lines[1]["node"] == "vol-1"
    assert lines[2]["done_bytes"] == 100
    assert lines[-1]["nodes"] == ["vol-1"]


def test_refusal_reaches_the_follower_with_status_reference_and_hint(stage: Stage) -> None:
    stage.execute(REFUSE)
    follower = stage.follow()

    last = seen(follower)[-1]

    assert follower.returncode == 42
    assert (last["reference"], last["message"], last["hint"]) == ("locked", "state: held", "Wait.")


def test_bug_reaches_the_follower_with_its_traceback(stage: Stage) -> None:
    stage.execute(CRASH)
    follower = stage.follow()

    _, err = follower.communicate(timeout=60)

    assert follower.returncode == 1
    assert b"what only we can mend" in err


def test_killed_follower_changes_nothing_and_the_next_one_sees_all(stage: Stage) -> None:
    executor = stage.execute(UNTIL_STOPPED, END)
    first = stage.follow()
    reads(first, "gate")
    first.kill()
    second = stage.follow()
    reads(second, "gate")

    assert executor.poll() is None
    stage.folder.request_stop()
    assert seen(second)[-1]["event"] == "result"
    assert executor.wait(timeout=60) == 0


def test_interrupted_follower_says_that_the_install_goes_on(stage: Stage) -> None:
    executor = stage.execute(UNTIL_STOPPED, END)
    follower = stage.follow()
    reads(follower, "gate")

    follower.send_signal(signal.SIGINT)

    last = seen(follower)[-1]
    assert (follower.returncode, last["reference"]) == (43, "left-running")
    assert executor.poll() is None


def test_killed_executor_is_told_and_never_taken_for_done(stage: Stage) -> None:
    executor = stage.execute(UNTIL_STOPPED, END)
    follower = stage.follow()
    reads(follower, "gate")

    executor.kill()

    last = seen(follower)[-1]
    assert (follower.returncode, last["reference"]) == (62, "executor-died")


def test_question_is_answered_by_a_follower_and_the_first_answer_counts(stage: Stage) -> None:
    stage.execute(ASK, END)
    stage.folder.answer(agreed=True)
    stage.folder.answer(agreed=False)

    (answer,) = (line for line in seen(stage.follow()) if line["event"] == "answer")

    assert answer["text"] == "agreed"


def test_running_executor_is_found_while_it_lives_and_not_afterwards(stage: Stage) -> None:
    executor = stage.execute(UNTIL_STOPPED, END)
    wait_until("the executor to be found", lambda: running_executor(stage.state) is not None)

    executor.kill()
    executor.wait()

    assert running_executor(stage.state) is None


def test_later_process_with_the_same_number_is_another_one(stage: Stage) -> None:
    executor = stage.execute(UNTIL_STOPPED, END)
    wait_until("the executor to begin", stage.folder.is_alive)
    process = stage.folder.process()
    assert process is not None

    assert process.is_alive()
    assert not ExecutorProcess(process.pid, process.start_ticks + 1).is_alive()
    executor.kill()


def test_new_folder_keeps_those_of_living_executors(stage: Stage) -> None:
    stage.execute(UNTIL_STOPPED, END)
    wait_until("the executor to begin", stage.folder.is_alive)

    later = [new_folder(stage.state) for _ in range(6)]

    assert stage.folder.path.is_dir()
    assert not later[1].path.exists()
    assert running_executor(stage.state) is not None


def test_launched_program_is_in_a_session_of_its_own(stage: Stage) -> None:
    launch(stage.folder, ["status", "--state", str(stage.state), "--json"])

    process = _first(stage.folder.process)
    lines = list(stage.folder.events())

    assert process is not None
    assert [type(line).__name__ for line in lines] == ["Started", "Succeeded"]
    assert (stage.folder.path / OUTPUT).read_bytes() == b""


def test_program_that_does_not_start_is_told(stage: Stage, tmp_path: Path) -> None:
    gone = ExecutorFolder(tmp_path / "gone")

    with pytest.raises(OperatorNeededError) as refused:
        launch(gone, ["status"])

    assert refused.value.reference == "executor-not-started"


def _first(find: Callable[[], ExecutorProcess | None]) -> ExecutorProcess | None:
    wait_until("the executor to begin", lambda: find() is not None)
    return find()
