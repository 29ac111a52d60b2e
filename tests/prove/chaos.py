"""What else can break while a real cluster is rolled: servers killed, cut off, started wrongly, a master that goes.

A round is one rollout of one release, damaged again and again, each time at another node, under readers and writers.
A person mends what broke and types the same install again. What must hold:

- from a damage until health was 100 % again, no other node than the one in hand is drained or patched;
- the install waits and goes on, or ends with 40, 50 or 60, a reference and a hint; typed again, it goes on from there;
- at the end every node runs the signed digest, health is 100 %, every object is read back, the journal is unbroken;
- a client's request that failed, failed on what was broken, or while more shards were away than the parity can lose,
  or after it, by a server that did not know yet where all shards are again: in quick mode at any time, in safe mode
  within the seven minutes that it may remember so few, and in fewer than one read of a thousand.

The suite's short form is ``tests/e2e/test_chaos.py``.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.program.handover import digest_of_file
from teraferry.installer.rollout.execute import INTENT
from teraferry.installer.rollout.gates import judge_health
from teraferry.installer.rollout.plan import TOUCHES
from tests.e2e.room import SOURCE, build_kit
from tests.lab.chaos import (
    CutOff,
    Damage,
    Killed,
    Onlooker,
    Striker,
    is_event,
    never_starts,
    replaced_before_start,
    starts_another_file,
    unsigned_copy,
)
from tests.lab.clients import load_objects, read_all
from tests.lab.nodes import wait_until
from tests.lab.rollable import cluster_from_site
from tests.lab.secops import Answer, Secops
from tests.lab.site import SITE_FILE, LabSite
from tests.lab.watchers import Watchers
from tests.lab.weed import WeedCluster, weed_binary
from tests.prove.record import Outcome, Record

OLD, NEW = "4.47", "4.48"
STALLED_SECONDS, REJOIN_SECONDS = 15, 45
SHOWN = timedelta(seconds=3)
"""Clients may meet what broke so long before the onlooker saw it, and after it was whole."""

REFUSED, PUT_BACK, HALTED, GOES_ON = frozenset({40}), frozenset({50}), frozenset({60}), frozenset({0})
EITHER = HALTED | GOES_ON
REMEMBERED = timedelta(minutes=7)
"""SeaweedFS keeps a map so long that lacks shards, unless a read proves an entry wrong."""
SAFE_READS_FOR_ONE = 1000

Break = Callable[[WeedCluster], Damage]


@dataclass(frozen=True)
class Case:
    """One damage at one moment: when the installer says that it is in ``phase`` of ``node``."""

    node: str
    phase: str
    damage: Break
    statuses: frozenset[int]  # how the install may end that meets it; 0: it waited and went on
    after_seconds: float = 0.0
    mended_after_seconds: float | None = None  # None: when the install has ended

    def is_now(self, event: Mapping[str, Any]) -> bool:
        """Recognise the moment."""
        if self.phase == CHECK:
            return is_event(event="step", step=f"check_cluster_health {self.node}")(event)
        return is_event(event="phase", phase=f"{self.phase} {self.node}")(event)


def kill(*names: str) -> Break:
    return lambda weed: Killed(tuple(weed.volumes[name] for name in names))


def kill_master(weed: WeedCluster) -> Damage:
    return Killed((weed.master,))


def cut_off(name: str) -> Break:
    return lambda weed: CutOff(weed.lab.node(name))


def unsigned(weed: WeedCluster) -> Path:
    return unsigned_copy(weed_binary(OLD), weed.lab.folder / "unsigned-weed")


def own_program(name: str) -> Break:
    return lambda weed: replaced_before_start(weed.volumes[name], unsigned(weed))


def other_file(name: str) -> Break:
    return lambda weed: starts_another_file(weed.volumes[name], unsigned(weed))


def no_start(name: str) -> Break:
    return lambda weed: never_starts(weed.volumes[name])


CHECK, DRAIN, PATCH, REJOIN, REBALANCE = "check", "drain", "patch", "rejoin", "rebalance after"

ROUNDS: dict[str, tuple[str, tuple[tuple[str, Case], ...]]] = {
    "servers": (
        "quick",
        (
            ("second server killed at the check of the first node", Case("vol-1", CHECK, kill("vol-5"), REFUSED)),
            ("second server killed in the drain", Case("vol-2", DRAIN, kill("vol-5"), HALTED)),
            ("second server killed in the patch", Case("vol-3", PATCH, kill("vol-6"), HALTED)),
            ("second server killed in the rejoin", Case("vol-4", REJOIN, kill("vol-2"), HALTED)),
        ),
    ),
    "starts": (
        "quick",
        (
            ("another program at the path of a node that starts", Case("vol-1", CHECK, own_program("vol-1"), PUT_BACK)),
            ("start command runs another file", Case("vol-1", CHECK, other_file("vol-1"), HALTED)),
            ("second server killed in the rebalance", Case("vol-2", REBALANCE, kill("vol-1"), HALTED)),
            ("node never rejoins", Case("vol-3", CHECK, no_start("vol-3"), HALTED)),
        ),
    ),
    "masters and links": (
        "quick",
        (
            ("master killed at the check, back after 4 s", Case("vol-2", CHECK, kill_master, GOES_ON, 0.2, 4.0)),
            ("master killed in the rejoin, back after 10 s", Case("vol-3", REJOIN, kill_master, GOES_ON, 0.0, 10.0)),
            (
                "two of six servers killed in the rebalance, back after 20 s",
                Case("vol-4", REBALANCE, kill("vol-5", "vol-6"), EITHER, 0.0, 20.0),
            ),
            ("master killed in the rebalance, back in the end", Case("vol-5", REBALANCE, kill_master, HALTED)),
            ("node cut off in its rejoin for 20 s", Case("vol-6", REJOIN, cut_off("vol-6"), EITHER, 0.0, 20.0)),
        ),
    ),
    "drains": (
        "safe",
        (
            ("second server killed in the drain, safe", Case("vol-1", DRAIN, kill("vol-5"), HALTED, 1.5)),
            ("master killed in the drain, back after 4 s", Case("vol-2", DRAIN, kill_master, GOES_ON, 8.0, 4.0)),
            ("another server cut off in the drain for 20 s", Case("vol-3", DRAIN, cut_off("vol-6"), EITHER, 3.0, 20.0)),
            (
                "two of six servers killed in the drain, back after 50 s",
                Case("vol-4", DRAIN, kill("vol-1", "vol-2"), EITHER, 3.0, 50.0),
            ),
            ("second server killed in the patch, safe", Case("vol-5", PATCH, kill("vol-1"), HALTED)),
        ),
    ),
}
SETTINGS: dict[str, int | str] = {"damages": sum(len(cases) for _, cases in ROUNDS.values()), "old": OLD, "new": NEW}


def prove(record: Record) -> Outcome:
    """Run the rounds that are left, each on a site of its own."""
    for name, (mode, cases) in ROUNDS.items():
        if name in record:
            continue
        record.tell(name)
        with tempfile.TemporaryDirectory(prefix="teraferry-prove-") as folder, _opened(Path(folder)) as room:
            record.done(name, room.run(mode, cases, tell=record.tell))
    found = record.pieces()
    wrong = [f"{name}: {each}" for name, piece in found.items() for each in piece["wrong"]]
    counts: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    for piece in found.values():
        counts.update(piece["counts"])
        ended.update(f"ended with {status}" if status else "waited and went on" for status in piece["ends"].values())
    said = "; ".join(wrong) or (
        f"{sum(ended.values())} kinds of damage: no further node was taken away, and each release was installed in the "
        "end with nothing lost"
    )
    return Outcome(not wrong, said, {**ended, **counts})


@dataclass(frozen=True)
class _Room:
    """One site on which everything breaks, in turn."""

    folder: Path
    secops: Secops
    site: LabSite
    objects: Path

    def run(self, mode: str, cases: Sequence[tuple[str, Case]], *, tell: Callable[[str], None]) -> dict[str, Any]:
        """Run one round and return how each damage ended, what was wrong, and what was counted."""
        kit = build_kit(self.secops, self.folder, "4.9.0", program=weed_binary(NEW), layer_bytes=100_000)
        self.secops.sign_fully(kit)
        there, site_file = self.site.carry(kit), self._write_site_file(mode)
        ends: dict[str, int] = {}
        wrong: list[str] = []
        strikers = [_striker(case, self.site.cluster) for _, case in cases]
        with Onlooker(self.site.cluster) as onlooker, Watchers(self.site, self.objects, self.folder / "seen") as seen:
            for _ in range(len(cases) + 1):
                left = [number for number, striker in enumerate(strikers) if striker.struck_at is None]
                answer = self._install(site_file, there, [strikers[number] for number in left])
                struck = [number for number in left if strikers[number].struck_at is not None]
                for number in struck:
                    strikers[number].mend()
                    name, case = cases[number]
                    ends[name] = answer.status if number == struck[-1] else 0
                    wrong += [f"{name}: {each}" for each in _wrong_end(case, ends[name], answer)]
                    tell(f"{name}: {ends[name]}")
                wait_until("every server in", lambda: _all_in(self.site.cluster, onlooker))
                if answer.status == 0 or not struck:
                    break
            wait_until("100 %", lambda: onlooker.look().is_full)
        wrong += [] if answer.status == 0 else [f"it ended with {answer.status}: {json.dumps(answer.result)[:1000]}"]
        wrong += self._wrong_site()
        for (name, case), striker in zip(cases, strikers, strict=True):
            wrong += [f"{name}: {each}" for each in self._wrong_order(case, striker, onlooker)]
        counts, failed = _failures(mode, seen.reports(), strikers, onlooker)
        return {"ends": ends, "wrong": wrong + failed, "counts": counts}

    def _install(self, site_file: Path, there: Path, strikers: Sequence[Striker]) -> Answer:
        """Type the install; the damages are done in their order, each when its moment comes."""

        def hear(event: Mapping[str, Any]) -> None:
            for striker in strikers:
                if not striker.is_due:
                    striker.hear(event)
                    return

        argv = (*SOURCE, "--site", str(site_file), "install", str(there), "--yes")
        return self.site.type(*argv, on_event=hear)

    def _write_site_file(self, mode: str) -> Path:
        text = self.site.site_toml().replace('mode = "safe"', f'mode = "{mode}"')
        impatient = f"stalled_after_seconds = {STALLED_SECONDS}\nrejoin_seconds = {REJOIN_SECONDS}"
        text = text.replace("stalled_after_seconds = 120", impatient)
        target = self.site.etc / "chaos.toml"
        target.write_text(text)
        target.chmod(0o644)
        return SITE_FILE.parent / target.name

    def _wrong_site(self) -> list[str]:
        weed, wanted = self.site.cluster, digest_of_file(weed_binary(NEW))
        rolled = [*weed.volumes.values(), weed.filer]
        wrong = [f"{each.node.name} runs another program" for each in rolled if each.running_digest() != wanted]
        addresses = frozenset(weed.volume_address(name) for name in weed.volumes)
        health = judge_health(cluster_from_site(weed).observe(), addresses, single_copies=True)
        wrong += [] if health.is_full else [f"health: {health.summary()}"]
        wrong += [f"object lost: {each}" for each in read_all(weed, self.objects)]
        verified = self.site.type(*SOURCE, "journal", "verify")
        return wrong + ([] if verified.status == 0 else [f"journal verify: {verified.status}"])

    def _wrong_order(self, case: Case, striker: Striker, onlooker: Onlooker) -> list[str]:
        """Name each node that was touched between the damage and the first look at 100 % after it was mended."""
        if striker.struck_at is None or striker.mended_at is None:
            return ["it was never done"]
        over = onlooker.full_after(striker.mended_at)
        return [
            f"{entry.step} was begun {entry.time_utc}, between {striker.struck_at} and {over}"
            for entry in FileJournal(self.site.state / "journal.jsonl").replay()
            if entry.event == INTENT and entry.step.startswith(TOUCHES) and not entry.step.endswith(f" {case.node}")
            if striker.struck_at < datetime.fromisoformat(entry.time_utc) < over
        ]


@contextmanager
def _opened(folder: Path) -> Iterator[_Room]:
    secops = Secops(folder / "secops").open()
    with LabSite(folder / "site", weed=weed_binary(OLD)) as site:
        copy = site.etc / "root-from-paper.json"
        copy.write_bytes(secops.root.read_bytes())
        pin = ("trust", "pin", str(SITE_FILE.parent / copy.name), "--fingerprint", secops.fingerprint)
        if site.type(*SOURCE, *pin).status:
            raise AssertionError("the root could not be pinned")
        objects = folder / "objects.json"
        load_objects(site.cluster, objects)
        yield _Room(folder, secops, site, objects)


def _striker(case: Case, weed: WeedCluster) -> Striker:
    return Striker(
        case.damage(weed),
        when=case.is_now,
        after_seconds=case.after_seconds,
        mended_after_seconds=case.mended_after_seconds,
    )


def _all_in(weed: WeedCluster, onlooker: Onlooker) -> bool:
    seen = onlooker.look().observation
    return seen is not None and {weed.volume_address(name) for name in weed.volumes} <= seen.nodes


def _wrong_end(case: Case, status: int, answer: Answer) -> list[str]:
    told = json.dumps(answer.result)[:1000]
    wrong = []
    if status not in case.statuses:
        wrong.append(f"the install ended with {status}, expected {sorted(case.statuses)}: {told}")
    if status and not (answer.result.get("reference") and answer.result.get("hint")):
        wrong.append(f"no reference or no hint: {told}")
    return wrong


def _failures(
    mode: str, seen: Mapping[str, Mapping[str, Any]], strikers: Sequence[Striker], onlooker: Onlooker
) -> tuple[Counter[str], list[str]]:
    """Count what the clients saw; name what failed although no damage accounts for it."""
    counts, wrong = Counter[str](), []
    for kind, what in (("reader", "reads"), ("writer", "writes")):
        counts[what] = int(seen[kind]["ok"]) + int(seen[kind]["failed"])
        not_kept = int(seen[kind]["failed"]) - len(seen[kind]["errors"])
        wrong += [f"{kind}: why {not_kept} more failed was not kept"] if not_kept else []
        for error in seen[kind]["errors"]:
            broken = (_accounted(error, striker, onlooker) for striker in strikers)
            why = next(filter(None, broken), "") or _by_old_map(mode, error, strikers, onlooker)
            counts[f"{what} failed {why or 'for no known reason'}"] += 1
            wrong += [] if why else [f"{kind} at {error['time_utc']}: {error['reason']}"]
    by_old_map = counts["reads failed by an old map, in safe mode"]
    if mode == "safe" and by_old_map * SAFE_READS_FOR_ONE >= counts["reads"]:
        wrong.append(f"too many reads failed by an old map: {dict(counts)}")
    return counts, wrong


def _accounted(error: Mapping[str, str], striker: Striker, onlooker: Onlooker) -> str:
    """Say how a damage accounts for a request that failed while it lasted; nothing when it does not.

    A master names no place for a write while each writable volume has a copy on a server that is gone.
    """
    at = datetime.fromisoformat(error["time_utc"])
    if striker.struck_at is None or striker.mended_at is None or at < striker.struck_at:
        return ""
    if at > onlooker.full_after(striker.mended_at) + SHOWN:
        return ""
    if any(address in error["reason"] for address in striker.damage.addresses):
        return "on what was broken"
    if "no writable volumes" in error["reason"]:
        return "until the master had grown a volume that is whole"
    if any(look.beyond_parity for look in onlooker.between(at - SHOWN, at + SHOWN)):
        return "with more away than the parity"
    is_cut_off = isinstance(striker.damage, CutOff)
    return "waiting for what was cut off" if is_cut_off and "TimeoutError" in error["reason"] else ""


def _by_old_map(mode: str, error: Mapping[str, str], strikers: Sequence[Striker], onlooker: Onlooker) -> str:
    """Say whether a server may have lacked shards since a damage; nothing when not.

    Only safe mode renews what servers know of the places of shards (``seaweedfs_maps``), and the read that proves a map
    wrong may be a client's. In quick mode they may not know for minutes that a node restarted before has its own again,
    or have asked a master that had just been started and did not know itself; a further node that is away then adds to
    what they lack.
    """
    at = datetime.fromisoformat(error["time_utc"])
    for striker in strikers:
        if striker.struck_at is None or striker.mended_at is None or ": 500 " not in error["reason"]:
            continue
        over = onlooker.full_after(striker.mended_at) + SHOWN
        if striker.struck_at <= at if mode == "quick" else over < at <= over + REMEMBERED:
            return f"by an old map, in {mode} mode"
    return ""
