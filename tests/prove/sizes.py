"""Memory does not grow with the bundle, and an entry above 8 GiB is an entry like any other.

Build, verify and load of 64 MiB and of 4 GiB under watch: VmHWM of the process tree differs by less than
20 MiB and stays below 150 MiB. Then one file of more than 8 GiB is built, verified and listed by tar.
It needs about 20 GB of disk, and gives them back.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from teraferry.builder.kit import locate_kit
from tests.bench.data import BIN, FULL, Workshop
from tests.bench.measure import MIB, peaks_of
from tests.bench.site import BenchSite
from tests.lab.images import random_bytes
from tests.prove.record import Outcome, Record

SMALL_BYTES, LARGE_BYTES = 64 * MIB, 4096 * MIB
HUGE_BYTES = 8 * 1024 * MIB + 5_000_003
"""Above 2^33, the last length an octal field of 11 digits holds; odd, so that there is padding."""
LAYER_BYTES = 32 * MIB
DIFFERENCE_BUDGET_BYTES = 20 * MIB
MEMORY_BUDGET_BYTES = 150 * MIB
FREE_BYTES = 24 * 10**9
SETTINGS: dict[str, int | str] = {"small": SMALL_BYTES, "large": LARGE_BYTES, "huge": HUGE_BYTES}


def prove(record: Record) -> Outcome:
    """Measure what is left to measure."""
    if shutil.disk_usage(record.folder.parent).free < FREE_BYTES:
        return Outcome(False, f"needs {FREE_BYTES / 1e9:.0f} GB of free disk", {})
    for name, size in (("small", SMALL_BYTES), ("large", LARGE_BYTES)):
        if name not in record:
            record.tell(f"{size // MIB} MiB")
            record.done(name, _in_folder(record, partial(peaks, size_bytes=size)))
    if "huge" not in record:
        record.tell("one entry above 8 GiB")
        record.done("huge", _in_folder(record, huge_entry))
    small, large, huge = record["small"], record["large"], record["huge"]
    grown = {work: large[work] - small[work] for work in small}
    most = max(*large.values(), *huge["peaks"].values())
    held = max(grown.values()) < DIFFERENCE_BUDGET_BYTES and most <= MEMORY_BUDGET_BYTES and huge["listed"]
    more = max(grown.values()) / MIB
    said = f"at most {more:.0f} MiB more for a bundle 64 times as large; never above {most / MIB:.0f} MiB"
    counts: dict[str, int | str] = {
        f"{work}, 64 MiB / 4 GiB": f"{small[work] / MIB:.0f} / {large[work] / MIB:.0f} MiB" for work in small
    }
    counts |= {
        f"{work}, one entry of {HUGE_BYTES} bytes": f"{peak / MIB:.0f} MiB" for work, peak in huge["peaks"].items()
    }
    counts["tar tzf lists that entry with its length"] = "yes" if huge["listed"] else "no"
    return Outcome(held, said, counts)


def peaks(folder: Path, size_bytes: int) -> dict[str, int]:
    """Return the peak memory of building, verifying and loading a bundle of this size."""
    shop = Workshop(folder, FULL).open()
    layout = shop.layout("a", layer_bytes=LAYER_BYTES, layers=size_bytes // LAYER_BYTES)
    kit = shop.signed_kit("4.2.0", layout)
    out = shop.folder / "out"
    built = peaks_of(shop.build_argv(shop.folder / "project-4.2.0", out)).memory_bytes
    shutil.rmtree(out)
    site = BenchSite(shop).open()
    site.installer("--help")
    verified = site.watch("verify", kit.folder).memory_bytes
    with site.registry():
        loaded = peaks_of(site.argv("load", kit.folder), environment=site.environment).memory_bytes
    return {"build": built, "verify": verified, "load": loaded}


def huge_entry(folder: Path) -> dict[str, object]:
    """Build and verify a bundle with one entry above 8 GiB, and let tar list it."""
    shop = Workshop(folder, FULL).open()
    digest = write_huge(folder / "huge.bin")
    project = shop.project("4.2.0", files=[("share/huge.bin", folder / "huge.bin")])
    kit = folder / "terachat-4.2.0"
    built = peaks_of(shop.build_argv(project, kit)).memory_bytes
    (folder / "huge.bin").unlink()
    shop.house.sign(locate_kit(kit), "release-1", "release-2")
    verify: list[str | Path] = [BIN / "teraferry", "verify", kit, "--root", shop.root, "--quiet"]
    verified = peaks_of(verify).memory_bytes
    bundle = next(kit.glob("*.tar.gz"))
    listed = subprocess.run(["tar", "tvzf", bundle], capture_output=True, text=True, check=True).stdout
    wanted = re.compile(rf"\s{HUGE_BYTES}\s.*\sblobs/sha256/{digest}$", re.MULTILINE)
    return {"peaks": {"build": built, "verify": verified}, "listed": bool(wanted.search(listed))}


def write_huge(path: Path) -> str:
    """Write a file that no compressor gains on, and return its SHA-256."""
    block = random_bytes(64 * MIB, seed=1)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        left, number = HUGE_BYTES, 0
        while left:
            piece = number.to_bytes(8, "big") + block[: min(len(block), left) - 8]
            digest.update(piece)
            file.write(piece)
            left -= len(piece)
            number += 1
    return digest.hexdigest()


def _in_folder(record: Record, work: Callable[[Path], Any]) -> Any:
    shutil.rmtree(record.folder, ignore_errors=True)
    record.folder.mkdir(parents=True, mode=0o755)
    try:
        return work(record.folder)
    finally:
        shutil.rmtree(record.folder, ignore_errors=True)
