"""``rollback`` of a tier 1 site: an interrupted install is taken back, or the release before comes back, node by node.

Every node kept the version that it ran before, and the journal says which that is, so no kit is needed. It goes back
behind the same gates as it came: one node at a time, at exactly 100 % health.

1. An install is half done: the node in hand is put back first, whatever it runs, then the others, newest first.
2. None is: the newest release is taken out, by a rolling update of its own to what each node ran before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.errors import Fact, RefusedError, RolledBackError
from teraferry.bundles.progress import Progress
from teraferry.installer.ports import Entry, Journal, Lock
from teraferry.installer.rollout.blue_green_journal import BACKWARDS
from teraferry.installer.rollout.compliance import ComplianceGate
from teraferry.installer.rollout.execute import STARTED, Clock, RunRecord
from teraferry.installer.rollout.plan import DRAIN, PATCH, Plan
from teraferry.installer.rollout.rolling import take_back
from teraferry.installer.rollout.rolling_tier import RollingRollout, baseline_of_run, require_whole_at_the_end
from teraferry.installer.rollout.runs import (
    OpenRun,
    committed_run_of,
    end_rolled_back,
    end_run,
    held_for_run,
    open_run_of,
    patched_by,
    release_before,
)

Old = Mapping[tuple[str, str], Digest]

_NOTHING: Final = digest_of(b"")
"""Of places whose old version is asked of the journal, or of the node."""


@dataclass(frozen=True, slots=True)
class RollingRollbackParts:
    """The hands of a rollback in tier 1; ``cli`` puts the adapters in."""

    journal: Journal
    lock: Lock
    clock: Clock
    progress: Progress
    compliance: ComplianceGate
    places: Sequence[tuple[str, str]]  # (node, path) of everything that a release brings
    plan_back: Callable[[Old], Plan]
    rollout: Callable[[Plan], RollingRollout]
    confirm: Callable[[str], None]  # asks the operator; raises to stop


def roll_back_rolling(parts: RollingRollbackParts) -> Mapping[str, Fact]:
    """Roll back what there is to roll back, and say what was done.

    Returns:
        The result fields: ``did``, ``version`` that runs now, ``nodes`` that went back.

    Raises:
        RefusedError: 40-43. RolledBackError: 50: a node did not take its old version, and has the newer one again.
        OperatorNeededError: 60-62.
    """
    entries = parts.journal.replay()
    unfinished = open_run_of(entries)
    if unfinished is not None and "standby" in unfinished.facts:
        raise _nothing(f"run {unfinished.run} is of tier 2")
    if unfinished is not None and not unfinished.run.startswith(BACKWARDS):
        return _take_back(parts, unfinished)
    committed = committed_run_of(entries)
    if committed is None or "standby" in committed.facts:
        raise _nothing("no tier 1 install came to its end last")
    if committed.run.startswith(BACKWARDS):
        # Typed once more, it would go back further than anybody looked.
        raise _nothing("the release before is back already")
    return _go_back(parts, entries, committed)


def _take_back(parts: RollingRollbackParts, unfinished: OpenRun) -> Mapping[str, Fact]:
    record = RunRecord(parts.journal, run=unfinished.run, clock=parts.clock)
    touched = {step.partition(" ")[2] for step in record.begun() if step.startswith((DRAIN, PATCH))}
    plan = parts.plan_back({place: _NOTHING for place in parts.places if place[0] in touched})
    rollout = parts.rollout(plan)
    rollout.keys.require_ready(record)
    if not touched:
        parts.compliance.require_open()
    before = sorted({node for node, _ in patched_by(record)})
    parts.confirm(f"Take the interrupted install of {unfinished.facts.get('version')} back ({_named(before)})?")
    baseline = baseline_of_run(unfinished.first)
    with held_for_run(parts.lock, parts.journal):
        take_back(plan, rollout.parts, record, baseline=baseline)
        require_whole_at_the_end(rollout.parts, baseline, "every node is back on its old version")
        end_run(record, outcome="rolled-back", so_far="every node is back on its old version")
    return {"did": "rolled-back", "nodes": before}


def _go_back(parts: RollingRollbackParts, entries: Sequence[Entry], committed: Entry) -> Mapping[str, Fact]:
    unfinished = open_run_of(entries)
    plan = parts.plan_back(patched_by(RunRecord(parts.journal, run=committed.run, clock=parts.clock)))
    rollout = parts.rollout(plan)
    _require_one_version(plan, parts.places, committed)
    _require_kept(plan, rollout)
    before = release_before(entries, committed)
    version = str(before.get("version", "what was there before the first install"))
    run = unfinished.run if unfinished else f"{BACKWARDS}{len(entries) + 1}"
    record = RunRecord(parts.journal, run=run, clock=parts.clock)
    keys = rollout.keys.require_ready(record)
    if unfinished is None:
        parts.compliance.require_open()
    begun_with = rollout.require_ready(entries, run=run)
    parts.confirm(f"Go back from {committed.facts.get('version')} to {version} ({_named(plan.nodes)})?")
    with held_for_run(parts.lock, parts.journal):
        if unfinished is None:
            record.note(STARTED, "", **{**before, "tier": "1", "nodes": list(plan.nodes), **begun_with})
        rollout.keys.begin(record, keys)
        try:
            rollout.roll_out(plan, record, begun_with)
        except RolledBackError:
            end_rolled_back(record)
            raise
        rollout.keys.require_kept(record, "at the end")
        rollout.require_done(plan, begun_with)
        end_run(record)
    return {"did": "went-back", "version": version, "nodes": list(plan.nodes)}


def _require_one_version(plan: Plan, places: Sequence[tuple[str, str]], committed: Entry) -> None:
    """Refuse to leave a site of several versions behind.

    Raises:
        RefusedError: ``rollback-mixed``, 40.
    """
    old: dict[tuple[str, str], set[Digest]] = {}
    for target in plan.targets:
        old.setdefault((target.role, target.path), set()).add(target.digest)
    whole = {(target.node, target.path) for target in plan.targets} == set(places)
    if not old or not whole or any(len(digests) > 1 for digests in old.values()):
        raise RefusedError(
            "rollback-mixed",
            f"rollback of {committed.facts.get('version')}: its install found several versions, or left nodes alone "
            f"({len(plan.targets)} of {len(places)} programs were changed), expected one version to go back to",
            hint="Install the kit of the release that you want, if its upgrades_from allows that.",
            facts={"run": committed.run, "changed": len(plan.targets), "programs": len(places)},
        )


def _require_kept(plan: Plan, rollout: RollingRollout) -> None:
    for target in plan.targets:
        if not rollout.parts.workloads[target.node, target.path].staged(target.digest):
            raise RefusedError(
                "rollback-version-gone",
                f"{target.path} on {target.node}: {target.digest} is not there any more, expected what ran before",
                hint="Install the kit of the release that you want; nothing was changed.",
                facts={"node": target.node, "digest": target.digest},
            )


def _named(nodes: Sequence[str]) -> str:
    return ", ".join(nodes) or "no node has its new version"


def _nothing(found: str) -> RefusedError:
    return RefusedError(
        "nothing-to-roll-back",
        f"rollback: {found}, expected an install to roll back",
        hint="See `teraferry-installer status`.",
    )
