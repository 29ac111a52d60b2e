"""What every ``ComplianceProbe`` must do: http, a command, a file. What cannot answer never passes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.compliance.command import CommandProbe
from teraferry.installer.adapters.compliance.file import FileProbe
from teraferry.installer.adapters.compliance.http import HttpProbe
from teraferry.installer.ports import ComplianceProbe
from teraferry.installer.rollout.compliance import ComplianceGate
from teraferry.installer.rollout.conditions import MAX_ANSWER_BYTES, CannotAnswerError, Condition
from tests.lab.answers import Answer, AnswerServer

OPEN, HELD = b'{"active_holds": 0}', b'{"active_holds": 2, "since": "2026-11-20"}'
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
MAX_AGE = timedelta(seconds=60)


@dataclass
class Rig:
    """One probe, and how to make it answer."""

    probe: ComplianceProbe
    answers: Callable[[bytes], None]
    breaks: dict[str, Callable[[], None]] = field(default_factory=dict)


def _http() -> Iterator[Rig]:
    told = Answer(OPEN)

    def tell(answer: Answer) -> None:
        nonlocal told
        told = answer

    with AnswerServer(lambda _method, _path: told) as server:
        yield Rig(
            HttpProbe("legal_hold", f"{server.url}/legal-hold", ca=None),
            lambda content: tell(Answer(content)),
            {
                "status 500": lambda: tell(Answer(OPEN, 500)),
                "status 404": lambda: tell(Answer(OPEN, 404)),
                "redirect": lambda: tell(Answer(OPEN, 302, location=f"{server.url}/elsewhere")),
                "cut short": lambda: tell(Answer(OPEN, promised_bytes=100)),
                "down": server.close,
            },
        )


def _command(folder: Path) -> Iterator[Rig]:
    program = folder / "legal-hold"

    def answers(content: bytes, status: int = 0) -> None:
        (folder / "content").write_bytes(content)
        program.write_text(f"#!/bin/sh\ncat {folder}/content\nexit {status}\n")
        program.chmod(0o755)

    answers(OPEN)
    yield Rig(
        CommandProbe("legal_hold", [str(program)]),
        answers,
        {"status 1": lambda: answers(OPEN, 1), "gone": program.unlink, "not a program": lambda: program.chmod(0o644)},
    )


def _file(folder: Path) -> Iterator[Rig]:
    path = folder / "legal-hold.json"

    def answers(content: bytes, age: float = 1) -> None:
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        os.utime(path, (NOW.timestamp() - age, NOW.timestamp() - age))
        path.chmod(0o644)

    def link() -> None:
        path.rename(folder / "real")
        path.symlink_to(folder / "real")

    answers(OPEN)
    yield Rig(
        FileProbe("legal_hold", path, max_age=MAX_AGE, now=lambda: NOW),
        answers,
        {
            "too old": lambda: answers(OPEN, 61),
            "from the future": lambda: answers(OPEN, -60),
            "gone": path.unlink,
            "a link": link,
            "writable by others": lambda: path.chmod(0o666),
        },
    )


@pytest.fixture(params=["http", "command", "file"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    if request.param == "http":
        yield from _http()
    elif request.param == "command":
        yield from _command(tmp_path)
    else:
        yield from _file(tmp_path)


def refusal(rig: Rig) -> RefusedError:
    with pytest.raises(RefusedError) as refused:
        gate(rig).require_open()
    assert refused.value.exit_status == 41
    return refused.value


def gate(rig: Rig) -> ComplianceGate:
    return ComplianceGate([(rig.probe, Condition("active_holds", 0))])


def test_gate_is_open_when_nothing_runs(rig: Rig) -> None:
    rig.answers(OPEN)

    gate(rig).require_open()


def test_what_runs_postpones_and_is_named_with_its_begin(rig: Rig) -> None:
    rig.answers(HELD)

    refused = refusal(rig)

    assert refused.reference == "compliance-lock"
    facts = refused.facts
    assert (facts["probe"], facts["found"], facts["since"]) == ("legal_hold", 2, "2026-11-20")


@pytest.mark.parametrize("content", [b"", b"OK", b"<html>all is well</html>", b'{"holds": 0}'])
def test_answer_without_the_field_postpones(rig: Rig, content: bytes) -> None:
    rig.answers(content)

    assert refusal(rig).reference == "compliance-cannot-answer"


def test_answer_without_end_is_read_no_further_than_its_limit(rig: Rig) -> None:
    rig.answers(OPEN + b" " * (2 * MAX_ANSWER_BYTES))

    assert refusal(rig).reference == "compliance-cannot-answer"


def test_every_way_of_not_answering_postpones(rig: Rig) -> None:
    for name, break_it in rig.breaks.items():
        rig.answers(OPEN)
        break_it()

        with pytest.raises(CannotAnswerError):
            rig.probe.ask()
        assert refusal(rig).reference == "compliance-cannot-answer", name
