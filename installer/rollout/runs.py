"""What the journal says of whole runs: which one is half done, and what the last good one brought in.

And what is the same in both tiers: the lock that is held meanwhile, the last look at what runs, and the last entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from teraferry.bundles.digest import Digest
from teraferry.bundles.errors import OperatorNeededError, RefusedError
from teraferry.installer.ports import Entry, Journal, Lock, Workload
from teraferry.installer.rollout.execute import ENDED, STARTED, RunRecord
from teraferry.installer.rollout.plan import PATCH, Plan

SUPERSEDED: Final = "run-superseded"
"""A run that was half done is given up for another release's."""


@dataclass(frozen=True, slots=True)
class OpenRun:
    """The newest run of a journal that was started and not ended."""

    first: Entry

    @property
    def run(self) -> str:
        """Its name."""
        return self.first.run

    @property
    def facts(self) -> Mapping[str, Any]:
        """What was written when it began."""
        return self.first.facts


def open_run_of(entries: Sequence[Entry]) -> OpenRun | None:
    """Return the run that is half done, if there is one."""
    found: OpenRun | None = None
    for entry in entries:
        if entry.event == STARTED:
            found = OpenRun(entry)
        elif entry.event == ENDED and found is not None and entry.run == found.run:
            found = None
    return found


def patched_by(record: RunRecord) -> dict[tuple[str, str], Digest]:
    """Return (node, path) -> what ran there before a run touched it, of all it touched and did not put back.

    It is written with the intent, before a node is touched.
    """
    found: dict[tuple[str, str], Digest] = {}
    for step_id, facts in record.begun().items():
        old = facts.get("old")
        if step_id.startswith(PATCH) and isinstance(old, Mapping):
            found.update({(str(facts["node"]), path): digest for path, digest in old.items() if digest})
    return found


def committed_run_of(entries: Sequence[Entry]) -> Entry | None:
    """Return the first entry of the newest run that came to its end, if nothing ended otherwise since."""
    started = {entry.run: entry for entry in entries if entry.event == STARTED}
    ended = [entry for entry in entries if entry.event == ENDED]
    return started.get(ended[-1].run) if ended and ended[-1].facts.get("outcome") == "done" else None


def release_before(entries: Sequence[Entry], committed: Entry) -> Mapping[str, Any]:
    """Return what ran before a run brought its release in, as its own run said it when it began.

    Of what no run brought in, only the product is known.
    """
    earlier = installed_releases_of([entry for entry in entries if entry.sequence < committed.sequence])
    product = committed.facts.get("product")
    return next((facts for facts in earlier if facts.get("product") == product), {"product": product})


def installed_version_of(entries: Sequence[Entry]) -> str | None:
    """Return the version the last complete install brought in; None when there was none."""
    versions = {entry.run: entry.facts.get("version") for entry in entries if entry.event == STARTED}
    ended = [entry for entry in entries if entry.event == ENDED and entry.facts.get("outcome") == "done"]
    version = versions.get(ended[-1].run) if ended else None
    return None if version is None else str(version)


def installed_releases_of(entries: Sequence[Entry]) -> tuple[Mapping[str, Any], ...]:
    """Return, of each product, what the last complete run that brought it in said when it began."""
    started = {entry.run: entry.facts for entry in entries if entry.event == STARTED}
    newest: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        if entry.event == ENDED and entry.facts.get("outcome") == "done" and entry.run in started:
            facts = started[entry.run]
            newest[str(facts.get("product"))] = facts
    # Back to what no run brought in: nobody can say what that is.
    newest = {product: facts for product, facts in newest.items() if "version" in facts or "standby" in facts}
    return tuple(newest.values())


def require_signed_digests_run(plan: Plan, workloads: Mapping[tuple[str, str], Workload]) -> None:
    """Compare every node of ``plan`` with what was signed.

    Raises:
        OperatorNeededError: ``final-digest-differs``, 60.
    """
    for target in plan.targets:
        running = workloads[target.node, target.path].running()
        if running != frozenset({target.digest}):
            raise OperatorNeededError(
                "final-digest-differs",
                f"node {target.node}: runs {sorted(running) or 'nothing'}, expected {target.digest} as signed",
                hint="Look at that node's own log, then type the same install again: it goes on from here.",
                exit_status=60,
                facts={"node": target.node, "expected": target.digest, "found": sorted(running)},
            )


def end_rolled_back(record: RunRecord) -> None:
    """Write a run's last entry after what it changed was taken back; that is what its caller is about to say."""
    # A disk that takes no more lines must not hide what became of the site; typed again, the run ends.
    with suppress(RefusedError):
        record.note(ENDED, outcome="rolled-back")


@contextmanager
def held_for_run(
    lock: Lock, journal: Journal, *, keeps: Callable[[Sequence[Entry]], bool] = lambda _: True
) -> Iterator[None]:
    """Hold the lock on every node, and give it back unless a run is left open that ``keeps`` it.

    Another machine's installer would not know what that run has in hand.

    Args:
        lock: Over all nodes.
        journal: Says afterwards which run is open.
        keeps: Told that run's entries.
    """
    lock.acquire()
    try:
        yield
    finally:
        entries = journal.replay()
        still_open = open_run_of(entries)
        if still_open is None or not keeps([entry for entry in entries if entry.run == still_open.run]):
            lock.release()


def end_run(record: RunRecord, *, outcome: str = "done", so_far: str = "all of it runs as signed") -> None:
    """Write the run's last entry.

    Raises:
        OperatorNeededError: ``end-not-recorded``, 60. OperatorNeededError: ``journal-corrupt``, 62.
    """
    try:
        record.note(ENDED, outcome=outcome)
    except RefusedError as error:
        # Its own status would say that nothing was changed.
        raise OperatorNeededError(
            "end-not-recorded",
            f"run {record.run}: {so_far}, but {error.message}",
            hint=error.hint,
            facts={**error.facts, "run": record.run, "cause": error.reference},
        ) from error
