"""The whole of an install, in the order a person would tell it.

Everything that can refuse is asked before the first write: a refusal leaves registry, nodes and
state as they were. Then the run is opened in the journal, images are loaded, the rollout runs,
and what runs at the end is compared with what was signed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from teraferry.bundles.digest import Digest
from teraferry.bundles.errors import Fact, RefusedError, RolledBackError
from teraferry.bundles.manifest import Release
from teraferry.bundles.progress import Progress
from teraferry.installer.images.load import LoadReport, load_images
from teraferry.installer.images.loaded import require_loaded
from teraferry.installer.kit_registry.bring_up import KitRegistry
from teraferry.installer.ports import Entry, Journal, Lock, Registry
from teraferry.installer.rollout.execute import DONE, GATE, INTENT, STARTED, Clock, RunRecord
from teraferry.installer.rollout.journal import head_of
from teraferry.installer.rollout.plan import Plan
from teraferry.installer.rollout.runs import (
    SUPERSEDED,
    OpenRun,
    end_rolled_back,
    end_run,
    held_for_run,
    installed_version_of,
    open_run_of,
)
from teraferry.installer.rollout.tier import Rollout
from teraferry.installer.trust.record import release_facts
from teraferry.installer.verify import VerifiedBundle

LOAD = "load_registry"


@dataclass(frozen=True, slots=True)
class InstallParts:
    """The hands of an install; ``cli`` puts the adapters in."""

    journal: Journal
    registry: Registry
    rollout: Rollout
    lock: Lock
    clock: Clock
    progress: Progress
    jobs: int
    check_registry: bool
    accept_trust: Callable[[], object]  # raises the floor of the trust store, durably
    confirm: Callable[[Plan], None]  # asks the operator; raises to stop
    require_compliance: Callable[[], None]  # waits or raises, 41, while a hold or an export runs
    require_nodes_ready: Callable[[], object]  # raises where a node could not take what is brought to it
    require_not_stopped: Callable[[], None]  # raises StoppedByOperatorError, before anything is tagged
    kit_registry: KitRegistry | None = None  # at a site without a registry: the one that the release brings
    loads: bool = True  # ``rollout`` does not: it refuses where the registry lacks anything of the release
    instead_of: str = ""  # the holder whose locks on nodes are taken over, for the journal


@dataclass(frozen=True, slots=True)
class InstallReport:
    """What an install did."""

    nodes: tuple[str, ...]
    load: LoadReport
    journal_head: Digest
    resumed: bool
    outcome: Mapping[str, Fact]  # of the tier, see ``Rollout.outcome``


def install(bundle: VerifiedBundle, plan: Plan, parts: InstallParts) -> InstallReport:
    """Bring the release in ``bundle`` to the site, or go on with an install that was interrupted.

    1. Ask everything that can refuse: the version, the compliance lock, every node, the registry, the keys that must
       survive, what the tier itself looks at (in tier 1 the cluster's health), the lock on every node.
    2. Where the site has no registry, bring up the release's. Bring every blob to it; nothing names them yet, so
       nothing has changed. ``rollout`` finds them there.
    3. Copy wrapped keys away, raise the trust floor, open the run and record the keys; then tag.
    4. Roll out. 5. Look at the keys again, compare what runs with what was signed, and end the run.

    Raises:
        RefusedError: 40, 42, 44: nothing changed, or blobs only.
        RolledBackError: 50. OperatorNeededError: 60-62; 61 when a key is lost.
    """
    entries = parts.journal.replay()
    unfinished = open_run_of(entries)
    signed = bundle.release.bundle
    resumed = unfinished is not None and unfinished.facts.get("bundle") == signed.digest
    run = unfinished.run if resumed and unfinished else f"{signed.product}-{signed.version}-{len(entries) + 1}"
    record = RunRecord(parts.journal, run=run, clock=parts.clock)
    keys = parts.rollout.keys.require_ready(record)  # 1
    require_upgrade_allowed(bundle.manifest.release, installed_version_of(entries))
    if unfinished is None or not _is_in_hand(parts, entries, unfinished.run):
        # What is in hand is finished whatever runs: a node that is away makes the data that a hold protects less safe.
        parts.require_compliance()
        parts.require_nodes_ready()
    _require_registry(bundle, parts, record)
    begun_with = parts.rollout.require_ready(entries, run=run)
    parts.confirm(plan)
    parts.require_not_stopped()
    if resumed:
        parts.progress.say("resumed", f"going on with run {run}, which was interrupted", run=run)

    def begin() -> None:
        parts.rollout.keys.back_up()
        parts.accept_trust()
        _open(record, _Opening(bundle, plan, begun_with, unfinished, parts.loads))
        parts.rollout.keys.begin(record, keys)
        if parts.instead_of:
            record.note("locks-taken-over", holder=parts.instead_of)

    with held_for_run(parts.lock, parts.journal, keeps=parts.rollout.is_in_hand):
        load = _load(bundle, parts, record, begin)  # 2, 3
        try:
            parts.rollout.roll_out(plan, record, begun_with)  # 4
        except RolledBackError:
            end_rolled_back(record)
            raise
        parts.rollout.keys.require_kept(record, "at the end")  # 5
        parts.rollout.require_done(plan, begun_with)
        end_run(record)
    return InstallReport(plan.nodes, load, _head_of(parts), resumed, parts.rollout.outcome(record.entries()))


def require_upgrade_allowed(release: Release, installed: str | None) -> None:
    """Refuse an upgrade the release was not made for. A first install and a reinstall pass.

    Raises:
        RefusedError: ``upgrade-not-supported``, 40.
    """
    if not release.upgrades_from or installed in (None, release.version):
        return
    try:
        allowed = Version(str(installed)) in SpecifierSet(release.upgrades_from, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        allowed = False
    if not allowed:
        raise RefusedError(
            "upgrade-not-supported",
            f"installed version {installed}: this release upgrades from {release.upgrades_from} only",
            hint="Install the release in between first, or ask the release engineer for a kit made for your version.",
            facts={"installed": installed, "upgrades_from": release.upgrades_from},
        )


def _head_of(parts: InstallParts) -> Digest:
    return head_of(parts.journal.replay())


def _is_in_hand(parts: InstallParts, entries: Sequence[Entry], run: str) -> bool:
    return parts.rollout.is_in_hand([entry for entry in entries if entry.run == run])


@dataclass(frozen=True, slots=True)
class _Opening:
    """What the first entries of a run are written from."""

    bundle: VerifiedBundle
    plan: Plan
    begun_with: Mapping[str, object]
    unfinished: OpenRun | None
    loads: bool


def _open(record: RunRecord, opening: _Opening) -> None:
    """Write the run's first entries, each once."""
    if not any(entry.event == STARTED for entry in record.entries()):
        if opening.unfinished is not None and opening.unfinished.run != record.run:
            record.note(SUPERSEDED, superseded=opening.unfinished.run)
        plan = opening.plan
        facts = {**release_facts(opening.bundle.release), "tier": plan.tier, "nodes": list(plan.nodes)}
        record.note(STARTED, "", **facts, **opening.begun_with)
    if opening.loads and not record.is_begun(LOAD):
        record.note(INTENT, LOAD)


def _require_registry(bundle: VerifiedBundle, parts: InstallParts, record: RunRecord) -> None:
    if parts.loads and parts.kit_registry is not None:
        parts.kit_registry.require_ready(bundle)
        return
    parts.registry.require_ready()
    if not parts.loads and not record.is_rolling_back():
        require_loaded(bundle, parts.registry)


def _load(bundle: VerifiedBundle, parts: InstallParts, record: RunRecord, begin: Callable[[], None]) -> LoadReport:
    if record.is_rolling_back():
        # A run that gave up needs the old version only, which is on the nodes.
        return LoadReport(0, 0, 0, 0, ())
    if not parts.loads:
        # Looked at once more: since the first look a person was asked, and may have taken their time.
        found = require_loaded(bundle, parts.registry)
        begin()
        record.note(GATE, LOAD, tags=list(found.tags))
        return found
    if parts.kit_registry is not None:
        parts.kit_registry.bring_up(bundle)
    report = load_images(
        bundle,
        parts.registry,
        jobs=parts.jobs,
        progress=parts.progress,
        check_registry=parts.check_registry,
        before_tags=begin,
        require_not_stopped=parts.require_not_stopped,
    )
    begin()  # a bundle without images has no tags to begin before
    if not record.is_done(LOAD):
        record.note(DONE, LOAD, tags=list(report.tags), loaded_bytes=report.loaded_bytes)
    return report
