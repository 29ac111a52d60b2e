"""``doctor``: wires one probe for each thing ``site.toml`` names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial

from teraferry.bundles.errors import RefusedError, TrustError, UsageError
from teraferry.bundles.progress import Progress
from teraferry.bundles.system.clock import now_utc
from teraferry.installer import cli_gates as gates
from teraferry.installer import cli_wiring as wiring
from teraferry.installer.doctor import Probe, require_all_well, rows_of, run_probes
from teraferry.installer.ports import ComplianceProbe
from teraferry.installer.rollout.compliance import ComplianceGate
from teraferry.installer.rollout.conditions import Condition
from teraferry.installer.rollout.gates import judge_health
from teraferry.installer.site.load import load_site
from teraferry.installer.site.model import Node, Site
from teraferry.keys.trust_store import Pinned
from teraferry.keys.tuf_metadata import Root, parse_metadata

_PROBE_SECONDS = 15.0
_EXPIRY_WARNING = timedelta(days=90)
"""A courier, a signing room and a maintenance window fit into it."""


def examine(place: wiring.Place, progress: Progress) -> Mapping[str, object]:
    """Return the fields of ``doctor``.

    Raises:
        RefusedError: ``doctor-found-faults``, 40, when a check failed; all of them are in its facts.
        UsageError: 2, when the site file itself cannot be used: then what it names cannot be looked at,
            and what could be is in its facts.
    """
    probes = [
        Probe("tier", lambda: wiring.decide_tier(place, None).said),
        Probe("trust", lambda: _trust(place)),
        Probe("clock", lambda: _clock(place)),
        Probe("journal", lambda: f"{len(place.journal().replay())} entries, chain unbroken"),
    ]
    checks = run_probes(probes, progress)
    try:
        site = load_site(place.site_file, kit=None)
    except UsageError as error:
        error.facts["checks"] = rows_of(checks)
        raise
    wiring.guard_egress(site)
    probes = [Probe("registry", partial(_registry, site)), Probe("cluster", partial(_cluster, site))]
    probes += [Probe(f"node {node.name}", partial(_node, node)) for node in site.nodes]
    gate = gates.make_compliance(site)
    probes += [Probe(f"compliance {each[0].name}", partial(_compliance, each)) for each in gate.probes]
    checks += run_probes(probes, progress)
    require_all_well(checks)
    return {"checks": rows_of(checks)}


def _trust(place: wiring.Place) -> str:
    store = place.store()
    # An empty store says so itself, when it is asked for its only product.
    pins = [store.load(product) for product in store.products()] or [store.load()]
    return "; ".join(_root(pinned) for pinned in pins)


def _root(pinned: Pinned) -> str:
    expires = parse_metadata(Root, pinned.root, what="pinned root").signed.expires
    found = f"{pinned.product}: root {pinned.floor.root_version}, {pinned.fingerprint}, valid until {expires:%Y-%m-%d}"
    if expires - now_utc() < _EXPIRY_WARNING:
        raise TrustError(
            "root-expires-soon",
            f"{found}, expected at least {_EXPIRY_WARNING.days} days more",
            hint="Ask the release's owner for a kit with a newer root; a site that accepts it goes on with that one.",
            exit_status=21,
        )
    return found


def _clock(place: wiring.Place) -> str:
    now = now_utc()
    store = place.store()
    floors = [store.load(product).floor for product in store.products()]
    behind = max([wiring.build_date(), *(floor.newest_signed_at for floor in floors)]) - now
    if behind > timedelta():
        raise RefusedError(
            "clock-behind",
            f"clock {now:%Y-%m-%d %H:%M} UTC: behind what was signed and accepted by {behind}",
            hint="Set the clock with `date --utc --set ...`; until then the newest signed date is used.",
        )
    return f"{now:%Y-%m-%d %H:%M} UTC"


def _registry(site: Site) -> str:
    wiring.make_registry(site).require_ready()
    return f"{site.registry.url} answers and lets us in"


def _compliance(asked: tuple[ComplianceProbe, Condition]) -> str:
    try:
        ComplianceGate([asked]).require_open()
    except RefusedError as refused:
        # What runs now is no fault of the site's; a probe that says nothing is.
        if refused.reference != "compliance-lock":
            raise
        return f"answers: {refused.message}"
    return "answers: open"


def _cluster(site: Site) -> str:
    expected = frozenset(node.address for node in site.nodes_of("volume"))
    safe = site.cluster is not None and site.cluster.mode == "safe"
    health = judge_health(wiring.make_cluster(site).observe(), expected, single_copies=safe)
    if not health.is_full:
        raise RefusedError(
            "cluster-degraded",
            f"cluster health {health.summary()}, expected exactly 100 %",
            hint="Bring the cluster back to full health before you install.",
        )
    return health.summary()


def _node(node: Node) -> str:
    done = wiring.make_transport(node).run(
        ["sh", "-c", "uname -m && sha256sum --version"], timeout_seconds=_PROBE_SECONDS
    )
    machine = done.text().split()[:1]
    if done.status != 0 or not machine:
        raise RefusedError(
            "node-unreachable",
            f"node {node.name}: status {done.status}, expected a shell and sha256sum there",
            hint="Try the transport of that node in site.toml by hand.",
            facts={"node": node.name},
        )
    return f"reached, {machine[0]}"
