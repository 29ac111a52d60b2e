"""The kit's registry as a unit of real systemd: enabled, fenced in, upgraded, taken back, there after a power cut."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.admin import fingerprint
from tests.lab.house import House
from tests.lab.kit_registry import PROGRAMS, Kits, kits_in
from tests.lab.nodes import wait_until
from tests.lab.secops import Answer, parse_answer
from tests.lab.systemd_machine import SystemdMachine

SITE = """\
[site]
name = "lab-dc1"
tier = "1"

[registry]
url = "https://127.0.0.1:5000"
ca = "/etc/teraferry/registry-ca.pem"
credentials = { user = "loader", password_file = "/etc/teraferry/registry.password" }

[registry.service]
file = "bin/registry"

[cluster]
engine = "command"
mode = "quick"
health = [{ command = ["echo", '{"ok": true}'], pass_when = { field = "ok", equals = true } }]
node_in = { command = ["echo", '{"ok": true}'], pass_when = { field = "ok", equals = true } }
leave = { command = ["true"] }

[[node]]
name = "vol-1"
role = "volume"
address = "127.0.0.1:18080"
transport = { local = true }
"""
UNIT = "teraferry-registry.service"


CAP_NET_BIND_SERVICE = 1 << 10


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Kits:
    return kits_in(tmp_path_factory.getbasetemp() / "registry-kits")


@pytest.fixture
def machine(kits: Kits, tmp_path: Path) -> Iterator[SystemdMachine]:
    assert kits.paths  # what is on the disk before a machine is booted over it is what the machine sees
    with SystemdMachine(tmp_path / "machine") as booted:
        etc = booted.root / "etc" / "teraferry"
        etc.mkdir()
        (etc / "site.toml").write_text(SITE)
        yield booted


def typed(machine: SystemdMachine, *words: str | Path) -> Answer:
    """Type a command on the machine; site file and state are where they are by default."""
    environment = ["env", "DEPLOYMENT_TIER=1"]
    argv = [*environment, sys.executable, "-m", "teraferry.installer.cli", *map(str, words), "--json"]
    return parse_answer(machine.run(*argv, check=False, timeout_seconds=120))


def pinned(machine: SystemdMachine, house: House) -> None:
    root = machine.root / "etc" / "root-from-paper.json"
    root.write_bytes((house.folder / "trust" / "1.root.json").read_bytes())
    answer = typed(machine, "trust", "pin", "/etc/root-from-paper.json", "--fingerprint", fingerprint(house))
    assert answer.status == 0, answer.stderr


def main_process(machine: SystemdMachine) -> str:
    return machine.text("systemctl", "show", "--property=MainPID", "--value", UNIT)


def running(machine: SystemdMachine) -> bytes:
    return (machine.root / "proc" / main_process(machine) / "exe").read_bytes()


def test_unit_is_enabled_and_fenced_in_and_survives_upgrade_failure_and_power_cut(
    machine: SystemdMachine, kits: Kits
) -> None:
    pinned(machine, kits.house)

    first = typed(machine, "load", kits.paths["old"])

    assert first.status == 0, first.stderr
    assert machine.text("systemctl", "is-enabled", UNIT) == "enabled"
    status = (machine.root / "proc" / main_process(machine) / "status").read_text()
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert (int(facts["CapBnd"], 16), facts["NoNewPrivs"]) == (CAP_NET_BIND_SERVICE, "1")
    inside = ["nsenter", "--target", main_process(machine), "--mount", "--"]
    assert machine.run(*inside, "cat", "/etc/teraferry/registry/ca.key", check=False).stdout == b""
    assert "Read-only" in machine.run(*inside, "touch", "/etc/teraferry/x", check=False).stderr.decode()
    assert machine.run(*inside, "touch", "/var/lib/teraferry-registry/x", check=False).returncode == 0

    unit = machine.root / "etc" / "systemd" / "system" / UNIT
    wanted = unit.read_bytes()
    unit.write_bytes(wanted.replace(b"NoNewPrivileges=yes\n", b""))

    assert typed(machine, "load", kits.paths["new"]).status == 0
    assert (running(machine), unit.read_bytes()) == (PROGRAMS["new"], wanted)

    failed = typed(machine, "load", kits.paths["broken"])

    assert (failed.status, failed.result["reference"]) == (50, "registry-rolled-back")
    assert running(machine) == PROGRAMS["new"]

    machine.pull_the_plug()
    machine.boot()

    wait_until("the registry after a power cut", lambda: running(machine) == PROGRAMS["new"], seconds=20)
    again = typed(machine, "load", kits.paths["new"])
    assert (again.status, again.result["loaded_bytes"]) == (0, 0), again.stderr
    assert "serves as this release wants it" in again.stderr


def test_unit_that_somebody_else_wrote_is_left_alone(machine: SystemdMachine, kits: Kits) -> None:
    pinned(machine, kits.house)
    theirs = machine.root / "etc" / "systemd" / "system" / UNIT
    theirs.write_text("[Service]\nExecStart=/bin/true\n")

    answer = typed(machine, "load", kits.paths["old"])

    assert (answer.status, answer.result["reference"]) == (44, "registry-unit-not-ours")
    assert theirs.read_text() == "[Service]\nExecStart=/bin/true\n"
    assert not (machine.root / "var" / "lib" / "teraferry-registry").exists()
