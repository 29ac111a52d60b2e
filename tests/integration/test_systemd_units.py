"""Under a real systemd: services of nodes, the executor as a unit of its own, rules that are there before a network.

``scripts/prove units`` lets such a machine lose its power again and again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from teraferry.bundles.digest import digest_of
from teraferry.installer.adapters.node_probe import TransportProbe
from teraferry.installer.adapters.traffic.nftables import NftablesSwitch
from teraferry.installer.adapters.traffic.nftables_layout import UNIT
from teraferry.installer.adapters.transport.command import CommandTransport
from teraferry.installer.adapters.workload.binary import BinaryWorkload
from tests.lab.admin import SOURCE, Admin, make_house, make_kit
from tests.lab.gateway import virtual_address
from tests.lab.nodes import wait_until
from tests.lab.registry import LabRegistry
from tests.lab.systemd_machine import SystemdMachine

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

PROGRAM = Path("/bin/sleep")
PATH = "/opt/app/bin/app"
SERVICE = f"[Service]\nExecStart={PATH} 1000\n"


@dataclass(frozen=True)
class Site:
    """Who types there, and the kit."""

    admin: Admin
    kit: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site whose legal hold runs. It lies there before the machine boots, which sees what we have at that moment."""
    folder = tmp_path_factory.mktemp("site")
    house = make_house(folder / "house")
    kit = make_kit(house)
    admin = Admin(folder, LabRegistry(folder / "registry"))
    admin.write_site()
    held_by = folder / "hold.json"
    held_by.write_text('{"active_holds": 1}')
    held_by.chmod(0o644)
    asked = f'{{ file = "{held_by}", max_age_seconds = 900, pass_when = {{ field = "active_holds", equals = 0 }} }}'
    with admin.site.open("a") as file:
        file.write(f"[compliance]\nlegal_hold = {asked}\naudit_export = {asked}\n")
    assert admin.pin(house).status == 0
    return Site(admin, kit)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, site: Site) -> Iterator[SystemdMachine]:
    with SystemdMachine(tmp_path_factory.mktemp("machine")) as machine:
        yield machine


def test_unit_of_a_deploy_is_found_stopped_and_started_on_the_new_version(machine: SystemdMachine) -> None:
    transport = CommandTransport("node", machine.prefix)
    old, new = PROGRAM.read_bytes(), PROGRAM.read_bytes() + b"\0"
    transport.upload([old], PATH, mode=0o755, digest=digest_of(old))
    unit = SERVICE.encode()
    transport.upload([unit], "/etc/systemd/system/app.service", mode=0o644, digest=digest_of(unit))
    machine.run("systemctl", "start", "app")
    before = machine.shows("app", "MainPID")
    workload = BinaryWorkload(transport, PATH, start=("systemctl", "start", "app"), stop=("systemctl", "stop", "app"))

    facts = TransportProbe("node", transport).look([(PATH, digest_of(new))], ["app", "app-that-is-not-there"])
    assert facts.units_missing == ("app-that-is-not-there",)
    assert workload.running() == {digest_of(old)}
    workload.stage([new], digest_of(new), mode=0o755)
    workload.stop()
    assert (workload.running(), machine.shows("app", "ActiveState")) == (frozenset(), "inactive")
    workload.select(digest_of(new))
    workload.start()

    assert workload.running() == {digest_of(new)}
    assert machine.shows("app", "ActiveState") == "active"
    assert machine.shows("app", "MainPID") not in ("0", before)


def test_executor_goes_on_when_the_session_that_began_it_is_ended_with_all_its_processes(
    machine: SystemdMachine, site: Site
) -> None:
    # A site file on the kit's own medium is never read, so the kit is put on a stick.
    machine.run("mount", "-t", "tmpfs", "-o", "noexec", "stick", "/media")
    machine.run("cp", "-r", str(site.kit), "/media/kit")
    admin = replace(site.admin, installer=(*machine.prefix, *SOURCE))
    typed = [*SOURCE, "--site", str(admin.site), "--state", str(admin.state), "install", "/media/kit", "--yes"]

    # As a login does it: whatever it starts is of its control group, also in a session (setsid) of its own.
    script = 'setsid sleep 4711 & exec "$@" --wait 10m'
    session = ["systemd-run", "--quiet", "--unit=login", "--setenv=DEPLOYMENT_TIER=1", "--", "sh", "-c", script, "sh"]
    machine.run(*session, *typed)
    wait_until("the executor to be a unit", lambda: len(executors(machine)) == 1)
    wait_until("the executor to wait for the hold", lambda: b"legal_hold" in told(machine))
    assert machine.run("pgrep", "-f", "sleep 4711").stdout
    machine.run("systemctl", "stop", "login")

    assert machine.run("pgrep", "-f", "sleep 4711", check=False).stdout == b""
    assert len(executors(machine)) == 1
    assert admin.type("status").result["running"] is True
    assert admin.type("stop").result["asked"] is True
    wait_until("the executor to end", lambda: executors(machine) == [])
    assert b"stopped-by-operator" in told(machine)


def told(machine: SystemdMachine) -> bytes:
    """Return all that executors wrote for those who follow."""
    return machine.run("sh", "-c", "cat /run/teraferry/*/*/events.jsonl").stdout


def executors(machine: SystemdMachine) -> list[str]:
    listed = machine.run("systemctl", "list-units", "--no-legend", "--plain", "--state=active", "teraferry-*.service")
    return [line.split()[0] for line in listed.stdout.decode().splitlines() if not line.startswith(UNIT)]


def test_standing_side_is_loaded_before_there_is_a_network_and_what_was_held_is_not(machine: SystemdMachine) -> None:
    switch = switch_of(machine)
    switch.set_up("blue")
    switch.hold("green", seconds=600)
    assert switch.observe().active == "green"

    machine.reboot()

    seen = switch_of(machine).observe()
    assert (seen.active, seen.standing) == ("blue", "blue")
    assert machine.shows(UNIT, "ActiveState") == "active"
    loaded, network = (machine.shows(UNIT, "ActiveEnterTimestampMonotonic"), "network-pre.target")
    assert 0 < int(loaded) <= int(machine.shows(network, "ActiveEnterTimestampMonotonic"))


def test_side_that_was_committed_stands_after_the_power_was_cut(machine: SystemdMachine) -> None:
    switch = switch_of(machine)
    switch.set_up("blue")
    switch.hold("green", seconds=600)
    switch.commit("green")

    machine.pull_the_plug()
    machine.boot()

    seen = switch_of(machine).observe()
    assert (seen.active, seen.standing) == ("green", "green")


def test_rules_are_back_when_the_site_loads_its_own_and_flushes_every_table(machine: SystemdMachine) -> None:
    machine.run("systemctl", "start", "nftables.service")
    switch_of(machine).set_up("blue")
    standing = switch_of(machine).observe().standing

    machine.run("systemctl", "restart", "nftables.service")

    # `systemctl` waits for the unit it was asked for, not for those that are restarted with it.
    wait_until("the rules", lambda: switch_of(machine).observe().standing == standing, seconds=20)


def switch_of(machine: SystemdMachine) -> NftablesSwitch:
    return NftablesSwitch(CommandTransport("gateway", machine.prefix), virtual_address())
