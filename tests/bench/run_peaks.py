"""The rows of memory and disk: each command once more, under watch, so that watching slows no timing."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.bench.data import SignedKit, Workshop
from tests.bench.measure import MIB, Peaks, peaks_of, tree_bytes
from tests.bench.site import BenchSite, skopeo_argv
from tests.bench.table import Row

MEMORY_BUDGET_BYTES = 150 * MIB
DISK_BUDGET_BYTES = 60_000_000

HEAD = "head -c 64M"
"""Enough of the stream: neither gzip nor pigz takes more memory for more."""


def peak_rows(shop: Workshop, site: BenchSite, kit: SignedKit, layout: Path) -> list[Row]:
    """Return the rows of peak memory and of extra disk."""
    size = f"{kit.bundle.stat().st_size / MIB:.0f} MiB"
    for version, files in (("1.0.0", None), ("2.0.0", shop.plain_files())):
        if not (shop.folder / f"project-{version}").exists():
            shop.project(version, layout=None if files else layout, files=files or ())
    built = _build(shop, shop.folder / "project-1.0.0")
    rows = [_memory(f"build, bundle of {size}", built)]
    rows.append(_memory("build, plain files", _build(shop, shop.folder / "project-2.0.0")))
    site.installer("--help")  # The first start unpacks; that disk has a row of its own.
    verified = site.watch("verify", kit.folder)
    rows.append(_memory(f"verify, bundle of {size}", verified))
    site.forget_releases()
    with site.registry() as registry:
        # The registry's folder lies in the site's and is no disk of ours: so the disk is measured before and after.
        before = site.disk_bytes()
        loaded = peaks_of(site.argv("load", kit.folder), environment=site.environment)
        extra = site.disk_bytes() - before
        argv = skopeo_argv(kit.bundle, kit.images[0], kit.version, registry, shop.folder / "scratch")
        (shop.folder / "scratch").mkdir(exist_ok=True)
        theirs = peaks_of(argv, watched=shop.folder / "scratch")
    rows.append(_memory(f"load, bundle of {size}", loaded))
    rows.append(Row("peak memory of skopeo copy, one image", _mib(theirs.memory_bytes), "", "", None))
    rows.append(_memory_of("peak memory of tar | gzip -6", f"tar -C {layout} -cf - . | {HEAD} | gzip -6 > /dev/null"))
    rows.append(_memory_of("peak memory of tar | pigz", f"tar -C {layout} -cf - . | {HEAD} | pigz > /dev/null"))
    rows.append(_none("extra disk of build, beside the kit", built.disk_bytes))
    rows.append(_none("extra disk of verify", verified.disk_bytes))
    rows.append(_disk(site, extra))
    rows.append(Row("extra disk of skopeo copy, one image", f"{theirs.disk_bytes / 1e6:.1f} MB", "", "", None))
    return rows


def _build(shop: Workshop, project: Path) -> Peaks:
    """Return the peaks of a build; its disk is what was there beside the kit that is left."""
    place = shop.folder / "built"
    place.mkdir()
    try:
        peaks = peaks_of(shop.build_argv(project, place / "kit"), watched=place)
        return Peaks(peaks.memory_bytes, max(0, peaks.disk_bytes - tree_bytes(place)))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _memory(what: str, peaks: Peaks) -> Row:
    met = peaks.memory_bytes <= MEMORY_BUDGET_BYTES
    return Row(f"peak memory of {what}", _mib(peaks.memory_bytes), "", "<= 150 MiB", met)


def _memory_of(name: str, script: str) -> Row:
    return Row(name, _mib(peaks_of(["bash", "-c", script]).memory_bytes), "", "", None)


def _none(name: str, extra_bytes: int) -> Row:
    return Row(name, f"{extra_bytes / 1e3:.0f} kB", "", "none but records", extra_bytes <= MIB)


def _disk(site: BenchSite, extra: int) -> Row:
    installer = tree_bytes(site.home)
    return Row(
        "extra disk at the site: installer unpacked; and after load, beside it",
        f"{installer / 1e6:.1f} MB; {extra / 1e3:.0f} kB",
        "",
        "<= 60 MB; the journal",
        installer <= DISK_BUDGET_BYTES and extra <= MIB,
    )


def _mib(count_bytes: int) -> str:
    return f"{count_bytes / MIB:.0f} MiB"
