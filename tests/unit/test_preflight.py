"""Every node is looked at before anything is changed, and everything that is wrong is said at once."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from teraferry.bundles.digest import Digest, digest_of, hex_of
from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.node_probe import TransportProbe
from teraferry.installer.adapters.transport.local import LocalTransport
from teraferry.installer.ports import NodeFacts, Place
from teraferry.installer.rollout.plan import Target
from teraferry.installer.rollout.preflight import MAX_SKEW_SECONDS, SPARE_BYTES, NodeNeeds, Preflight, judge_node
from tests.fakes.workload import FakeWorkload

NOW = datetime(2026, 11, 26, tzinfo=UTC)
DIGEST = digest_of(b"a program")
OLD = digest_of(b"the program before")
TARGET = Target("vol-1", "", "volume", "/opt/app", "app", DIGEST, 1000, 0o755)
ENOUGH = Place("/opt/app", 1000 + SPARE_BYTES, 0)
WELL = NodeFacts(NOW.timestamp(), (ENOUGH,), ())


class Told:
    """A ``NodeProbe`` with one answer."""

    def __init__(self, answer: NodeFacts | RefusedError) -> None:
        self._answer = answer

    def look(self, files: Sequence[tuple[str, Digest]], units: Sequence[str]) -> NodeFacts:
        if isinstance(self._answer, RefusedError):
            raise self._answer
        return self._answer


def preflight(**nodes: NodeFacts | RefusedError) -> Preflight:
    return preflight_over(FakeWorkload(OLD), **nodes)


def preflight_over(workload: FakeWorkload, **nodes: NodeFacts | RefusedError) -> Preflight:
    needs = {name: NodeNeeds((TARGET,), ("app.service",)) for name in nodes}
    probes = {name: Told(answer) for name, answer in nodes.items()}
    return Preflight(needs, probes, workloads={(name, TARGET.path): workload for name in nodes}, clock=lambda: NOW)


def test_node_with_just_enough_is_ready_and_with_a_byte_less_is_not() -> None:
    assert judge_node(WELL, [TARGET], now=NOW) == []
    short = replace(ENOUGH, free_bytes=ENOUGH.free_bytes - 1)
    assert "bytes free" in judge_node(replace(WELL, places=(short,)), [TARGET], now=NOW)[0]


def test_file_that_is_there_needs_no_space_again() -> None:
    full = Place("/opt/app", 0, 1000)
    assert judge_node(replace(WELL, places=(full,)), [TARGET], now=NOW) == []
    cut_short = replace(full, staged_bytes=999)
    assert judge_node(replace(WELL, places=(cut_short,)), [TARGET], now=NOW) != []


@pytest.mark.parametrize("sign", [1, -1])
def test_clock_may_be_off_by_minutes_and_not_by_more(sign: int) -> None:
    at_the_limit = replace(WELL, seconds_since_epoch=NOW.timestamp() + sign * MAX_SKEW_SECONDS)
    assert judge_node(at_the_limit, [TARGET], now=NOW) == []
    beyond = replace(WELL, seconds_since_epoch=NOW.timestamp() + sign * (MAX_SKEW_SECONDS + 1))
    assert "clock" in judge_node(beyond, [TARGET], now=NOW)[0]


def test_clock_that_is_no_number_is_not_ready() -> None:
    assert "clock" in judge_node(replace(WELL, seconds_since_epoch=math.nan), [TARGET], now=NOW)[0]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    gone = RefusedError("node-unreachable", "node b: no route to host", hint="Look.")
    with pytest.raises(RefusedError) as caught:
        preflight(a=WELL, b=gone, c=replace(WELL, units_missing=("app.service",))).require_ready()

    assert (caught.value.reference, caught.value.exit_status) == ("node-not-ready", 40)
    assert caught.value.facts["nodes"] == ["b", "c"]
    assert "b: node b: no route to host" in caught.value.message
    assert "c: no unit app.service" in caught.value.message


def test_nodes_that_are_ready_are_counted() -> None:
    assert preflight(a=WELL, b=WELL).require_ready() == "2 nodes ready"


@pytest.mark.parametrize("selected", [OLD, DIGEST, None])
def test_program_that_the_next_start_would_run_or_the_release_brings_or_none_is_ready(selected: Digest | None) -> None:
    assert preflight_over(FakeWorkload(selected), a=WELL).require_ready() == "1 nodes ready"


def test_node_that_runs_what_nobody_could_put_back_is_not_ready() -> None:
    swapped = FakeWorkload(digest_of(b"replaced on the disk, and never restarted"))
    swapped.files[OLD] = b""
    swapped.select(OLD)

    with pytest.raises(RefusedError) as caught:
        preflight_over(swapped, a=WELL).require_ready()

    assert (caught.value.reference, caught.value.facts["nodes"]) == ("node-not-ready", ["a"])
    assert OLD in caught.value.message


def test_node_that_cannot_tell_what_it_runs_is_not_ready() -> None:
    class Mute(FakeWorkload):
        def running(self) -> frozenset[Digest]:
            raise RefusedError("node-command-failed", "look at processes of /opt/app: status 81", hint="Look.")

    with pytest.raises(RefusedError) as caught:
        preflight_over(Mute(OLD), a=WELL).require_ready()

    assert "status 81" in caught.value.message


def test_node_that_shows_another_host_key_is_not_one_of_many_reasons() -> None:
    stranger = RefusedError(
        "node-host-key-differs", "node b: shows another host key", hint="Somebody may stand between."
    )

    with pytest.raises(RefusedError) as caught:
        preflight(a=replace(WELL, units_missing=("app.service",)), b=stranger).require_ready()

    assert caught.value is stranger


def test_node_without_curl_is_named_where_it_was_to_fetch_a_file() -> None:
    without = replace(WELL, has_curl=False)
    pulled = {name: NodeNeeds((replace(TARGET, is_pulled=name != "c"),)) for name in ("a", "b", "c")}
    probes = {"a": Told(without), "b": Told(WELL), "c": Told(without)}
    workloads = {(name, TARGET.path): FakeWorkload(OLD) for name in pulled}

    said = Preflight(pulled, probes, workloads=workloads, clock=lambda: NOW).require_ready()

    assert said.startswith("3 nodes ready")
    assert said.endswith("from here: a")


def test_node_that_takes_nothing_is_looked_at_as_well() -> None:
    gone = RefusedError("node-unreachable", "node master: no route to host", hint="Look.")
    looked = Preflight({"master": NodeNeeds()}, {"master": Told(gone)}, workloads={}, clock=lambda: NOW)

    with pytest.raises(RefusedError) as caught:
        looked.require_ready()

    assert caught.value.facts["nodes"] == ["master"]


def test_real_node_tells_its_clock_its_space_and_what_is_staged(tmp_path: Path) -> None:
    path = tmp_path / "opt" / "app"
    (tmp_path / "opt" / "app.d").mkdir(parents=True)
    (tmp_path / "opt" / "app.d" / hex_of(DIGEST)).write_bytes(b"a program")
    nowhere = tmp_path / "not" / "there" / "yet"

    probe = TransportProbe("here", LocalTransport("here"))
    facts = probe.look([(str(path), DIGEST), (str(nowhere), DIGEST)], ["teraferry-no-such.service"])

    assert abs(facts.seconds_since_epoch - time.time()) < 60
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    assert [place.staged_bytes for place in facts.places] == [len(b"a program"), 0]
    assert all(abs(place.free_bytes - free) < 2**30 for place in facts.places)
    assert facts.units_missing == ("teraferry-no-such.service",)


def test_node_that_answers_something_else_is_not_taken_for_ready() -> None:
    class Odd(LocalTransport):
        def run(self, argv: Sequence[str], **_: object):  # type: ignore[no-untyped-def]
            return super().run(["echo", "hello"])

    with pytest.raises(RefusedError) as caught:
        TransportProbe("odd", Odd("odd")).look([("/opt/app", DIGEST)], [])
    assert caught.value.reference == "cannot-tell"
