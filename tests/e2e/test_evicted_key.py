"""A node's TPM key is evicted in the middle of a rolling update of a real cluster: it stops there.

Two nodes have a TPM each (swtpm). ``Company_Key`` of the second node is taken out of it while that node
is drained. Its wrapped blobs were copied away before the first step; with these copies it is brought
back, and only then the site may go on. Meanwhile argument lists of all processes are sampled: no secret
is in one, nor in what was printed, nor in the state folder.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from teraferry.bundles.digest import digest_of, hex_of
from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.program.handover import digest_of_file
from teraferry.installer.rollout import key_journal
from teraferry.installer.rollout.execute import DONE, FAILED, INTENT
from tests.e2e.conftest import NEW_WEED, OLD_WEED
from tests.e2e.room import SOURCE
from tests.lab.secops import Answer, Secops
from tests.lab.site import SITE_FILE, LabSite
from tests.lab.swtpm import SEALED, TCTI, TWIN, LabTpm
from tests.lab.weed import VOLUME_NODES, weed_binary

pytestmark = pytest.mark.real

KEYS = {"Company_Key": "vol-2", "Backup_Key": "vol-5"}


@pytest.fixture(scope="module")
def site(secops: Secops, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabSite]:
    with LabSite(tmp_path_factory.mktemp("key-site"), weed=weed_binary(OLD_WEED)) as site:
        (site.etc / "root-from-paper.json").write_bytes(secops.root.read_bytes())
        there = SITE_FILE.parent / "root-from-paper.json"
        answer = site.type(*SOURCE, "trust", "pin", str(there), "--fingerprint", secops.fingerprint)
        assert answer.status == 0, answer.stderr
        yield site


@pytest.fixture(scope="module")
def tpms(site: LabSite, tmp_path_factory: pytest.TempPathFactory) -> dict[str, LabTpm]:
    """Two TPMs, each with a sealed secret and its twin."""
    made = {}
    for name, node in KEYS.items():
        made[name] = tpm = LabTpm(site.lab.node(node), tmp_path_factory.mktemp(f"tpm-{node}")).create()
        tpm.add_sealed_secret()
        tpm.add_twin()
    site.write_site_toml(more="".join(key_table(name, made[name]) for name in KEYS))
    return made


def key_table(name: str, tpm: LabTpm) -> str:
    blobs = ", ".join(f'"{tpm.path(f"sealed.{part}")}"' for part in ("pub", "priv"))
    lines = [f'[[key]]\nname = "{name}"\nnode = "{KEYS[name]}"\nstore = "tpm"\nhandle = "{SEALED:#x}"']
    lines += [f'twin = "{TWIN:#x}"\ntwin_auth = "{tpm.auth}"\ntcti = "{TCTI}"\nblobs = [{blobs}]']
    lines += [f'protected = ["{tpm.state}"]\nrecovery_proof = "{SITE_FILE.parent / name}.json"\n']
    return "\n" + "\n".join(lines)


def write_recovery_proofs(site: LabSite, recorded: Answer) -> None:
    for row in recorded.result["keys"]:
        proof = {"key": row["name"], "identity": row["identity"], "proven_on": "2026-03-04"}
        proof |= {"proven_by": "Nguyen Lan", "how": "brought back on the spare server"}
        (site.etc / f"{row['name']}.json").write_text(json.dumps(proof))


@contextmanager
def argument_lists() -> Iterator[set[bytes]]:
    """Sample the argument lists of every process of this machine for as long as it lasts."""
    seen: set[bytes] = set()
    over = threading.Event()

    def sample() -> None:
        while not over.wait(0.03):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(file.read_bytes())
                except OSError:
                    continue  # it ended

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def test_rollout_stops_at_the_node_whose_key_is_evicted(
    site: LabSite, tpms: dict[str, LabTpm], kits: dict[str, Path]
) -> None:
    there, said = site.carry(kits["rolling"]), []

    def type_(*argv: str, evict_at: str = "") -> Answer:
        def on_event(event: dict[str, Any]) -> None:
            if evict_at and event.get("step") == evict_at:
                tpms["Company_Key"].evict(SEALED)

        answer = site.type(*SOURCE, *argv, on_event=on_event)
        said.append(json.dumps(answer.events) + answer.stderr)
        return answer

    with argument_lists() as seen:
        unproven = type_("plan", str(there))
        assert (unproven.status, unproven.result["reference"]) == (40, "key-recovery-unproven")
        recorded = type_("keys", "snapshot")
        assert recorded.status == 0, recorded.stderr
        write_recovery_proofs(site, recorded)
        require_plan_lists_the_keys(type_("plan", str(there)))

        lost = type_("install", str(there), "--yes", evict_at="drain_node vol-2")
        require_stopped_there(site, lost)
        require_told(type_("status"), type_("install", str(there), "--yes"))
        require_reported(type_("report", "-o", str(site.state / "report.html")))
        require_brought_back(site, tpms["Company_Key"], type_)
    require_no_secret_anywhere(site, tpms, [*said, *(arguments.decode("latin-1") for arguments in seen)])


def require_plan_lists_the_keys(plan: Answer) -> None:
    assert plan.status == 0, plan.stderr
    assert [(row["name"], row["node"], row["proof"]) for row in plan.result["keys"]] == [
        (name, node, "hmac") for name, node in KEYS.items()
    ]
    assert plan.result["gates"]["keys"] == "2 keys kept"
    assert "before the first step" in plan.result["keys_checked"]
    assert any("key that must survive" in step for step in plan.result["steps"])


def require_stopped_there(site: LabSite, lost: Answer) -> None:
    assert (lost.status, lost.result["reference"]) == (61, "key-continuity-lost"), lost.stderr
    assert (lost.result["key"], lost.result["node"]) == ("Company_Key", "vol-2")
    assert "CRITICAL" in lost.stderr
    entries = FileJournal(site.state / "journal.jsonl").replay()
    touched = {entry.step.split()[1] for entry in entries if entry.event == INTENT and entry.step.startswith("patch")}
    assert touched == {"vol-1", "vol-2"}
    assert "rejoin_cluster vol-2" not in {entry.step for entry in entries if entry.event == DONE}
    assert [entry.step for entry in entries if entry.event == key_journal.LOST] == ["before vol-2 rejoins"]
    assert [entry.facts["reference"] for entry in entries if entry.event == FAILED] == ["key-continuity-lost"]
    old, new = digest_of_file(weed_binary(OLD_WEED)), digest_of_file(weed_binary(NEW_WEED))
    running = {name: site.cluster.volumes[name].running_digest() for name in VOLUME_NODES if name != "vol-2"}
    assert running == {name: new if name == "vol-1" else old for name in VOLUME_NODES if name != "vol-2"}
    assert site.cluster.filer.running_digest() == old


def require_told(status: Answer, again: Answer) -> None:
    assert status.result["state"] == "key continuity lost"
    assert "Company_Key on vol-2" in status.result["keys_lost"][0]
    assert (again.status, again.result["key"], again.result["node"]) == (61, "Company_Key", "vol-2")


def require_reported(report: Answer) -> None:
    """The page says which key on which node, and which nodes were never touched."""
    assert (report.status, report.result["state"]) == (0, "key continuity lost"), report.stderr
    page = Path(report.result["report"]).read_text()
    assert "CRITICAL: key continuity lost" in page
    assert "Company_Key on vol-2" in page
    outcomes = dict(re.findall(r"<tr><td>([\w-]+)</td><td>[^<]*</td><td>[^<]*</td><td>([^<]*)</td></tr>", page))
    assert (outcomes["vol-1"], outcomes["vol-2"], outcomes["vol-3"]) == ("done", "failed", "not touched")


def require_brought_back(site: LabSite, tpm: LabTpm, type_: Any) -> None:
    """The copies that were made before the first step bring the key back; only that settles the alarm."""
    assert type_("keys", "check").status == 61
    backups = site.state / "key-backups"
    public, private = (
        (backups / hex_of(digest_of(Path(tpm.path(f"sealed.{part}")).read_bytes()))).read_bytes()
        for part in ("pub", "priv")
    )
    tpm.bring_back(public, private)
    checked = type_("keys", "check")
    assert (checked.status, sorted(checked.result["kept"])) == (0, sorted(KEYS)), checked.stderr
    assert type_("status").result["state"] == "half done"


def require_no_secret_anywhere(site: LabSite, tpms: dict[str, LabTpm], said: list[str]) -> None:
    files = [file for file in site.state.rglob("*") if file.is_file()]
    assert any(file.name == "journal.jsonl" for file in files)
    texts = [*said, *(file.read_bytes().decode("latin-1") for file in files)]
    for tpm in tpms.values():
        for secret in (tpm.auth_value, tpm.secret.hex(), tpm.secret.decode("latin-1")):
            assert not [text[:200] for text in texts if secret in text]
