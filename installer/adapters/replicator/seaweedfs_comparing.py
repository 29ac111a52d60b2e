"""What two clusters hold differently, and why: ``filer.sync.verify`` finds the paths, both change logs judge them.

``filer.sync``'s own counters do not tell. It counts a change as processed when it could not read its bytes (the
source died just then), when it took it for older than what was there, and it never hears of what the source lost from
its log when it was killed. Measured: a write acknowledged by a green that was killed, missing on blue for good, with
received = processed, nothing failed and nothing in flight. So what counts is what both hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from teraferry.installer.adapters.cluster.seaweedfs_rpc import CallFailedError
from teraferry.installer.adapters.replicator.seaweedfs_filer import Filer
from teraferry.installer.adapters.replicator.seaweedfs_judging import Side, Verdict, judge, with_origins
from teraferry.installer.ports import NodeTransport

OWN_FOLDER: Final = ".teraferry"
"""Below the replicated path: markers, kept versions, copies on their way."""

STORAGE_FOLDER: Final = "/topics/.system"
"""A filer's own change log, in case the whole of it is replicated: it differs always, and ``filer.sync`` leaves it."""

COMPARE_SECONDS: Final = 3600.0
"""About 30 s for a million files were measured elsewhere; a site has tens of millions at most."""

MAX_OUTPUT_BYTES: Final = 8 * 1024 * 1024
"""Some 40,000 differences; with more than that replication has not begun."""

_COMPARE: Final = '"$@" 2>/dev/null | { head -c ' + str(MAX_OUTPUT_BYTES) + "; cat >/dev/null; }"
_DIFFERS: Final = frozenset({"MISSING", "SIZE_MISMATCH", "ETAG_MISMATCH"})


@dataclass(frozen=True, slots=True)
class Comparing:
    """Compares two clusters below one path.

    ``filer.sync.verify`` does not look into a directory that only its second filer has, so it is asked both ways.
    """

    node: NodeTransport
    weed: str  # on the node
    path: str

    @property
    def own_folder(self) -> str:
        """Where our own files are."""
        return f"{self.path.rstrip('/')}/{OWN_FOLDER}"

    def differences(self, one: Filer, other: Filer) -> frozenset[str]:
        """Return the paths that differ, ours and the storage's own left out.

        Raises:
            CallFailedError: It could not be told.
        """
        found = self._missing_from(one, other) | self._missing_from(other, one)
        own = (self.own_folder, STORAGE_FOLDER)
        return frozenset(path for path in found if not any(is_below(path, folder) for folder in own))

    def judge(
        self, paths: frozenset[str], source: Filer, other: Filer, *, since_ns: int
    ) -> Mapping[str, tuple[Verdict, Side, Side]]:
        """Return for each path why it differs; those that are the same by now are left out.

        Raises:
            CallFailedError: It could not be told.
        """
        # The logs first: what arrives between the two readings is then at worst judged to be under way.
        source_log = source.changes(paths, since_ns=since_ns)
        other_log = other.changes(paths, since_ns=since_ns)
        judged = {}
        for path in sorted(paths):
            logs = source_log.get(path, ()), other_log.get(path, ())
            here = Side(source.lookup(path), with_origins(*logs))
            there = Side(other.lookup(path), with_origins(*reversed(logs)))
            verdict = judge(here, there, since_ns=since_ns)
            if verdict is not Verdict.SAME:
                judged[path] = (verdict, here, there)
        return judged

    def _missing_from(self, one: Filer, other: Filer) -> frozenset[str]:
        words = [self.weed, "filer.sync.verify", f"-a={one.address}", f"-b={other.address}", "-isActivePassive"]
        words += [f"-a.path={self.path}", f"-b.path={self.path}", "-jsonOutput"]
        done = self.node.run(["sh", "-c", _COMPARE, "sh", *words], timeout_seconds=COMPARE_SECONDS)
        return parse_differences(done.stdout)


def parse_differences(output: bytes) -> frozenset[str]:
    """Return the paths of what ``filer.sync.verify -isActivePassive`` printed.

    Its exit status is 2 for a difference as for a filer that is down; only the summary says that it came to its end.

    Raises:
        CallFailedError: There is no summary, or it does not agree with the lines.
    """
    lines: list[dict[str, Any]] = []
    try:
        lines = [json.loads(line) for line in output.splitlines() if line]
        summary = lines.pop()
        counted = sum(int(summary[name]) for name in ("missing", "sizeMismatch", "etagMismatch"))
        complete = summary["type"] == "SUMMARY"
        differing = [line for line in lines if line["type"] in _DIFFERS]
        paths = frozenset(str(line["path"]) for line in differing)
        files = sum(1 for line in differing if not line.get("isDirectory", False))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CallFailedError("filer.sync.verify: no whole answer; a filer is down, or far too much differs") from error
    if not complete or not files <= counted <= len(differing):
        raise CallFailedError(f"filer.sync.verify: {len(differing)} differences, but its summary says {counted}")
    return paths


def is_below(path: str, folder: str) -> bool:
    """Tell whether ``path`` is ``folder`` or lies in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def named(verdicts: Mapping[str, tuple[Verdict, Side, Side]], *which: Verdict) -> Sequence[str]:
    """Return the paths with one of these verdicts; a deletion that the other lacks says so.

    A folder that is named by what is in it is not named again.
    """
    folders = {parent for path in verdicts for parent in _parents(path)}
    return [
        path if source.version is not None or verdict is Verdict.OTHER_AHEAD else f"{path} (deleted)"
        for path, (verdict, source, _) in verdicts.items()
        if verdict in which and path not in folders
    ]
