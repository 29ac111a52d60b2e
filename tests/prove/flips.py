"""Every single bit of a small kit's metadata, index and signatures flipped, and many bits of its bundle.

Each changed kit is judged as a site judges it, in process. Held means: not one was accepted, and not one
ended in anything but a refusal of ours. ``1.root.json`` is left out: a site never reads the root it pinned
from the medium. The kit has a second root, so that the chain from the pinned one is under test.
"""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from teraferry.builder.kit import locate_kit
from teraferry.builder.verify_kit import verify_kit
from teraferry.bundles import layout
from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.errors import BundleError, TrustError
from teraferry.bundles.index import SignedBundle
from teraferry.bundles.limits import CHUNK_BYTES
from teraferry.bundles.progress import Silent
from teraferry.keys.metadata import read_metadata
from teraferry.keys.trust import verify_release
from teraferry.keys.trusted import Floor
from tests.lab.house import House
from tests.prove.record import Outcome, Record

BUNDLE_FLIPS = 20_000
FILE_FLIPS = 1_000  # of the page and of the installer each
UNIT_FLIPS = 2_000
SETTINGS: dict[str, int | str] = {"bundle_flips": BUNDLE_FLIPS, "file_flips": FILE_FLIPS, "shape": 2}
PR_SET_PDEATHSIG = 1  # linux/prctl.h
NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Unit:
    """Some flips of one file of the kit."""

    what: str
    file: str  # below the kit
    bits: tuple[int, int, int]  # first, end, step: all of a range; or seed, count, -1: drawn at random
    judge: str  # a key of JUDGES

    @property
    def name(self) -> str:
        return f"{self.what} {self.file} {self.bits}"

    def positions(self, kit: Path) -> Iterator[int]:
        first, end, step = self.bits
        if step > 0:
            yield from range(first, end, step)
            return
        size_bits = (kit / self.file).stat().st_size * 8
        draw = random.Random(first)
        for _ in range(end):
            yield draw.randrange(size_bits)


def prove(record: Record) -> Outcome:
    """Flip, judge and count."""
    if record.is_new or not (record.folder / "house").exists():
        shutil.rmtree(record.folder, ignore_errors=True)
        make_kit(record.folder)
        record.done("kit", {})
    kit = kit_of(record.folder)
    for judge in JUDGES.values():
        judge(record.folder, kit)  # Unchanged, it is accepted; or flips would prove nothing.
    units = list(plan(record.folder))
    left = [unit for unit in units if unit.name not in record]
    record.tell(f"{len(units) - len(left)} of {len(units)} pieces are done already")
    with ProcessPoolExecutor(os.cpu_count() or 1, initializer=_end_with_parent) as pool:
        running = {pool.submit(flip_all, record.folder, unit): unit for unit in left}
        for number, future in enumerate(as_completed(running), start=1):
            record.done(running[future].name, future.result())
            if number % 10 == 0:
                record.tell(f"{number} of {len(left)} pieces")
    shutil.rmtree(record.folder)
    return judge_counts(record)


def _end_with_parent() -> None:
    """Let the kernel end this process when the proof is killed: it would wait for its next piece for ever."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def judge_counts(record: Record) -> Outcome:
    total: Counter[str] = Counter()
    for name, found in record.pieces().items():
        if name == "kit":
            continue
        flips = sum(found.values())
        total["flips"] += flips
        total[f"flips of {name.split(' ')[0]}"] += flips
        total["accepted"] += sum(count for key, count in found.items() if key.startswith("accepted"))
        total["tracebacks"] += sum(count for key, count in found.items() if key.startswith("traceback"))
    accepted_at = sorted(key for found in record.pieces().values() for key in found if key.startswith("accepted"))
    if accepted_at:
        record.tell("; ".join(accepted_at[:20]))
    held = total["flips"] > 0 and not total["accepted"] and not total["tracebacks"]
    accepted, tracebacks = total.pop("accepted"), total.pop("tracebacks")
    said = f"{accepted} changed kits accepted, {tracebacks} tracebacks"
    return Outcome(held, said, dict(total))


def make_kit(folder: Path) -> None:
    """Make a kit with two roots, a stored and a deflated blob, and three release keys of three kinds.

    All three must sign: with one to spare, a flip in that one's key id takes a signature away that nobody needs.
    """
    folder.mkdir(parents=True)
    (folder / "house").mkdir()
    house = House(folder / "house", release_kinds=("p256", "p384", "rsa"), release_threshold=3).open()
    next_root = house.sign_root(house.next_root(), "root-1", "root-2")
    house.publish_root(next_root, 2)
    blobs = [random.Random(1).randbytes(CHUNK_BYTES + 70_000), b"text that deflates\n" * 9_000]
    kit = house.build("1.0.0", blobs=blobs)
    house.sign(kit, "release-1", "release-2", "release-3")


def kit_of(folder: Path) -> Path:
    return folder / "house" / "demo-1.0.0"


def plan(folder: Path) -> Iterator[Unit]:
    """Yield every piece of the work."""
    kit = kit_of(folder)
    metadata = [f"metadata/{name}" for name in ("2.root.json", "targets.json", "snapshot.json", "timestamp.json")]
    for file in metadata:
        yield from _every_bit("metadata", kit, file, judge="metadata")
    checked = sorted(path.name for path in kit.iterdir() if path.name.startswith(layout.CHECKSUMS))
    for file in checked:
        yield from _every_bit("signatures", kit, file, judge="kit")
    signed = signed_bundle(folder)
    yield from _every_bit("index", kit, signed.name, judge="bundle", start=signed.index_offset_bytes * 8)
    for number in range(BUNDLE_FLIPS // UNIT_FLIPS):
        yield Unit("bundle", signed.name, (number, UNIT_FLIPS, -1), "bundle")
    for file in (layout.START_PAGE, layout.INSTALLER):
        yield Unit("files", file, (1, FILE_FLIPS, -1), "kit")


def _every_bit(what: str, kit: Path, file: str, *, judge: str, start: int = 0) -> Iterator[Unit]:
    end = (kit / file).stat().st_size * 8
    for first in range(start, end, UNIT_FLIPS):
        yield Unit(what, file, (first, min(end, first + UNIT_FLIPS), 1), judge)


def flip_all(folder: Path, unit: Unit) -> dict[str, int]:
    """Flip each bit of a unit in a copy of the kit that is this process's own; count what came of it."""
    copy = folder / f"copy-{os.getpid()}"
    if not copy.exists():
        shutil.copytree(kit_of(folder), copy)
    path = copy / unit.file
    found: Counter[str] = Counter()
    descriptor = os.open(path, os.O_RDWR)
    try:
        for bit in unit.positions(copy):
            at, mask = bit // 8, 1 << bit % 8
            right = os.pread(descriptor, 1, at)
            os.pwrite(descriptor, bytes([right[0] ^ mask]), at)
            found[_verdict(lambda: JUDGES[unit.judge](folder, copy), f"{unit.file} bit {bit}")] += 1
            os.pwrite(descriptor, right, at)
    finally:
        os.close(descriptor)
    return dict(found)


def _verdict(judge: Callable[[], object], where: str) -> str:
    try:
        judge()
    except (TrustError, BundleError) as refused:
        return refused.reference
    except Exception as error:
        # Whatever else it is, a person at a site would see a traceback: it is counted and named, not raised.
        return f"traceback {type(error).__name__} at {where}"
    return f"accepted {where}"


def judge_metadata(folder: Path, kit: Path) -> None:
    """Judge the metadata as a site that pinned the first root."""
    files = read_metadata(kit, after_root=1)
    release = verify_release(files, trusted_root=_root(folder), floor=Floor(), now=NOW)
    if release.root_version != 2:
        # A site that stays at root 1 would go on with keys that the second root took away.
        raise ValueError(f"root {release.root_version}, expected 2")


def judge_bundle(folder: Path, kit: Path) -> None:
    """Read every byte against the signed facts."""
    signed = signed_bundle(folder)
    with BundleReader(kit / signed.name, signed) as reader:
        reader.verify_whole(Silent())


def judge_kit(folder: Path, kit: Path) -> None:
    """Run the whole of ``teraferry verify``."""
    verify_kit(locate_kit(kit), _root(folder), progress=Silent(), now=NOW)


@cache
def _root(folder: Path) -> bytes:
    return (folder / "house" / "trust" / "1.root.json").read_bytes()


@cache
def signed_bundle(folder: Path) -> SignedBundle:
    """Return what the release signatures say of the bundle."""
    files = read_metadata(kit_of(folder), after_root=1)
    return verify_release(files, trusted_root=_root(folder), floor=Floor(), now=NOW).bundle


JUDGES: dict[str, Callable[[Path, Path], None]] = {
    "metadata": judge_metadata,
    "bundle": judge_bundle,
    "kit": judge_kit,
}
