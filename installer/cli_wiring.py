"""Where the site's parts are put together: the only place, with ``cli``, that builds adapters.

Each part is imported where it is built: network clients and TUF would otherwise be most of the
time that ``status`` or ``--help`` takes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from teraferry.bundles.errors import TeraFerryError
from teraferry.bundles.system.clock import monotonic_seconds, now_utc, sleep_seconds
from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.adapters.lock import site_lock
from teraferry.installer.cli_cluster import make_cluster, make_quorum
from teraferry.installer.cli_gates import require_not_stopped
from teraferry.installer.cli_pulls import make_pulls
from teraferry.installer.cli_smoke import make_smoke
from teraferry.installer.cli_workloads import make_workloads

if TYPE_CHECKING:
    from teraferry.bundles.digest import Buffer, Digest
    from teraferry.bundles.progress import Progress
    from teraferry.bundles.system.console import CommandConsole
    from teraferry.installer.ports import Lock, NodeTransport, Registry
    from teraferry.installer.rollout.key_gate import KeyGate
    from teraferry.installer.rollout.plan import Plan
    from teraferry.installer.rollout.rolling_parts import RollingParts
    from teraferry.installer.site.model import Node, Site, Transport
    from teraferry.installer.site.strategy import Strategy
    from teraferry.installer.verify import VerifiedBundle
    from teraferry.keys.trust_store import TrustStore
    from teraferry.keys.trusted import TrustedRelease

JOURNAL_NAME = "journal.jsonl"
LOAD_CONNECTIONS = 3
"""More than three connections to one registry hardly help; see docs/benchmarks.md."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where this command works: the site file and the state folder."""

    site_file: Path
    state: Path

    def store(self) -> TrustStore:
        """Return what this site trusts."""
        from teraferry.keys.trust_store import TrustStore

        return TrustStore(self.state / "trust")

    def journal(self) -> FileJournal:
        """Return the site's journal."""
        return FileJournal(self.state / JOURNAL_NAME)


def open_site(place: Place, kit: Path | None, progress: Progress) -> tuple[Strategy, Site]:
    """Return the strategy, decided before anything else, and the site; from here on no other host is reached.

    Raises:
        UsageError: 2. BundleError: ``medium-unreadable``, 11.
    """
    from teraferry.installer.site.load import load_site
    from teraferry.installer.site.strategy import parse_environment_tier

    parse_environment_tier(os.environ)
    if kit is not None:
        from teraferry.installer.verify import kit_folder

        # A medium that cannot be read must not be told as a fault of the site file.
        kit_folder(kit)
    strategy = decide_tier(place, kit)
    progress.say("strategy", strategy.said, tier=strategy.tier)
    site = load_site(place.site_file, kit=kit, tier=strategy.tier)
    guard_egress(site)
    return strategy, site


def decide_tier(place: Place, kit: Path | None) -> Strategy:
    """Return the strategy.

    Raises:
        UsageError: 2.
    """
    from teraferry.installer.site.load import decide_strategy

    return decide_strategy(os.environ, place.site_file, kit=kit)


def guard_egress(site: Site) -> None:
    """From here on this process connects to nothing that ``site`` does not name."""
    from teraferry.installer.egress import install_egress_guard, make_egress

    resolv_conf = Path("/etc/resolv.conf")
    install_egress_guard(
        make_egress(site.allowed_endpoints(), resolv_conf=resolv_conf.read_text() if resolv_conf.exists() else "")
    )


@contextmanager
def locked_site(place: Place) -> Iterator[None]:
    """Hold the site lock of a site that pinned a root.

    An empty store refuses first: the lock would make its folder, and a refusal leaves nothing behind.

    Raises:
        TrustError: ``site-not-pinned``, 24. RefusedError: ``locked``, 42.
    """
    store = place.store()
    if not store.products():
        store.load()  # raises, in the store's own words
    with site_lock(place.state):
        yield


def verify_kit(place: Place, kit: Path, progress: Progress, *, whole: bool) -> VerifiedBundle:
    """Return the bundle of ``kit``, verified against what this site pinned.

    Raises:
        TrustError: 20-24. BundleError: 10, 11. UsageError: 2.
    """
    from teraferry.installer.verify import open_bundle

    return open_bundle(kit, _trust_release(place, kit, progress), whole=whole, progress=progress)


def verify_or_hand_over(place: Place, kit: Path, console: CommandConsole) -> VerifiedBundle:
    """Return the bundle of ``kit``, every byte verified; or let the kit's own installer do that, and never return.

    The kit's installer is a signed target, so the signatures alone say whether it may run; reading the bundle
    first would only have it read twice.

    Raises:
        TrustError: 20-24. UsageError: 2. RefusedError: ``installer-no-space``, 44.
        BundleError: 10, 11; ``installer-differs`` too.
    """
    from teraferry.installer.verify import open_bundle

    release = _trust_release(place, kit, console)
    _hand_over_when_newer(release, kit, place, console)
    return open_bundle(kit, release, whole=True, progress=console)


def _trust_release(place: Place, kit: Path, progress: Progress) -> TrustedRelease:
    from teraferry.installer.trust.judge import trust_kit

    return trust_kit(
        kit,
        store=place.store(),
        journal=place.journal(),
        site_file=place.site_file,
        built_at=build_date(),
        now=now_utc(),
        progress=progress,
    )


def _hand_over_when_newer(release: TrustedRelease, kit: Path, place: Place, console: CommandConsole) -> None:
    from teraferry.bundles import layout
    from teraferry.installer.program import handover
    from teraferry.installer.verify import kit_folder

    if not handover.needs_handover(release, os.environ):
        return
    copy = handover.take_over_copy(release, kit_folder(kit), place.state)
    handover.forget_old_copies(copy, os.environ)
    console.say("handed-over", f"the kit's own installer goes on: {copy}", installer=str(copy))
    # The new program has a view of its own; ours would leave the terminal half drawn.
    console.close()
    handover.hand_over(copy, release.targets[layout.INSTALLER].digest, sys.argv[1:])


def forget_old_programs() -> None:
    """Remove what installer files of earlier visits unpacked here; the install is done without them."""
    from teraferry.installer.program.unpacked import forget_old_trees, running_tree

    forget_old_trees(running_tree(), os.environ)


def build_date() -> datetime:
    """Return when this installer was built; a clock that is behind it is wrong."""
    from teraferry.installer.program.built import built_at

    return built_at()


def known_past(place: Place) -> datetime:
    """Return the latest time that is proven past; a store that cannot be read says so elsewhere."""
    try:
        store = place.store()
        floors = [store.load(product).floor.newest_signed_at for product in store.products()]
    except TeraFerryError:
        floors = []
    return max([now_utc(), build_date(), *floors])


def make_registry(site: Site) -> Registry:
    """Return the site's registry; nothing is sent yet, and of one that a release brings nothing is read either."""
    from teraferry.installer.adapters.registry.distribution import open_registry
    from teraferry.installer.adapters.registry.late import LateRegistry
    from teraferry.installer.cli_registry import registry_settings

    if site.registry.service is not None:
        return LateRegistry(registry_settings(site), connections=LOAD_CONNECTIONS)
    return open_registry(registry_settings(site), connections=LOAD_CONNECTIONS)


def make_transport(node: Node) -> NodeTransport:
    """Return how ``node`` is reached."""
    from teraferry.installer.adapters.transport.command import CommandTransport
    from teraferry.installer.adapters.transport.local import LocalTransport

    if node.transport.command is not None:
        return CommandTransport(node.name, node.transport.command)
    if node.transport.ssh is not None:
        return _ssh_transport(node.name, node.transport, node.transport.ssh)
    return LocalTransport(node.name)


def _ssh_transport(node: str, transport: Transport, ssh: str) -> NodeTransport:
    from teraferry.installer.adapters.transport.ssh import SshAddress, ssh_transport
    from teraferry.installer.site.addresses import parse_ssh

    user, host, port = parse_ssh(ssh)
    identity = Path(transport.identity or "")
    return ssh_transport(node, SshAddress(user, host, port, host_key=transport.host_key or "", identity=identity))


def make_lock(site: Site, place: Place, *, instead_of: str, may_miss: bool = False) -> Lock:
    """Return the lock on every node of the site; ``may_miss`` as in ``NodeLocks``."""
    from teraferry.installer.adapters.node_locks import NodeLocks, this_holder

    transports = {node.name: make_transport(node) for node in site.nodes}
    return NodeLocks(transports, this_holder(place.state), instead_of=instead_of, may_miss=may_miss)


def no_bytes(digest: Digest) -> Iterable[Buffer]:
    """Return nothing: a rollback brings no file to a node.

    Raises:
        ValueError: It was asked for one.
    """
    raise ValueError(f"rollback brings no file to a node, but was asked for {digest}")


def make_rolling(
    site: Site,
    plan: Plan,
    pieces: Callable[[Digest], Iterable[Buffer]],
    progress: Progress,
    *,
    keys: KeyGate,
    stop_requested: Callable[[], bool] = lambda: False,
) -> RollingParts:
    """Return the hands of a rolling update of ``site``."""
    from teraferry.installer.rollout.rolling_parts import Patience, RollingParts
    from teraferry.installer.rollout.staging import STAGING_JOBS

    nodes = {node.name: node for node in site.nodes}
    table = site.cluster
    if table is None:
        raise ValueError("a site without [cluster] has no rolling update")
    return RollingParts(
        cluster=make_cluster(site, make_transport),
        workloads=make_workloads(
            site, plan, make_transport, pulls=make_pulls(site, plan, make_registry, pieces, progress)
        ),
        volume_addresses=frozenset(node.address for node in site.nodes_of("volume")),
        pieces=pieces,
        patience=Patience(table.soak_seconds, table.stalled_after_seconds, table.rejoin_seconds),
        staging_jobs=STAGING_JOBS,
        mode=table.mode,
        on_failure=table.on_failure,
        monotonic_seconds=monotonic_seconds,
        sleep_seconds=sleep_seconds,
        progress=progress,
        keys=keys,
        smoke=make_smoke(plan.smoke, lambda name: make_transport(nodes[name]), progress),
        quorum=make_quorum(site),
        master_addresses=frozenset(node.address for node in site.nodes_of("master")),
        require_not_stopped=require_not_stopped(stop_requested, changed=True),
    )
