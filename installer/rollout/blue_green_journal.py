"""What the journal says of blue-green rollouts: who stands, what is in hand, which writes wait for recovery. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from teraferry.bundles.errors import Fact, RefusedError
from teraferry.installer.ports import Entry
from teraferry.installer.rollout.blue_green_plan import COMMIT, CUT, SWITCH, WINDOW_STEPS, other_cluster
from teraferry.installer.rollout.execute import DONE, ENDED, FAILED, INTENT, ROLLBACK, STARTED
from teraferry.installer.rollout.journal import corrupt, fact_of
from teraferry.installer.rollout.runs import open_run_of

LAPSED: Final = "hold-lapsed"
PENDING: Final = "pending-recovery"
RECOVERED: Final = "pending-recovered"
CONFLICTS: Final = "write-conflicts"

BACKWARDS: Final = "rollback-"
"""How a run is called that cuts over to the release before."""

RELEASE_FACTS: Final = ("bundle", "product", "version", "sequence", "signers", "openpgp")
"""What a run's first entry says of its release."""

NAMES_KEPT: Final = 1000
"""Pending writes that a journal line names; all of them are counted."""

MARKER_CHARACTERS: Final = 100
"""With what is put behind it, still a file name everywhere."""

CLUSTERS: Final = ("blue", "green")
FIRST: Final = CLUSTERS[0]
"""Who stands before anything was ever committed."""


@dataclass(frozen=True, slots=True)
class PendingRecovery:
    """Writes of a cluster that died with traffic on it, which the other one may lack."""

    run: str
    cluster: str  # where they are; its disks are left alone
    count: int | None  # None when nobody can tell
    names: tuple[str, ...]  # at most NAMES_KEPT

    def summary(self) -> str:
        """Return it in words."""
        if self.count is None:
            return f"writes on {self.cluster}, how many cannot be told"
        return f"{self.count} writes on {self.cluster}"


@dataclass(frozen=True, slots=True)
class Committed:
    """What the last complete tier 2 run left standing."""

    cluster: str
    bundle: str  # digest; "" before anything was ever committed
    run: str = ""


def marker_of(run: str) -> str:
    """Return a run's own marker, which may be a file name: a version may hold what a file name may not."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", run)[:MARKER_CHARACTERS]


def committed_of(entries: Sequence[Entry]) -> Committed:
    """Return which cluster stands, as the journal says, and what it was brought."""
    committed, started = Committed(FIRST, ""), dict[str, Entry]()
    for entry in entries:
        if entry.event == STARTED:
            started[entry.run] = entry
        elif entry.event == ENDED and entry.facts.get("outcome") == "done" and entry.run in started:
            first = started[entry.run]
            if "standby" in first.facts:
                committed = Committed(cluster_of(first, "standby"), str(first.facts.get("bundle", "")), entry.run)
    return committed


def cluster_of(entry: Entry, name: str) -> str:
    """Return which cluster an entry calls ``name``.

    Raises:
        OperatorNeededError: ``journal-corrupt``, 62: it does not say, or names none.
    """
    cluster = fact_of(entry, name)
    if cluster not in CLUSTERS:
        raise corrupt(entry.sequence, f"{entry.event} with {name} = {cluster!r}")
    return str(cluster)


def brought_to(entries: Sequence[Entry], cluster: str) -> Mapping[str, Any]:
    """Return what the last complete run that brought a release to ``cluster`` said of it; nothing before the first."""
    started, found = dict[str, Mapping[str, Any]](), dict[str, Any]()
    for entry in entries:
        if entry.event == STARTED:
            started[entry.run] = entry.facts
        elif entry.event == ENDED and entry.facts.get("outcome") == "done":
            facts = started.get(entry.run, {})
            if facts.get("standby") == cluster:
                found = {name: facts[name] for name in RELEASE_FACTS if name in facts}
    return found


def standby_for(entries: Sequence[Entry], bundle: str) -> str:
    """Return the cluster that an install of ``bundle`` brings up.

    That of the run it goes on with; else the one that does not stand. A bundle that stands already is where it
    belongs: then it is the standing one, and nothing is brought up.
    """
    unfinished = open_run_of(entries)
    if unfinished is not None and unfinished.facts.get("bundle") == bundle and "standby" in unfinished.facts:
        return cluster_of(unfinished.first, "standby")
    committed = committed_of(entries)
    return committed.cluster if committed.bundle == bundle else other_cluster(committed.cluster)


def is_in_place(entries: Sequence[Entry], bundle: str) -> bool:
    """Tell whether ``bundle`` stands already, so that an install of it has only to look."""
    committed = committed_of(entries)
    return committed.bundle == bundle and standby_for(entries, bundle) == committed.cluster


def pending_of(entries: Sequence[Entry]) -> PendingRecovery | None:
    """Return the writes that wait for recovery, if any do."""
    found: PendingRecovery | None = None
    for entry in entries:
        if entry.event == PENDING:
            count: Any = entry.facts.get("count")
            names: Any = entry.facts.get("names") or ()
            found = PendingRecovery(entry.run, cluster_of(entry, "cluster"), count, tuple(names))
        elif entry.event == RECOVERED:
            found = None
    return found


def facts_of_pending(cluster: str, names: Sequence[str] | None) -> dict[str, object]:
    """Return the facts of a ``pending-recovery`` entry; ``names`` None when nobody can tell."""
    return {
        "cluster": cluster,
        "count": None if names is None else len(names),
        "names": None if names is None else list(names[:NAMES_KEPT]),
    }


def was_cut_over(own: Sequence[Entry]) -> bool:
    """Tell whether a run, by its own entries, ever began to cut over: then the standby may hold writes of its own."""
    return any(entry.event == INTENT and entry.step == SWITCH for entry in own)


def is_in_hand(own: Sequence[Entry]) -> bool:
    """Tell whether a run touched traffic, or gave up, and did not end."""
    touched = was_cut_over(own) or any(entry.event == ROLLBACK for entry in own)
    return touched and not any(entry.event == ENDED for entry in own)


def was_commit_begun(own: Sequence[Entry]) -> bool:
    """Tell whether the run ever began to commit: then the standby may be the standing side by our doing."""
    return any(entry.event == INTENT and entry.step == COMMIT for entry in own)


def failure_in_window(own: Sequence[Entry]) -> str | None:
    """Return why the newest window of a run failed, where the run was killed before it could roll back.

    A commit that failed may have been made; that is for the switch to say, and no reason to go back by itself.
    """
    found: str | None = None
    for entry in own:
        if entry.event == INTENT and entry.step == SWITCH:
            found = None
        elif entry.event == FAILED and entry.step in WINDOW_STEPS and entry.step != COMMIT:
            found = str(entry.facts.get("message"))
    return found


def outcome_of(own: Sequence[Entry]) -> dict[str, Fact]:
    """Return what clients went through in a run: did a hold end by itself, and how many does the other side serve."""
    told: dict[str, Fact] = {"hold_lapsed": any(entry.event == LAPSED for entry in own)}
    for entry in own:
        if entry.event == DONE and entry.step in (COMMIT, CUT):
            facts: Mapping[str, Any] = entry.facts
            told |= {name: facts[name] for name in ("still_served", "cut") if name in facts}
    return told


def conflict_marker_of(entries: Sequence[Entry]) -> str | None:
    """Return since when there are writes on both clusters that nobody is known to have resolved; None without any."""
    marker: str | None = None
    for entry in entries:
        if entry.event == CONFLICTS:
            marker = str(fact_of(entry, "marker"))
        elif entry.event == ENDED and entry.facts.get("outcome") == "done":
            marker = None
    return marker


def write_conflict(names: Sequence[str]) -> RefusedError:
    """Return the refusal while something was written on both clusters, and differs."""
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return RefusedError(
        "write-conflict",
        f"replication: {len(names)} written on both clusters and different ({shown}), expected none",
        hint="Both versions are kept. Take the right one of each (see docs/rollout.md), then type the same command "
        "again.",
        facts={"conflicts": list(names[:100]), "count": len(names)},
    )
