"""What may halt or postpone an install from outside: a stop that was asked for, the compliance lock, a node."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from teraferry.bundles.system.clock import now_utc, sleep_seconds

if TYPE_CHECKING:
    from teraferry.bundles.progress import Progress
    from teraferry.installer.ports import ComplianceProbe
    from teraferry.installer.rollout.compliance import ComplianceGate
    from teraferry.installer.rollout.plan import Plan
    from teraferry.installer.rollout.preflight import Preflight
    from teraferry.installer.site.asking import Probe
    from teraferry.installer.site.model import Site


def require_not_stopped(stop_requested: Callable[[], bool], *, changed: bool) -> Callable[[], None]:
    """Return what raises once ``stop_requested``."""
    from teraferry.installer.rollout.stopping import StoppedByOperatorError

    def require() -> None:
        if stop_requested():
            raise StoppedByOperatorError(changed=changed)

    return require


def make_compliance(site: Site) -> ComplianceGate:
    """Return the site's compliance lock; open for ever where the site has none."""
    from teraferry.installer.rollout.compliance import ComplianceGate
    from teraferry.installer.rollout.conditions import Condition

    table = site.compliance
    probes = [
        (_make_probe(name, probe, site), Condition(probe.pass_when.field, probe.pass_when.equals))
        for name, probe in (table.probes.items() if table else ())
    ]
    return ComplianceGate(probes)


def _make_probe(name: str, probe: Probe, site: Site) -> ComplianceProbe:
    from teraferry.installer.adapters.compliance.command import CommandProbe
    from teraferry.installer.adapters.compliance.file import FileProbe
    from teraferry.installer.adapters.compliance.http import HttpProbe

    if probe.http is not None:
        ca = probe.ca or site.registry.site_ca
        return HttpProbe(name, probe.http, ca=None if ca is None else Path(ca))
    if probe.file is not None:
        return FileProbe(name, Path(probe.file), max_age=timedelta(seconds=probe.max_age_seconds or 0), now=now_utc)
    return CommandProbe(name, probe.command or ())


def require_compliance(
    gate: ComplianceGate, wait: str, progress: Progress, *, stop_requested: Callable[[], bool]
) -> Callable[[], None]:
    """Return what asks ``gate`` until it is open, as long as ``wait`` says.

    Raises:
        UsageError: ``duration-malformed``, 2.
    """
    from teraferry.installer.rollout.compliance import Patience, wait_until_open
    from teraferry.installer.site.durations import parse_duration

    patience = Patience(
        parse_duration(wait), now_utc, sleep_seconds, progress, require_not_stopped(stop_requested, changed=False)
    )
    return lambda: wait_until_open(gate, patience)


def make_preflight(site: Site, plan: Plan) -> Preflight:
    """Return what looks at every node of the site: each is locked, and those of ``plan`` are to take something."""
    from teraferry.installer.adapters.node_probe import TransportProbe
    from teraferry.installer.cli_wiring import make_transport
    from teraferry.installer.cli_workloads import make_workloads
    from teraferry.installer.rollout.preflight import NodeNeeds, Preflight

    needs = {}
    for node in site.nodes:
        targets = plan.targets_of(node.name)
        places = {(target.role, target.path) for target in targets}
        deploys = [deploy for deploy in site.deploys if (deploy.role, deploy.place) in places]
        # systemctl is asked only where it is what starts or stops the service.
        units = tuple(deploy.unit for deploy in deploys if deploy.unit and not (deploy.start and deploy.stop))
        needs[node.name] = NodeNeeds(targets, units)
    probes = {node.name: TransportProbe(node.name, make_transport(node)) for node in site.nodes}
    return Preflight(needs, probes, workloads=make_workloads(site, plan, make_transport), clock=now_utc)
