"""``doctor``: wires one probe for each thing ``site.toml`` names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial

from teraferry.bundles.errors import RefusedError, TrustError, UsageError
from teraferry.bundles.progress import Progress
from teraferry.bundles.system.clock import now_utc
from teraferry.installer import cli_gates as gates
from teraferry.installer import cli_wiring as wiring
from teraferry.installer.cli_blue_green import make_health, make_replicator, make_switch
from teraferry.installer.cli_cluster import make_cluster
from teraferry.installer.cli_key_wiring import key_probes
from teraferry.installer.cli_kit_registry import look_at_kit_registry
from teraferry.installer.cli_registry import registry_certificate_expiry
from teraferry.installer.cli_workloads import docker_of
from teraferry.installer.doctor import Advice, Probe, require_all_well, rows_of, run_probes
from teraferry.installer.expiry import Expiry, Horizon
from teraferry.installer.ports import ComplianceProbe
from teraferry.installer.rollout.blue_green_journal import committed_of
from teraferry.installer.rollout.compliance import ComplianceGate
from teraferry.installer.rollout.conditions import Condition
from teraferry.installer.rollout.foresee import told_health, told_replication, told_traffic
from teraferry.installer.rollout.gates import judge_health
from teraferry.installer.site.load import load_site
from teraferry.installer.site.model import DEFAULT_NEXT_VISIT_DAYS, Node, Site
from teraferry.installer.trust.openpgp import OpenPgpDemand, demand_of
from teraferry.installer.trust.record import require_store_current
from teraferry.keys.openpgp.gpgv import load_openpgp_key, require_gpgv
from teraferry.keys.openpgp.listing import list_key_end
from teraferry.keys.trust_store import Pinned
from teraferry.keys.tuf_metadata import Root, parse_metadata

_PROBE_SECONDS = 15.0
_ASK_OWNER = "Ask the release's owner for a kit with a newer root; a site that accepts it goes on with that one."
_ASK_RENEWED = "Ask the release's owner for a renewed copy of the kit before this one is needed again."
_ASK_KEY = "Ask the release's owner for the OpenPGP key with a later expiry, and put it in place of that file."


def examine(place: wiring.Place, progress: Progress) -> Mapping[str, object]:
    """Return the fields of ``doctor``.

    Raises:
        RefusedError: ``doctor-found-faults``, 40, when a check failed; all of them are in its facts.
        UsageError: 2, when the site file itself cannot be used: then what it names cannot be looked at,
            and what could be is in its facts.
    """
    site = _site(place)
    days = site.identity.next_visit_days if isinstance(site, Site) else DEFAULT_NEXT_VISIT_DAYS
    ahead = Horizon(wiring.known_past(place), days)
    probes = [
        Probe("tier", lambda: wiring.decide_tier(place, None).said),
        Probe("trust", lambda: _trust(place, ahead)),
        Probe("clock", lambda: _clock(place)),
        Probe("journal", lambda: f"{len(place.journal().replay())} entries, chain unbroken"),
    ]
    checks = run_probes(probes, progress)
    if isinstance(site, UsageError):
        site.facts["checks"] = rows_of(checks)
        raise site
    wiring.guard_egress(site)
    probes = [Probe("registry", partial(_registry, site, place, ahead)), *_tier_probes(site, place)]
    if (demand := demand_of(site.trust)) is not None:
        probes.append(Probe("openpgp", partial(_openpgp, demand, ahead)))
    probes += [Probe(f"node {node.name}", partial(_node, node)) for node in site.nodes]
    probes += [
        Probe(f"docker on {node.name}", partial(_docker, node, docker_of(deploy)))
        for deploy in site.deploys
        if deploy.workload == "container"
        for node in site.nodes_of(deploy.role)
    ]
    gate = gates.make_compliance(site)
    probes += [Probe(f"compliance {each[0].name}", partial(_compliance, each)) for each in gate.probes]
    probes += key_probes(site, place, progress)
    checks += run_probes(probes, progress)
    require_all_well(checks)
    return {"checks": rows_of(checks), "warnings": [check.name for check in checks if check.warning]}


def _site(place: wiring.Place) -> Site | UsageError:
    try:
        tier: str | None = wiring.decide_tier(place, None).tier
    except UsageError:
        tier = None  # said in a check of its own
    try:
        return load_site(place.site_file, kit=None, tier=tier)
    except UsageError as error:
        return error


def _tier_probes(site: Site, place: wiring.Place) -> list[Probe]:
    """Return what a site of its tier has; both where the file describes both."""
    probes = [] if site.cluster is None else [Probe("cluster", partial(_cluster, site))]
    if site.traffic is None or site.monitor is None or site.replication is None:
        return probes or [Probe("cluster", partial(_cluster, site))]
    replicator, _ = make_replicator(site)
    looks: dict[str, Callable[[str], str]] = {
        "traffic switch": lambda _: told_traffic(make_switch(site)),
        "replication": lambda active: told_replication(replicator, active),
        "health": lambda active: told_health(make_health(site), active),
    }
    return [*probes, *(Probe(name, partial(_tier_2, place, look)) for name, look in looks.items())]


def _tier_2(place: wiring.Place, look: Callable[[str], str]) -> str | Advice:
    committed = committed_of(place.journal().replay())
    try:
        return look(committed.cluster)
    except RefusedError as refused:
        if committed.bundle:
            raise
        # Before the first tier 2 install nobody set these up; the install does, or says what is missing.
        return Advice(f"not yet: {refused.message}", refused.hint)


def _trust(place: wiring.Place, ahead: Horizon) -> str | Advice:
    store, entries = place.store(), place.journal().replay()
    # An empty store says so itself, when it is asked for its only product.
    pins = [store.load(product) for product in store.products()] or [store.load()]
    for pinned in pins:
        require_store_current(pinned, entries)
    found = "; ".join(
        f"{pinned.product}: root {pinned.floor.root_version}, {pinned.fingerprint}, valid until "
        f"{_root_expiry(pinned, ahead):%Y-%m-%d}"
        for pinned in pins
    )
    return ahead.look(found, [expiry for pinned in pins for expiry in _expiries(pinned)])


def _expiries(pinned: Pinned) -> list[Expiry]:
    root = parse_metadata(Root, pinned.root, what="pinned root").signed
    expiries = [Expiry(f"root of {pinned.product}", root.expires, _ASK_OWNER)]
    roles = ("targets", "snapshot", "timestamp")
    named = [(role, pinned.expires[role]) for role in roles if role in pinned.expires]
    return expiries + [
        Expiry(f"{role} of the {pinned.product} kit accepted last", end, _ASK_RENEWED) for role, end in named
    ]


def _root_expiry(pinned: Pinned, ahead: Horizon) -> datetime:
    expires: datetime = parse_metadata(Root, pinned.root, what="pinned root").signed.expires
    if expires <= ahead.now:
        raise TrustError(
            "metadata-expired",
            f"{pinned.product}: root {pinned.floor.root_version}, {pinned.fingerprint}, expired on "
            f"{expires:%Y-%m-%d}, expected a root in use",
            hint=_ASK_OWNER,
            exit_status=21,
        )
    return expires


def _openpgp(demand: OpenPgpDemand, ahead: Horizon) -> str | Advice:
    key = load_openpgp_key(demand.key_file, demand.fingerprint)
    require_gpgv()
    end = list_key_end(key)
    if not end.is_known:
        fix = "Install gnupg here, or ask the release's owner when that key expires."
        return Advice(f"key {key.fingerprint} is there; no gpg tells when it expires", fix)
    until = "without an expiry" if end.expires is None else f"valid until {end.expires:%Y-%m-%d}"
    return ahead.look(f"key {key.fingerprint}, {until}", [Expiry("it", end.expires, _ASK_KEY)])


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


def _registry(site: Site, place: wiring.Place, ahead: Horizon) -> str | Advice:
    if site.registry.service is not None:
        return look_at_kit_registry(site, site.registry.service, place, ahead)
    wiring.make_registry(site).require_ready()
    found = f"{site.registry.url} answers and lets us in"
    expires = registry_certificate_expiry(site)
    if expires is not None:
        found += f", certificate valid until {expires:%Y-%m-%d}"
    fix = "Give the registry a new certificate of the site's CA."
    return ahead.look(found, [Expiry("its certificate", expires, fix)])


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
    health = judge_health(make_cluster(site, wiring.make_transport).observe(), expected, single_copies=safe)
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


def _docker(node: Node, docker: str) -> str:
    argv = [docker, "version", "--format", "{{.Server.Version}}"]
    done = wiring.make_transport(node).run(argv, timeout_seconds=_PROBE_SECONDS)
    if done.status != 0:
        raise RefusedError(
            "node-command-failed",
            f"node {node.name}: {docker} version: status {done.status}, expected a Docker that answers",
            hint="Start Docker on that node, and let the user of its transport use it.",
            facts={"node": node.name},
        )
    return f"Docker {done.text().strip()}"
