"""``doctor``: wires one probe for each thing ``site.toml`` names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.progress import Progress
from teraferry.bundles.system.clock import now_utc
from teraferry.installer import cli_wiring as wiring
from teraferry.installer.doctor import Probe, run_probes
from teraferry.installer.gates import judge_health
from teraferry.installer.site import decide_strategy, load_site
from teraferry.installer.site_model import Node, Site

_PROBE_SECONDS = 15.0


def examine(place: wiring.Place, progress: Progress) -> Mapping[str, object]:
    """Return the fields of ``doctor``.

    Raises:
        RefusedError: ``doctor-found-faults``, 40, when a check failed; all of them are in its facts.
        UsageError: 2, when the site file itself cannot be used: then nothing else can be looked at.
    """
    probes = [
        Probe("tier", lambda: decide_strategy(os.environ, place.site_file, kit=None).said),
        Probe("trust", lambda: f"root {place.store().load().fingerprint}"),
        Probe("clock", lambda: _clock(place)),
        Probe("journal", lambda: f"{len(place.journal().replay())} entries, chain unbroken"),
    ]
    site = load_site(place.site_file, kit=None)
    probes += [Probe("registry", lambda: _registry(site)), Probe("cluster", lambda: _cluster(site))]
    probes += [Probe(f"node {node.name}", lambda node=node: _node(node)) for node in site.nodes]  # type: ignore[misc]
    checks = run_probes(probes, progress)
    failed = [check for check in checks if not check.ok]
    if failed:
        raise RefusedError(
            "doctor-found-faults",
            f"doctor: {len(failed)} of {len(checks)} checks failed: {', '.join(check.name for check in failed)}",
            hint=failed[0].fix,
            facts={f"check {check.name}": f"{check.found} → {check.fix}" for check in failed},
        )
    return {"checks": [{"name": c.name, "ok": c.ok, "found": c.found, "fix": c.fix} for c in checks]}


def _clock(place: wiring.Place) -> str:
    floor = place.store().load().floor
    now = now_utc()
    behind = max(floor.newest_signed_at, wiring.build_date()) - now
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
        ["sh", "-c", "uname -m; sha256sum --version"], timeout_seconds=_PROBE_SECONDS
    )
    if done.status != 0:
        raise RefusedError(
            "node-unreachable",
            f"node {node.name}: status {done.status}, expected a shell and sha256sum there",
            hint="Try the transport of that node in site.toml by hand.",
            facts={"node": node.name},
        )
    return f"reached, {done.text().split()[0]}"
