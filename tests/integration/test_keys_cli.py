"""``keys snapshot``, ``keys check`` and ``keys conformance``, typed as an admin types them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.admin import NOBODY, SOURCE
from tests.lab.secops import Answer, parse_answer

PROGRAM = Path(__file__).parents[1] / "lab" / "key_program.py"


class Site:
    """A site with one key behind a program; nothing else of it is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "box").mkdir()
        self.key = folder / "box" / "key"
        self.enroll()
        self.write()

    def enroll(self) -> None:
        self.key.write_bytes(os.urandom(32))

    def write(self, *fault: str) -> None:
        command = [sys.executable, str(PROGRAM), str(self.folder / "box"), "hmac", *fault]
        words = ", ".join(f'"{word}"' for word in command)
        lines = ['[site]\nname = "loopback"\ntier = "1"', f'[registry]\nurl = "https://{NOBODY}:5000"\nca = "/ca.pem"']
        lines += [f'[cluster]\nengine = "seaweedfs"\nmasters = ["{NOBODY}:19333"]']
        lines += [f'[[node]]\nname = "vol-1"\nrole = "master"\naddress = "{NOBODY}:19333"']
        lines += ["transport = { local = true }", '[[key]]\nname = "Enclave_Key"\nnode = "vol-1"\nstore = "command"']
        lines += [f'handle = "key"\ncommand = [{words}]\naccepted_without_recovery = "Lan, 2026-03-04, a test"']
        (self.folder / "site.toml").write_text("\n".join(lines) + "\n")
        (self.folder / "site.toml").chmod(0o644)

    def type(self, *arguments: str) -> Answer:
        place = ["--site", str(self.folder / "site.toml"), "--state", str(self.folder / "state")]
        done = subprocess.run([*SOURCE, *place, *arguments, "--json"], capture_output=True, timeout=60, check=False)
        return parse_answer(done)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def told(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.result["reference"]


def test_key_is_recorded_checked_lost_and_recorded_anew_with_a_reason(site: Site) -> None:
    assert told(site.type("keys", "check")) == (2, "keys-not-recorded")
    recorded = site.type("keys", "snapshot")
    assert (recorded.status, recorded.result["recorded"]) == (0, ["Enclave_Key"])
    checked = site.type("keys", "check")
    assert (checked.status, checked.result["kept"], checked.result["lost"]) == (0, ["Enclave_Key"], [])

    site.enroll()
    changed = site.type("keys", "check")
    assert (*told(changed), changed.result["changed"]) == (61, "key-continuity-lost", ["Enclave_Key"])
    assert site.type("status").result["state"] == "key continuity lost"
    assert told(site.type("keys", "snapshot")) == (61, "key-continuity-lost")
    assert told(site.type("keys", "snapshot", "--accept", "Enclave_Key")) == (2, "reason-needed")
    assert told(site.type("keys", "snapshot", "--accept", "Other", "--reason", "x")) == (2, "key-unknown")
    accepted = site.type("keys", "snapshot", "--accept", "Enclave_Key", "--reason", "Lan enrolled a spare")
    assert (accepted.status, accepted.result["recorded"]) == (0, ["Enclave_Key"])
    assert site.type("status").result["state"] == "nothing installed"
    assert site.type("keys", "check").status == 0


def test_key_program_is_tried_out(site: Site) -> None:
    good = site.type("keys", "conformance", "Enclave_Key")
    assert (good.status, good.result["rules"]) == (0, 7)
    site.write("one-answer")
    bad = site.type("keys", "conformance", "Enclave_Key")
    assert (*told(bad), len(bad.result["failed"])) == (40, "key-program-fails", 1)
    assert told(site.type("keys", "conformance", "Other")) == (2, "key-unknown")


def test_doctor_tells_of_each_key(site: Site) -> None:
    checks = {row["name"]: row for row in site.type("doctor").result["checks"]}
    assert checks["key Enclave_Key"]["ok"] is True
    assert "never recorded" in checks["key Enclave_Key"]["found"]
    site.key.unlink()
    checks = {row["name"]: row for row in site.type("doctor").result["checks"]}
    assert checks["key Enclave_Key"]["ok"] is False
