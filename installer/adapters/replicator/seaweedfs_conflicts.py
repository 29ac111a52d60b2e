"""Find what clients of both clusters wrote without knowing of each other, and keep both versions of each.

Two ways lead to a conflict. The change logs show two writes that did not know of each other
(``seaweedfs_crossing``), whatever the clusters hold now; or the clusters differ, and what each holds was made by the
other. A pair of writes that was kept is noted, beside: it stays in the logs for ever, and a person who took one of the
versions and deleted the kept ones must not meet it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from teraferry.installer.adapters.replicator import seaweedfs_keeping as keeping
from teraferry.installer.adapters.replicator.seaweedfs_comparing import Comparing, is_below
from teraferry.installer.adapters.replicator.seaweedfs_crossing import last_crossing
from teraferry.installer.adapters.replicator.seaweedfs_filer import Filer
from teraferry.installer.adapters.replicator.seaweedfs_judging import (
    Change,
    Maker,
    Side,
    Verdict,
    maker_of_side,
    with_origins,
)

Verdicts = Mapping[str, tuple[Verdict, Side, Side]]


def keep_crossed_writes(comparing: Comparing, filers: Mapping[str, Filer], *, since_ns: int) -> None:
    """Keep both versions of every pair of writes that did not know of each other.

    Raises:
        CallFailedError: It could not be told, or not be kept.
    """
    blue, green = filers["blue"], filers["green"]
    candidates = blue.written(since_ns=since_ns) & green.written(since_ns=since_ns)
    candidates = frozenset(path for path in candidates if not is_below(path, comparing.own_folder))
    if not candidates:
        return
    blue_log = blue.changes(candidates, since_ns=since_ns)
    green_log = green.changes(candidates, since_ns=since_ns)
    for path in sorted(candidates):
        logs = blue_log.get(path, ()), green_log.get(path, ())
        pair = last_crossing(with_origins(*logs), with_origins(*reversed(logs)))
        if pair is None:
            continue
        note = f"{comparing.own_folder}/noted/{_name_of(path, pair)}"
        if blue.lookup(note) is None:
            keeping.keep_write(comparing, (blue, green), path, "blue", pair[0])
            keeping.keep_write(comparing, (green, blue), path, "green", pair[1])
            blue.write(note, path.encode())


def keep_crossed_versions(comparing: Comparing, filers: Mapping[str, Filer], verdicts: Verdicts, source: str) -> None:
    """Keep what both clusters serve under every path that was judged to be in conflict.

    Raises:
        CallFailedError: It could not be kept.
    """
    names = (source, "green" if source == "blue" else "blue")
    for path, (verdict, *sides) in verdicts.items():
        if verdict is not Verdict.CONFLICT:
            continue
        for at, name in enumerate(names):
            made_here = maker_of_side(sides[at], sides[1 - at], since_ns=0) is not Maker.OTHER
            writer = name if made_here else names[1 - at]
            keeping.keep_served(comparing, filers[name], path, writer)


def _name_of(path: str, pair: tuple[Change, Change]) -> str:
    times = ["deleted" if change.version is None else str(change.version.modified_ns) for change in pair]
    return sha256(" ".join([*times, path]).encode()).hexdigest()
