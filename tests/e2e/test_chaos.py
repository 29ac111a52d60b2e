"""``mode = "quick"`` on real servers, over ssh: one rollout that is damaged again and again, and ends well.

Somebody's own configuration puts another program back when a node starts; another volume server is killed while a node
is being patched, and the rollout is taken back by hand; the master is killed in front of the next node. ``scripts/prove
chaos`` has other kinds and moments.

Every node has an sshd of its own. One lets in a user that is not root and runs its server as that user. The connection
to another is cut while nothing is said on it, which nobody notices, and again while the node stops its server: the run
halts with that node as it was. It goes on to the end by ``rollout``, since there is nothing left to load.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.ports import Entry
from teraferry.installer.program.handover import digest_of_file
from teraferry.installer.rollout.execute import DONE, INTENT
from teraferry.installer.rollout.gates import judge_health
from teraferry.installer.rollout.plan import TOUCHES
from tests.e2e.room import Room, build_kit
from tests.lab.chaos import Cut, Killed, Striker, Together, is_event, replaced_before_start, unsigned_copy
from tests.lab.clients import load_objects, read_all
from tests.lab.nodes import wait_until
from tests.lab.rollable import cluster_from_site
from tests.lab.secops import Answer
from tests.lab.ssh_site import SshNodes, cut_when_it_stops, ssh_nodes, was_cut_when_it_stopped
from tests.lab.weed import WeedCluster, weed_binary

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("site"), pytest.mark.timeout(600)]

STORE = Path("/var/lib/chaos")
SMOKE = """
[[smoke]]
http = "http://{master}/cluster/status"
pass_when = {{ field = "IsLeader", equals = true }}

[[smoke]]
command = ["sh", "-c", "pgrep weed >/dev/null && echo '{{\\"weed\\": \\"runs\\"}}'"]
pass_when = {{ field = "weed", equals = "runs" }}
"""
UNPRIVILEGED, CUT, STRANGER = "vol-2", "vol-3", "vol-6"
Install = Callable[[Striker], Answer]


@dataclass(frozen=True)
class Release:
    """A signed kit, and its program: another one than what runs."""

    kit: Path
    program: Path


@pytest.fixture(scope="module")
def release(room: Room, tmp_path_factory: pytest.TempPathFactory) -> Release:
    running = room.site.cluster.filer.running_digest()
    program = next(file for file in map(weed_binary, ("4.47", "4.48")) if digest_of_file(file) != running)
    kit = build_kit(room.secops, tmp_path_factory.mktemp("chaos"), "4.4.0", program=program, layer_bytes=100_000)
    room.secops.sign_fully(kit)
    room.pin(STORE, room.secops.root, room.secops.fingerprint)
    return Release(kit, program)


@pytest.fixture(scope="module")
def ssh(room: Room, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshNodes]:
    weed = room.site.cluster
    with ssh_nodes(room.site, tmp_path_factory.mktemp("ssh"), unprivileged=weed.volumes[UNPRIVILEGED]) as nodes:
        wait_until("a whole cluster", lambda: is_whole(weed))
        yield nodes


def write_site_file(room: Room, ssh: SshNodes, *, change: Callable[[str], str] = str) -> Path:
    """Write site.toml, every node by ssh; return where the site sees it."""
    text = change(room.site.site_toml(reach=ssh.reach))
    return room.write_site_file("chaos.toml", lambda _: impatient(room.site.cluster, text))


def impatient(weed: WeedCluster, text: str) -> str:
    """Change site.toml: what is hopeless in a test is given up soon."""
    text = text.replace('mode = "safe"', 'mode = "quick"')
    text = text.replace("stalled_after_seconds = 120", "stalled_after_seconds = 5\nrejoin_seconds = 10")
    return text + SMOKE.format(master=weed.master_address)


def test_node_that_shows_another_host_key_is_refused_before_the_first_write(
    room: Room, ssh: SshNodes, release: Release
) -> None:
    shown, known = (ssh.servers[name].address.host_key for name in (STRANGER, "vol-1"))
    site = write_site_file(room, ssh, change=lambda text: text.replace(shown, known))

    with room.carried(release.kit) as there:
        typed = ("--site", site, "--state", STORE, "install", there, "--yes")
        answer = room.refuses(40, "node-host-key-differs", lambda: room.type(*typed))

    assert answer.result["node"] == STRANGER
    assert not [node for node in room.site.lab.nodes if list(node.folder.glob("var/lib/teraferry-node/lock"))]


def test_one_rollout_meets_wrong_programs_killed_servers_and_cut_connections(
    room: Room, ssh: SshNodes, release: Release, tmp_path: Path
) -> None:
    weed, program = room.site.cluster, release.program
    running = weed.filer.running_digest()
    objects = tmp_path / "objects.json"
    load_objects(weed, objects)
    with room.carried(release.kit) as there:
        site = write_site_file(room, ssh)
        install = partial(type_install, room, site, there)

        require_put_back(weed, install, unsigned_copy(program, tmp_path / "unsigned-weed"), running)
        require_halt(room, install)
        require_taken_back(room, site, running)
        require_going_on_to_the_next_cut(weed, ssh, install)
        require_the_end(partial(install, command="rollout"))

    rolled = [*weed.volumes.values(), weed.filer]
    assert [service.running_digest() for service in rolled] == [digest_of_file(program)] * len(rolled)
    assert is_whole(weed)
    assert read_all(weed, objects) == []
    written = journal_entries(room)
    entries = [entry for entry in written if entry.run == written[-1].run]
    done = [entry.step for entry in entries if entry.event == DONE]
    assert {f"drain_node {name}" for name in weed.volumes} <= set(done)
    asked = [entry.facts["passed"] for entry in entries if entry.event == DONE and entry.step.startswith("run_smoke")]
    assert [len(passed) for passed in asked if isinstance(passed, list)] == [2] * len(rolled)
    verified = room.type("--state", STORE, "journal", "verify")
    assert verified.status == 0, verified.stderr


def type_install(room: Room, site: Path, there: Path, striker: Striker, *, command: str = "install") -> Answer:
    """Type the command, and mend what was broken when it has ended."""
    striker.arm()
    argv = [*room.installer, "--site", str(site), "--state", str(STORE), command, str(there), "--yes"]
    answer = room.site.type(*argv, timeout_seconds=240, on_event=striker.hear)
    striker.mend()
    return answer


def require_put_back(weed: WeedCluster, install: Install, unsigned: Path, running: str) -> None:
    answer = install(Striker(replaced_before_start(weed.volumes["vol-1"], unsigned), when=None))

    assert (answer.status, answer.result.get("reference")) == (50, "node-failed-rolled-back"), answer.result
    assert {each.running_digest() for each in weed.volumes.values()} == {running}
    wait_until("a whole cluster", lambda: is_whole(weed))


def require_halt(room: Room, install: Install) -> None:
    weed = room.site.cluster
    striker = Striker(Killed((weed.volumes["vol-4"],)), when=is_event(event="phase", phase="patch vol-1"))
    answer = install(striker)

    assert (answer.status, answer.result.get("reference")) == (60, "halted-half-way"), answer.result
    assert (answer.result["cluster"], answer.result["patched"]) == ("degraded", ["vol-1"])
    assert answer.result["hint"]
    assert [step for step in touched_since(room, striker) if not step.endswith(" vol-1")] == []
    wait_until("a whole cluster", lambda: is_whole(mended(weed)))


def require_taken_back(room: Room, site: Path, running: str) -> None:
    """A person gives the half done install up: the one node that was patched goes back, without a kit."""
    weed = room.site.cluster
    answer = room.type("--site", site, "--state", STORE, "rollback", "--yes")

    assert (answer.status, answer.result.get("did"), answer.result.get("nodes")) == (0, "rolled-back", ["vol-1"]), (
        answer
    )
    assert {each.running_digest() for each in weed.volumes.values()} == {running}
    assert is_whole(weed)


def require_going_on_to_the_next_cut(weed: WeedCluster, ssh: SshNodes, install: Install) -> None:
    striker = Striker(
        Together(Killed((weed.master,)), Cut(ssh.servers[CUT])),
        when=is_event(event="step", step="check_cluster_health vol-2"),
        mended_after_seconds=1.0,
    )
    cut_when_it_stops(weed.volumes[CUT])
    answer = install(striker)

    assert striker.struck_at is not None
    assert was_cut_when_it_stopped(weed.volumes[CUT])  # over a connection that was made after the first cut
    assert (answer.status, answer.result.get("cause")) == (60, "node-unreachable"), (answer.result, answer.stderr)
    assert (answer.result["cluster"], answer.result["patched"]) == ("healthy", ["vol-1", "vol-2"])


def require_the_end(rollout: Install) -> None:
    answer = rollout(Striker(Together(), when=is_event(event="never")))

    assert (answer.status, answer.result.get("resumed")) == (0, True), (answer.result, answer.stderr)
    assert (answer.result["command"], answer.result["loaded_bytes"]) == ("rollout", 0)
    assert answer.result["skipped_bytes"] > 0


def touched_since(room: Room, striker: Striker) -> list[str]:
    """Return each step that takes something from a node and was begun after the damage was done."""
    assert striker.struck_at is not None
    return [
        entry.step
        for entry in journal_entries(room)
        if entry.event == INTENT and entry.step.startswith(TOUCHES)
        if datetime.fromisoformat(entry.time_utc) > striker.struck_at
    ]


def journal_entries(room: Room) -> Sequence[Entry]:
    return FileJournal(room.site.state.parent / STORE.name / "journal.jsonl").replay()


def mended(weed: WeedCluster) -> WeedCluster:
    """Do what the hint says: a volume that was copied anew while its server was away has one copy too many then."""
    weed.shell("volume.fix.replication -apply")
    return weed


def is_whole(weed: WeedCluster) -> bool:
    addresses = frozenset(weed.volume_address(name) for name in weed.volumes)
    return judge_health(cluster_from_site(weed).observe(), addresses, single_copies=True).is_full
