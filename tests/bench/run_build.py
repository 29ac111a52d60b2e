"""The rows of ``build``: against a plain copy, and against tar with gzip and pigz."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.bench.data import Workshop
from tests.bench.measure import (
    MIB,
    Pairs,
    Run,
    forget_pages,
    interleave,
    median_seconds,
    run_command,
    run_shell,
    settle,
    tree_bytes,
)
from tests.bench.table import Row
from tests.bench.worker import profile_of, timed

CORES = os.cpu_count() or 1
DIGESTS_OF_A_BUILD = 3
"""Passes over all bytes: of the content, which must be its name; of the chunks; of the whole file."""


def build_rows(shop: Workshop, layout: Path) -> list[Row]:
    """Return every row of building."""
    return [*_layers(shop, layout), *_plain(shop)]


def _layers(shop: Workshop, layout: Path) -> list[Row]:
    project = shop.project("1.0.0", layout=layout)
    sizes, content = shop.sizes, tree_bytes(layout)
    argv = partial(shop.build_argv, project)
    installer = shop.tiny_installer
    work = _cold(shop, [layout], lambda out: timed("build", project, out, installer, CORES))
    command = _cold(shop, [layout], lambda out: run_command(argv(out)))
    copy = _cold(shop, [layout], lambda out: run_shell(f"cp -r --reflink=never {layout} {out} && {_sync(out)}"))
    digests = _cold(shop, [layout], lambda _: timed("digests", content, DIGESTS_OF_A_BUILD))
    rows = []
    inside, whole, copied, digested = interleave(work, command, copy, digests, rounds=sizes.many_pairs)
    for name, runs, aside in (("work", inside, False), ("command", whole, True)):
        pairs = Pairs(runs, copied)
        ratio = pairs.faster()
        met = ratio.median >= 0.9
        rows.append(
            Row(
                f"build from compressed layers, {name}; cp --reflink=never + sync",
                _against(pairs, content),
                ratio.text(),
                ">= 0.9 x",
                met,
                aside,
                () if met else _started(whole, inside) if aside else _profile(shop, project, [layout]),
            )
        )
    bare = Pairs(digested, copied)
    rows.append(
        Row(
            f"nothing but the {DIGESTS_OF_A_BUILD} SHA-256 that it takes, on all cores; cp --reflink=never + sync",
            _against(bare, content),
            bare.faster().text(),
            "",
            None,
        )
    )
    gzip, pigz = (_cold(shop, [layout], _tar(layout, tool)) for tool in ("gzip -6", "pigz"))
    whole, gzipped, pigzed = interleave(command, gzip, pigz, rounds=sizes.slow_pairs)
    for name, runs, budget in (("tar | gzip -6", gzipped, 10.0), ("tar | pigz", pigzed, None)):
        pairs = Pairs(whole, runs)
        ratio = pairs.faster()
        rows.append(
            Row(
                f"build from compressed layers, command; {name}",
                _against(pairs, content),
                ratio.text(),
                f">= {budget:g} x" if budget else "",
                ratio.median >= budget if budget else None,
            )
        )
    return rows


def _plain(shop: Workshop) -> list[Row]:
    files = shop.plain_files()
    project = shop.project("2.0.0", files=files)
    paths = [path for _, path in files]
    content = sum(path.stat().st_size for path in paths)
    sizes: dict[str, int] = {}

    def ours_once(out: Path) -> Run:
        run = timed("build", project, out, shop.tiny_installer, CORES)
        sizes["ours"] = next(out.glob("*.tar.gz")).stat().st_size
        return run

    def gzip_once(out: Path) -> Run:
        out.mkdir()
        names = " ".join(str(path) for path in paths)
        run = run_shell(f"cat {names} | gzip -6 > {out / 'all.gz'} && sync {out / 'all.gz'}")
        sizes["gzip"] = (out / "all.gz").stat().st_size
        return run

    once = _cold(shop, paths, ours_once), _cold(shop, paths, gzip_once)
    pairs = Pairs(*interleave(*once, rounds=shop.sizes.pairs))
    cheaper, faster = pairs.cheaper(), pairs.faster()
    speed = content / MIB / (sum(run.cpu_seconds for run in pairs.ours) / len(pairs.ours))
    other = content / MIB / (sum(run.cpu_seconds for run in pairs.theirs) / len(pairs.theirs))
    share = sizes["ours"] / sizes["gzip"]
    return [
        Row(
            "build from plain files, work, speed a core (by processor time); gzip -6",
            f"{speed:.0f} MiB/s a core against {other:.0f}",
            cheaper.text(),
            ">= 6 x",
            cheaper.median >= 6,
            False,
            () if cheaper.median >= 6 else _profile(shop, project, paths),
        ),
        Row("the same by the wall, on all cores", _against(pairs, content), faster.text(), "", None),
        Row(
            "size of the bundle; gzip -6 of the same files",
            f"{sizes['ours'] / 1e6:.1f} MB against {sizes['gzip'] / 1e6:.1f}",
            f"{share:.3f}",
            "<= 1.1 x",
            share <= 1.1,
        ),
    ]


def _cold(shop: Workshop, sources: list[Path], work: Callable[[Path], Run]) -> Callable[[], Run]:
    """Return ``work`` with its sources read from the disk, and its output thrown away."""

    def once() -> Run:
        out = shop.folder / "out"
        forget_pages(sources)
        settle()
        try:
            return work(out)
        finally:
            shutil.rmtree(out, ignore_errors=True)

    return once


def _tar(layout: Path, tool: str) -> Callable[[Path], Run]:
    def once(out: Path) -> Run:
        out.mkdir()
        return run_shell(f"tar -C {layout} -cf - . | {tool} > {out / 'all.gz'} && sync {out / 'all.gz'}")

    return once


def _sync(out: Path) -> str:
    return f"find {out} -type f -exec sync {{}} +"


def _profile(shop: Workshop, project: Path, sources: list[Path]) -> tuple[str, ...]:
    out = shop.folder / "out"
    forget_pages(sources)
    settle()
    try:
        return profile_of("build", project, out, shop.tiny_installer, CORES)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _started(commands: tuple[Run, ...], works: tuple[Run, ...]) -> tuple[str, ...]:
    command, work = median_seconds(commands), median_seconds(works)
    return (f"{command - work:6.2f} s  the interpreter, imports and its end", f"{work:6.2f} s  the work")


def _against(pairs: Pairs, content: int) -> str:
    ours, theirs = median_seconds(pairs.ours), median_seconds(pairs.theirs)
    return f"{ours:.2f} s against {theirs:.2f} ({content / MIB / ours:.0f} MiB/s)"
