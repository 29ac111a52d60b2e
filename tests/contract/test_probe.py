"""What every ``Probe`` must do: by HTTP, by a program on a node. What cannot answer, or not in time, is no answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from teraferry.installer.adapters.probes.command import CommandProbe
from teraferry.installer.adapters.probes.http import HttpProbe
from teraferry.installer.adapters.transport.command import CommandTransport
from teraferry.installer.adapters.transport.local import LocalTransport
from teraferry.installer.rollout.conditions import MAX_ANSWER_BYTES, CannotAnswerError, Condition, Probe, judge_answer
from tests.fakes.rollout_site import Life, SiteProbe, World
from tests.lab.answers import Answer, AnswerServer

WELL = b'{"status": "ok"}'
SLOW_SECONDS = 0.4


@dataclass
class Rig:
    """One probe of a thing that is well, and ways to keep it from answering."""

    probe: Probe
    breaks: dict[str, Callable[[], object]]
    floods: Callable[[], object] | None = None


def _fake() -> Iterator[Rig]:
    world = World()
    program = world.programs["vol-1"]
    probe = SiteProbe(world, Life(), "vol-1")
    yield Rig(probe, {"down": lambda: setattr(program, "running", None)})


def _http() -> Iterator[Rig]:
    told = Answer(WELL)

    def tell(answer: Answer) -> None:
        nonlocal told
        told = answer

    with AnswerServer(lambda _method, _path: told) as server:
        yield Rig(
            HttpProbe("health", f"{server.url}/health", ca=None),
            {
                "status 503": lambda: tell(Answer(WELL, 503)),
                "status 404": lambda: tell(Answer(WELL, 404)),
                "redirect": lambda: tell(Answer(WELL, 307, location=f"{server.url}/elsewhere")),
                "cut short": lambda: tell(Answer(WELL, promised_bytes=100)),
                "a byte now and then": lambda: tell(Answer(WELL, pause_seconds=SLOW_SECONDS / 4)),
                "down": server.close,
            },
            lambda: tell(Answer(WELL + b" " * (3 * MAX_ANSWER_BYTES))),
        )


def _command(folder: Path) -> Iterator[Rig]:
    program = folder / "smoke"

    def says(script: str) -> None:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    says(f"echo '{WELL.decode()}'")
    yield Rig(
        CommandProbe("smoke", [str(program)], LocalTransport("here")),
        {
            "status 1": lambda: says(f"echo '{WELL.decode()}'; exit 1"),
            "too slow": lambda: says(f"echo '{WELL.decode()}'; sleep 30"),
            "gone": program.unlink,
        },
    )


@pytest.fixture(params=["fake", "http", "command"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    makers: dict[str, Callable[[], Iterator[Rig]]] = {
        "fake": _fake,
        "http": _http,
        "command": lambda: _command(tmp_path),
    }
    yield from makers[request.param]()


def test_answer_is_handed_over_as_it_is(rig: Rig) -> None:
    assert judge_answer(rig.probe.ask(timeout_seconds=10), Condition("status", "ok")).passes


def test_every_way_of_not_answering_is_no_answer(rig: Rig) -> None:
    for break_it in rig.breaks.values():
        break_it()

        with pytest.raises(CannotAnswerError):
            rig.probe.ask(timeout_seconds=SLOW_SECONDS)


@pytest.mark.parametrize("rig", ["http"], indirect=True)
def test_answer_without_end_is_read_no_further_than_its_limit(rig: Rig) -> None:
    assert rig.floods is not None
    rig.floods()

    assert len(rig.probe.ask(timeout_seconds=10)) == MAX_ANSWER_BYTES + 1


def test_node_that_cannot_be_reached_is_no_answer() -> None:
    probe = CommandProbe("smoke", ["true"], CommandTransport("away", ["/nowhere/to-node"]))

    with pytest.raises(CannotAnswerError):
        probe.ask(timeout_seconds=5)
