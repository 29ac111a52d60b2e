"""``mode = "quick"`` on real servers: nodes leave and restart, one after the other, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.program.handover import digest_of_file
from teraferry.installer.rollout.execute import DONE
from teraferry.installer.rollout.gates import judge_health
from tests.e2e.room import Room, build_kit
from tests.e2e.test_egress import store_data
from tests.lab.rollable import cluster_from_site
from tests.lab.weed import weed_binary

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("site"), pytest.mark.timeout(600)]

STORE = Path("/var/lib/quick")
SMOKE = """
[[smoke]]
http = "http://{master}/cluster/status"
pass_when = {{ field = "IsLeader", equals = true }}

[[smoke]]
command = ["sh", "-c", "pgrep weed >/dev/null && echo '{{\\"weed\\": \\"runs\\"}}'"]
pass_when = {{ field = "weed", equals = "runs" }}
"""


def test_quick_rollout_brings_every_node_to_the_signed_version_and_ends_at_full_health(
    room: Room, tmp_path: Path
) -> None:
    cluster = room.site.cluster
    rolled = [*cluster.volumes.values(), cluster.filer]
    running = rolled[0].running_digest()
    program = next(file for file in map(weed_binary, ("4.47", "4.48")) if digest_of_file(file) != running)
    kit = build_kit(room.secops, tmp_path, "4.3.0", program=program, layer_bytes=100_000)
    room.secops.sign_fully(kit)
    room.pin(STORE, room.secops.root, room.secops.fingerprint)
    smoke = SMOKE.format(master=cluster.master_address)
    site = room.write_site_file("quick.toml", lambda text: text.replace('mode = "safe"', 'mode = "quick"') + smoke)
    store_data(room)

    with room.carried(kit) as there:
        answer = room.type("--site", site, "--state", STORE, "install", there, "--yes")

    assert answer.status == 0, (answer.result, answer.stderr)
    assert [service.running_digest() for service in rolled] == [digest_of_file(program)] * len(rolled)
    addresses = frozenset(cluster.volume_address(name) for name in cluster.volumes)
    health = judge_health(cluster_from_site(cluster).observe(), addresses, single_copies=True)
    assert health.is_full, health.summary()
    entries = FileJournal(room.site.state.parent / STORE.name / "journal.jsonl").replay()
    done = [entry.step for entry in entries if entry.event == DONE]
    assert {f"drain_node {name}" for name in cluster.volumes} <= set(done)
    asked = [entry.facts["passed"] for entry in entries if entry.event == DONE and entry.step.startswith("run_smoke")]
    assert [len(passed) for passed in asked if isinstance(passed, list)] == [2] * len(rolled)
