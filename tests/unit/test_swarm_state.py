"""What a swarm says of itself is judged task by task; what is not whole never passes."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.cluster.swarm import SwarmCluster
from teraferry.installer.adapters.cluster.swarm_state import parse_state
from teraferry.installer.ports import ClusterObservation
from teraferry.installer.rollout.gates import judge_health
from tests.fakes.transport import FakeTransport

NODES = {"10.0.0.1": "10.0.0.1:7946", "10.0.0.2": "10.0.0.2:7946"}
WHOLE = """\
node|m|drain|ready|0.0.0.0|reachable|10.0.0.9:2377
node|a|active|ready|10.0.0.1||
node|b|active|ready|10.0.0.2||
service|s|api|2||completed|null
service|g|agent||everywhere||null
task|s|a|running|running
task|s|b|running|running
task|s|b|shutdown|failed
task|g|a|running|running
task|g|b|running|running
"""


def observe(text: str, *, moves: bool = True) -> ClusterObservation:
    return parse_state(text).observe(NODES, moves=moves)


def is_full(seen: ClusterObservation) -> bool:
    return judge_health(seen, frozenset(NODES.values()), single_copies=True).is_full


def test_whole_swarm_is_at_100_percent_and_its_manager_needs_no_tasks() -> None:
    seen = observe(WHOLE)

    assert is_full(seen)
    assert seen.nodes == seen.holding == frozenset(NODES.values())
    assert [said.found for said in seen.said][:3] == ["1 of 1 reachable", "2 of 2 tasks run", "2 of 2 tasks run"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("task|s|b|running|running", "task|s|b|running|starting"),
        ("task|s|b|running|running\n", ""),
        ("task|s|b|running|running", "task|s|b|running|running\ntask|s||running|pending"),
        ("task|g|b|running|running", "task|g|b|running|preparing"),
        ("api|2||completed", "api|2||updating"),
        ("api|2||completed", "api|2||paused"),
        ("api|2||completed", "api|2||rollback_paused"),
        ("api|2||completed", "api|3||completed"),
        ("m|drain|ready|0.0.0.0|reachable", "m|drain|ready|0.0.0.0|unreachable"),
        ("m|drain|ready|0.0.0.0|reachable", "m|drain|down|0.0.0.0|reachable"),
        ("b|active|ready", "b|pause|ready"),
        ("b|active|ready", "b|drain|ready"),
        ("b|active|ready", "b|active|down"),
        ("b|active|ready", "b|active|unknown"),
        ("m|drain|ready", "m|active|ready"),  # a node that site.toml does not name takes tasks
        ("null\nservice|g", '[{"Type":"volume","Source":"data","Target":"/data"}]\nservice|g'),
        ("node|b|", "node|c|active|ready|10.0.0.2||\nnode|b|"),  # two at one address
    ],
)
def test_whatever_is_not_whole_is_below_100_percent(old: str, new: str) -> None:
    assert old in WHOLE

    assert not is_full(observe(WHOLE.replace(old, new)))


def test_machine_that_left_and_joined_again_counts_once() -> None:
    assert is_full(observe(WHOLE + "node|old|active|down|10.0.0.2||\n"))


def test_node_of_which_the_swarm_hears_nothing_is_neither_in_nor_out() -> None:
    seen = observe(WHOLE.replace("b|active|ready", "b|active|disconnected"))

    assert seen.unknown == {"10.0.0.2:7946"}
    assert "10.0.0.2:7946" not in seen.nodes


def test_node_is_empty_only_when_its_tasks_run_elsewhere() -> None:
    drained = WHOLE.replace("b|active", "b|drain").replace("task|g|b|running|running", "task|g|b|shutdown|shutdown")
    gone = drained.replace("task|s|b|running|running", "task|s|b|shutdown|shutdown\ntask|s|a|running|{}")

    assert "10.0.0.2:7946" in observe(drained).holding
    assert "10.0.0.2:7946" in observe(gone.format("starting")).holding
    assert "10.0.0.2:7946" not in observe(gone.format("running")).holding
    assert "10.0.0.2:7946" in observe("\n".join(line for line in WHOLE.splitlines() if "node|b" not in line)).holding


def test_stalled_drain_tells_what_kept_the_node_and_not_what_came_back_to_it_afterwards() -> None:
    shut = WHOLE.replace("task|g|b|running|running", "task|g|b|shutdown|shutdown")
    worlds = {"active": WHOLE, "drain": shut.replace("task|s|b|running|running", "task|s||running|pending")}
    told = ["active"]

    def docker(argv: Sequence[str], _stdin: bytes) -> tuple[int, bytes, bytes]:
        told.append(argv[argv.index("--availability") + 1])
        return 0, b"", b""

    manager = FakeTransport("manager")
    manager.commands |= {"docker": docker, "sh": lambda _argv, _stdin: (0, worlds[told[-1]].encode(), b"")}
    cluster = SwarmCluster(manager, nodes=tuple(NODES.values()), stalled_after_seconds=0)

    with pytest.raises(RefusedError) as caught:
        cluster.drain("10.0.0.2:7946")

    assert told == ["active", "drain", "active"]
    assert "0 are there still, service api: 1 of 2 tasks run, expected" in caught.value.message


@pytest.mark.parametrize(
    ("mount", "stays"),
    [
        ({"Type": "volume", "Source": "data"}, True),
        ({"Type": "volume", "Source": "data", "VolumeOptions": {}}, True),
        ({"Type": "volume", "Source": "data", "VolumeOptions": {"DriverConfig": {"Name": "local"}}}, True),
        ({"Type": "bind", "Source": "/srv/data"}, True),
        ({"Type": "bind", "Source": "/etc/localtime", "ReadOnly": True}, False),
        ({"Type": "tmpfs", "Target": "/tmp"}, False),
        ({"Type": "volume", "VolumeOptions": {"DriverConfig": {"Name": "local", "Options": {"type": "nfs"}}}}, False),
        ({"Type": "volume", "VolumeOptions": {"DriverConfig": {"Name": "rexray"}}}, False),
    ],
)
def test_data_stays_behind_unless_every_node_sees_it(mount: dict[str, object], *, stays: bool) -> None:
    (service,) = parse_state(f"node|a|active|ready|10.0.0.1||\nservice|s|a|1|||{json.dumps([mount])}").services

    assert bool(service.keeps) == stays


def test_data_matters_only_where_nodes_are_emptied_and_never_where_every_node_runs_a_task() -> None:
    mounts = json.dumps([{"Type": "bind", "Source": "/srv"}])

    assert is_full(observe(WHOLE.replace("completed|null", f"completed|{mounts}"), moves=False))
    assert is_full(observe(WHOLE.replace("everywhere||null", f"everywhere||{mounts}")))


@pytest.mark.parametrize("text", ["", "node|a|active", "Error response from daemon", WHOLE.replace("api|2", "api|two")])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|invalid literal"):
        parse_state(text)
