"""Where the parts of a tier 2 site are put together: switch, replication, health, and the nodes of both clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from teraferry.bundles.system.clock import monotonic_seconds, now_utc, sleep_seconds
from teraferry.installer import cli_gates as gates
from teraferry.installer.cli_pulls import make_pulls
from teraferry.installer.cli_smoke import make_smoke
from teraferry.installer.cli_wiring import make_registry, make_transport, no_bytes
from teraferry.installer.cli_workloads import make_workloads

if TYPE_CHECKING:
    from teraferry.bundles.digest import Buffer, Digest
    from teraferry.bundles.progress import Progress
    from teraferry.installer.adapters.traffic.sides import VirtualAddress
    from teraferry.installer.blue_green_ports import HealthProbe, Promotion, Replicator, TrafficSwitch
    from teraferry.installer.cli_wiring import Place
    from teraferry.installer.ports import Lock, NodeTransport
    from teraferry.installer.rollback import RollbackParts
    from teraferry.installer.rollout.blue_green_parts import BlueGreenParts, Window
    from teraferry.installer.rollout.key_gate import KeyGate
    from teraferry.installer.rollout.plan import Plan
    from teraferry.installer.site.model import Site, TrafficTable

UNATTENDED_HOLD_SECONDS = 3600.0
"""What a switch without a dead-man is told; it takes no notice, but it is a length of time."""


def make_switch(site: Site) -> TrafficSwitch:
    """Return the site's traffic switch; nothing is asked yet."""
    from teraferry.installer.rollout.blue_green_plan import require_tables

    traffic, _ = require_tables(site)
    transport, virtual = _transport_to(site, traffic.node), _virtual_address(traffic)
    if traffic.engine == "haproxy":
        from teraferry.installer.adapters.traffic.haproxy import HaproxyFiles, HaproxySwitch

        named = {"socket": traffic.socket, "map": traffic.map}
        return HaproxySwitch(
            transport, virtual, files=HaproxyFiles(**{name: path for name, path in named.items() if path is not None})
        )
    if traffic.engine == "command":
        from teraferry.installer.adapters.traffic.command import CommandSwitch

        return CommandSwitch(transport, virtual, traffic.command or ())
    from teraferry.installer.adapters.traffic.nftables import NftablesSwitch

    return NftablesSwitch(transport, virtual)


def make_replicator(site: Site) -> tuple[Replicator, Promotion | None]:
    """Return the site's replication, and what moves its primary where there is one."""
    from teraferry.installer.rollout.blue_green_plan import require_tables

    _, table = require_tables(site)
    if table.engine == "seaweedfs":
        from teraferry.installer.adapters.replicator.seaweedfs import SeaweedfsReplicator
        from teraferry.installer.adapters.replicator.seaweedfs_service import SeaweedfsReplication

        settings = SeaweedfsReplication(
            blue=table.blue,
            green=table.green,
            path=table.path or "/",
            metrics=table.metrics,
            weed=table.weed,
            start=table.start_argv,
            stop=table.stop_argv,
        )
        return SeaweedfsReplicator(settings, _transport_to(site, table.node)), None
    if table.engine == "postgresql":
        from teraferry.installer.cli_database import make_postgresql

        moved = make_postgresql(table, partial(_transport_to, site))
        return moved, moved
    transport, argv = _transport_to(site, table.node), table.command or ()
    if table.writers == "one":
        from teraferry.installer.adapters.replicator.command_primary import CommandPrimary

        primary = CommandPrimary(transport, argv, writers="one")
        return primary, primary
    from teraferry.installer.adapters.replicator.command import CommandReplicator

    return CommandReplicator(transport, argv, writers="two"), None


def make_health(site: Site) -> HealthProbe:
    """Return what asks the application of either cluster whether it is well."""
    from teraferry.installer.adapters.probes.health import HttpHealth
    from teraferry.installer.rollout.blue_green_plan import require_monitor, require_tables
    from teraferry.installer.site.monitor_rules import answer_seconds

    traffic, _ = require_tables(site)
    monitor = require_monitor(site)
    ca = monitor.ca or site.registry.site_ca
    return HttpHealth(
        {"blue": monitor.url_of(traffic.blue), "green": monitor.url_of(traffic.green)},
        ca=None if ca is None else Path(ca),
        timeout_seconds=answer_seconds(every_seconds=monitor.every_seconds, latency_p99_ms=monitor.latency_p99_ms),
    )


def make_blue_green(
    site: Site,
    plan: Plan,
    pieces: Callable[[Digest], Iterable[Buffer]],
    progress: Progress,
    *,
    keys: KeyGate,
    stop_requested: Callable[[], bool] = lambda: False,
) -> BlueGreenParts:
    """Return the hands of a blue-green rollout of ``site``."""
    from teraferry.installer.rollout.blue_green_parts import BlueGreenParts
    from teraferry.installer.rollout.staging import STAGING_JOBS

    replicator, promotion = make_replicator(site)
    pulls = make_pulls(site, plan, make_registry, pieces, progress)
    return BlueGreenParts(
        switch=make_switch(site),
        replicator=replicator,
        promotion=promotion,
        health=make_health(site),
        compliance=gates.make_compliance(site),
        smoke=make_smoke(plan.smoke, partial(_transport_to, site), progress),
        workloads=make_workloads(site, plan, make_transport, pulls=pulls),
        pieces=pieces,
        staging_jobs=STAGING_JOBS,
        window=make_window(site),
        monotonic_seconds=monotonic_seconds,
        sleep_seconds=sleep_seconds,
        progress=progress,
        keys=keys,
        require_not_stopped=gates.require_not_stopped(stop_requested, changed=True),
    )


def make_rollback(
    site: Site,
    place: Place,
    progress: Progress,
    *,
    lock: Lock,
    confirm: Callable[[str], None],
    stop_requested: Callable[[], bool],
) -> RollbackParts:
    """Return the hands of ``rollback``; no byte of a release is needed for it."""
    from teraferry.installer.cli_key_wiring import make_key_gate
    from teraferry.installer.rollback import RollbackParts
    from teraferry.installer.rollout.blue_green_plan import plan_back

    journal = place.journal()
    keys = make_key_gate(site, place, progress, journal=journal)
    bare = plan_back(site, standby="green")
    return RollbackParts(
        journal=journal,
        lock=lock,
        clock=now_utc,
        progress=progress,
        switch=make_blue_green(site, bare, no_bytes, progress, keys=keys, stop_requested=stop_requested),
        plan_back=lambda standby: plan_back(site, standby=standby),
        confirm=confirm,
    )


def make_window(site: Site) -> Window:
    """Return how the standby is watched, as site.toml says."""
    from teraferry.installer.rollout.blue_green_parts import Window
    from teraferry.installer.rollout.blue_green_plan import require_monitor, require_tables
    from teraferry.installer.site.blue_green_rules import cut_after_seconds, hold_seconds

    traffic, replication = require_tables(site)
    monitor = require_monitor(site)
    return Window(
        seconds=monitor.seconds,
        every_seconds=monitor.every_seconds,
        error_rate_max=monitor.error_rate_max,
        latency_p99_ms=monitor.latency_p99_ms,
        hold_seconds=hold_seconds(traffic) or UNATTENDED_HOLD_SECONDS,
        stalled_after_seconds=replication.stalled_after_seconds,
        write_hold_seconds=replication.write_hold_seconds or 0,
        cut_after_seconds=cut_after_seconds(traffic),
    )


def _transport_to(site: Site, name: str | None) -> NodeTransport:
    from teraferry.installer.adapters.transport.local import LocalTransport

    node = next((node for node in site.nodes if node.name == name), None)
    return LocalTransport("this machine") if node is None else make_transport(node)


def _virtual_address(traffic: TrafficTable) -> VirtualAddress:
    from teraferry.installer.adapters.traffic.sides import Endpoint, Service, VirtualAddress
    from teraferry.installer.site.addresses import parse_address

    (virtual, port), blue, green = map(parse_address, (traffic.virtual_ip, traffic.blue, traffic.green))
    service = Service(port, *(Endpoint(IPv4Address(host), number) for host, number in (blue, green)))
    return VirtualAddress(IPv4Address(virtual), (service,))
