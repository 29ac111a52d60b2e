"""What a rolling update must leave behind, whatever became of the installer meanwhile, by ways that are not its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from teraferry.bundles.digest import Digest
from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb
from teraferry.installer.adapters.cluster.seaweedfs_rpc import VOLUME_SERVER, call
from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.ports import ClusterObservation, Entry
from teraferry.installer.rollout.execute import DONE, ENDED, STARTED, UNDONE
from teraferry.installer.rollout.gates import judge_health
from tests.lab.rollable import cluster_from_site
from tests.lab.site import LabSite
from tests.lab.weed import Service


def problems_of(
    site: LabSite, *, digest: Digest, first: ClusterObservation, rolled_before: Sequence[str] = ()
) -> list[str]:
    """Say what is wrong with a site that was rolled to the program ``digest``.

    Args:
        site: With a journal of nothing else.
        digest: Of the program that every server has to run.
        first: How the cluster was before.
        rolled_before: Nodes that ran the program at first, and were none of the update's business.
    """
    now = cluster_from_site(site.cluster).observe()
    addresses = frozenset(site.cluster.volume_address(name) for name in site.cluster.volumes)
    health = judge_health(now, addresses, single_copies=True)
    problems = [] if health.is_full else [health.summary()]
    if now.stripe_groups != first.stripe_groups:
        problems.append("shards are not where they were")
    for service in (*site.cluster.volumes.values(), site.cluster.filer):
        problems += _problems_of_server(service, digest, starts=1 if service.node.name in rolled_before else 2)
    for address in addresses:
        if _is_in_maintenance(site, address):
            problems.append(f"{address} is in maintenance")
    rolled = (*site.cluster.volumes, "core-filer")
    entries = FileJournal(site.state / "journal.jsonl").replay()
    return problems + problems_of_run(entries, steps=[f"wait_for_rebalance {name}" for name in rolled])


def problems_of_run(entries: Sequence[Entry], *, steps: Sequence[str]) -> list[str]:
    """Say what is wrong with the runs of a journal: begun and ended once each, each step done once where it stands.

    The first of them did ``steps``; an install typed again after its end is another run, which finds everything done.
    """
    problems = []
    runs = list(dict.fromkeys(entry.run for entry in entries if entry.event == STARTED))
    for run in runs:
        own = [entry for entry in entries if entry.run == run]
        framed = [entry.event for entry in own if entry.event in (STARTED, ENDED)]
        if framed != [STARTED, ENDED]:
            problems.append(f"run {run} is {framed}, expected begun and ended once")
        done: Counter[str] = Counter()
        for entry in own:
            if entry.event == DONE:
                done[entry.step] += 1
            elif entry.event == UNDONE:
                done[entry.step] = 0
        problems += [f"{step} was done {count} times in run {run}" for step, count in done.items() if count > 1]
        problems += [f"{step} was not done" for step in steps if run == runs[0] and not done[step]]
    return problems or ([] if runs else ["there was no run"])


def client_errors(seen: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say what the clients of ``Watchers`` met that they should not have."""
    errors = [f"{kind}: {error}" for kind, report in seen.items() for error in report["errors"]]
    errors += [f"{kind}: {report['failed']} failed" for kind, report in seen.items() if report["failed"]]
    # A client that came to nothing saw no error either.
    errors += [f"{kind}: {report['ok']} only" for kind, report in seen.items() if report["ok"] < report["seconds"]]
    missing = seen["sampler"].get("samples_with_missing", 0)
    return errors + ([f"shards were missing in {missing} samples"] if missing else [])


def client_counts(seen: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Say how much the clients of ``Watchers`` asked for."""
    counts = {}
    for kind, what in (("reader", "reads"), ("writer", "writes"), ("sampler", "samples")):
        counts[what] = seen[kind]["ok"] + seen[kind]["failed"]
        counts[f"failed {what}"] = seen[kind]["failed"]
    return counts


def _problems_of_server(service: Service, digest: Digest, *, starts: int) -> list[str]:
    name, problems = f"{service.role} on {service.node.name}", []
    if (running := service.running_digest()) != digest:
        problems.append(f"{name} runs {running}")
    if service.starts() != starts:
        problems.append(f"{name} was started {service.starts()} times, expected {starts}")
    if left := service.node.sh(f"find {service.folder}/bin -name '*.part*' -o -name '*.new*'"):
        problems.append(f"{name} keeps {left.split()}")
    return problems


def _is_in_maintenance(site: LabSite, address: str) -> bool:
    ask = partial(call, address, VOLUME_SERVER + "GetState", pb.GetStateRequest(), pb.GetStateResponse)
    return bool(site.node.call(ask).state.maintenance)
