"""The whole of an install, in the order a person would tell it.

Everything that can refuse is asked before the first write: a refusal leaves registry, nodes and
state as they were. Then the run is opened in the journal, images are loaded, the rollout runs,
and what runs at the end is compared with what was signed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from teraferry.bundles.digest import Digest
from teraferry.bundles.errors import OperatorNeededError, RefusedError, RolledBackError
from teraferry.bundles.manifest import Release
from teraferry.bundles.progress import Progress
from teraferry.installer.images.load import LoadReport, load_images
from teraferry.installer.load import release_facts
from teraferry.installer.ports import Entry, Journal, Lock, Registry
from teraferry.installer.rollout import rolling
from teraferry.installer.rollout.execute import DONE, ENDED, INTENT, STARTED, Clock, RunRecord
from teraferry.installer.rollout.gates import Baseline, Health, baseline_of
from teraferry.installer.rollout.journal import head_of
from teraferry.installer.rollout.plan import DRAIN, PATCH, Plan
from teraferry.installer.rollout.rolling_parts import RollingParts, require_full_health
from teraferry.installer.rollout.runs import OpenRun, installed_version_of, open_run_of
from teraferry.installer.verify import VerifiedBundle

LOAD = "load_registry"


@dataclass(frozen=True, slots=True)
class InstallParts:
    """The hands of an install; ``cli`` puts the adapters in."""

    journal: Journal
    registry: Registry
    rolling: RollingParts
    lock: Lock
    clock: Clock
    progress: Progress
    jobs: int
    check_registry: bool
    accept_trust: Callable[[], object]  # raises the floor of the trust store, durably
    confirm: Callable[[Plan], None]  # asks the operator; raises to stop
    require_compliance: Callable[[], None]  # waits or raises, 41, while a hold or an export runs
    require_not_stopped: Callable[[], None]  # raises StoppedByOperatorError, before anything is tagged
    instead_of: str = ""  # the holder whose locks on nodes are taken over, for the journal


@dataclass(frozen=True, slots=True)
class InstallReport:
    """What an install did."""

    nodes: tuple[str, ...]
    load: LoadReport
    journal_head: Digest
    resumed: bool


def install(bundle: VerifiedBundle, plan: Plan, parts: InstallParts) -> InstallReport:
    """Bring the release in ``bundle`` to the site, or go on with an install that was interrupted.

    1. Ask everything that can refuse: the version, the compliance lock, the registry, the keys that must survive,
       the cluster's health, the lock on every node.
    2. Bring every blob to the registry; nothing names them yet, so nothing has changed.
    3. Copy wrapped keys away, raise the trust floor, open the run and record the keys; then tag.
    4. Roll out. 5. Compare what runs with what was signed, look at the keys again, and end the run.

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
    keys = parts.rolling.keys.require_ready(record)  # 1
    require_upgrade_allowed(bundle.manifest.release, installed_version_of(entries))
    if unfinished is None or not _has_touched(entries, unfinished.run):
        # A node in hand is finished whatever runs: until it is back, the data that a hold protects can lose less.
        parts.require_compliance()
    parts.registry.require_ready()
    baseline = _baseline(parts, unfinished if resumed else None, entries)
    parts.confirm(plan)
    parts.require_not_stopped()
    if resumed:
        parts.progress.say("resumed", f"going on with run {run}, which was interrupted", run=run)

    def begin() -> None:
        parts.rolling.keys.back_up()
        parts.accept_trust()
        _open(record, bundle, plan, baseline, unfinished)
        parts.rolling.keys.begin(record, keys)
        if parts.instead_of:
            record.note("locks-taken-over", holder=parts.instead_of)

    with _locked(parts):
        # A run that gave up needs the old version only, which is on the nodes.
        load = LoadReport(0, 0, 0, 0, ()) if record.is_rolling_back() else _load(bundle, parts, record, begin)  # 2, 3
        try:
            rolling.execute_rolling_update(plan, parts.rolling, record, baseline=baseline)  # 4
            _require_signed_digests_run(plan, parts)  # 5
            parts.rolling.keys.require_kept(record, "at the end")
        except RolledBackError:
            record.note(ENDED, outcome="rolled-back")
            raise
        _require_full_at_the_end(parts, baseline)
        record.note(ENDED, outcome="done")
    return InstallReport(plan.nodes, load, head_of(parts.journal.replay()), resumed)


@contextmanager
def _locked(parts: InstallParts) -> Iterator[None]:
    """Hold the lock on every node, and give it back unless a node is left in hand."""
    parts.lock.acquire()
    try:
        yield
    finally:
        # While a node is in hand the lock stays: another machine's installer would not know which.
        entries = parts.journal.replay()
        still_open = open_run_of(entries)
        if still_open is None or not _has_touched(entries, still_open.run):
            parts.lock.release()


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


def _baseline(parts: InstallParts, unfinished: OpenRun | None, entries: Sequence[Entry]) -> Baseline:
    """Return what must not be forgotten, after the gate in front of the first write."""
    if unfinished is not None:
        baseline = Baseline(frozenset(int(group) for group in unfinished.facts["stripe_groups"]))
        # A node in hand is finished first, since that brings redundancy back; the rollout's own gates decide then.
        if not _has_touched(entries, unfinished.run):
            require_full_health(parts.rolling, baseline=baseline, why="health before going on")
        return baseline
    parts.progress.start("check cluster health")
    health = _full_before_the_start(parts, open_run_of(entries))
    parts.progress.say("gate", f"before the start: {health.summary()}")
    return baseline_of(parts.rolling.cluster.observe())


def _full_before_the_start(parts: InstallParts, interrupted: OpenRun | None) -> Health:
    try:
        return require_full_health(parts.rolling, baseline=None, why="health before the start")
    except RefusedError as error:
        if interrupted is None or not _has_touched(parts.journal.replay(), interrupted.run):
            raise
        raise RefusedError(
            error.reference,
            error.message,
            hint=f"An install of {interrupted.facts.get('version')} was interrupted here. Type install with its kit "
            "first: it finishes the node it has in hand. Then type this command again.",
            facts=error.facts,
        ) from error


def _has_touched(entries: Sequence[Entry], run: str) -> bool:
    own = (entry.step for entry in entries if entry.run == run and entry.event == INTENT)
    return any(DRAIN in step_id or PATCH in step_id for step_id in own)


def _open(
    record: RunRecord, bundle: VerifiedBundle, plan: Plan, baseline: Baseline, unfinished: OpenRun | None
) -> None:
    """Write the run's first entries, each once."""
    if not any(entry.event == STARTED for entry in record.entries()):
        _start(record, bundle, plan, baseline, unfinished)
    if not record.is_begun(LOAD):
        record.note(INTENT, LOAD)


def _start(
    record: RunRecord, bundle: VerifiedBundle, plan: Plan, baseline: Baseline, unfinished: OpenRun | None
) -> None:
    if unfinished is not None and unfinished.run != record.run:
        record.note("run-superseded", superseded=unfinished.run)
    record.note(
        STARTED,
        "",
        **release_facts(bundle.release),
        tier=plan.tier,
        nodes=list(plan.nodes),
        stripe_groups=sorted(baseline.stripe_groups),
    )


def _load(bundle: VerifiedBundle, parts: InstallParts, record: RunRecord, begin: Callable[[], None]) -> LoadReport:
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


def _require_signed_digests_run(plan: Plan, parts: InstallParts) -> None:
    for target in plan.targets:
        running = parts.rolling.workloads[target.node, target.path].running()
        if running != frozenset({target.digest}):
            raise OperatorNeededError(
                "final-digest-differs",
                f"node {target.node}: runs {sorted(running) or 'nothing'}, expected {target.digest} as signed",
                hint="Look at that node's own log, then type the same install again: it goes on from here.",
                exit_status=60,
                facts={"node": target.node, "expected": target.digest, "found": sorted(running)},
            )


def _require_full_at_the_end(parts: InstallParts, baseline: Baseline) -> None:
    try:
        require_full_health(parts.rolling, baseline=baseline, why="final health")
    except RefusedError as error:
        raise OperatorNeededError(
            "final-health-degraded",
            f"every node runs the signed version, but {error.message}",
            hint="Bring the cluster back to full health, then type the same install again: it ends the run.",
            exit_status=60,
            facts={"cluster": "degraded", "cause": error.reference},
        ) from error
