"""The rows of ``load``: into an empty registry, again with one layer changed, again with nothing changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.bench.data import SignedKit, Workshop
from tests.bench.measure import MIB, Pairs, Run, interleave, median_seconds, run_shell, settle
from tests.bench.site import BenchSite, skopeo_argv
from tests.bench.table import Row
from tests.bench.worker import profile_of, timed
from tests.lab.registry import LabRegistry

Into = Callable[[LabRegistry], Run]


class Loads:
    """Loads one kit in every way, each time into a registry of its own."""

    def __init__(self, shop: Workshop, site: BenchSite, kit: SignedKit, layout: Path) -> None:
        self._shop, self._site, self.kit, self._layout = shop, site, kit, layout

    def phase(self, registry: LabRegistry) -> Run:
        """Only the loading, of a kit that was verified before."""
        return timed("load", self.kit.folder, self._shop.root, registry.url)

    def command(self, registry: LabRegistry) -> Run:
        """The whole command: the installer file's start, all of the verifying, loading."""
        return self._site.installer("load", self.kit.folder)

    def raw(self, registry: LabRegistry) -> Run:
        """The raw parallel push of the same blobs from files."""
        return timed("raw", self._layout, registry.url)

    def skopeo(self, registry: LabRegistry) -> Run:
        """Skopeo, image after image."""
        scratch = self._shop.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        argvs = [skopeo_argv(self.kit.bundle, image, self.kit.version, registry, scratch) for image in self.kit.images]
        return run_shell(" && ".join(" ".join(str(word) for word in argv) for argv in argvs))

    def into(self, how: Into, *, holding: Path | None = None) -> Callable[[], Run]:
        """Return ``how`` done into a fresh registry and synced to its disk."""

        def once() -> Run:
            self._site.forget_releases()
            with self._site.registry(holding=holding) as registry:
                settle()
                run = how(registry)
                synced = _sync_filesystem(self._site.folder)
                return Run(run.seconds + synced, run.cpu_seconds)

        return once

    def figure(self, pairs: Pairs) -> str:
        """Return the medians, and our speed over the whole bundle."""
        ours, theirs = median_seconds(pairs.ours), median_seconds(pairs.theirs)
        return f"{ours:.2f} s against {theirs:.2f} ({self.kit.bundle.stat().st_size / MIB / ours:.0f} MiB/s)"

    def command_profile(self, command: Sequence[Run], work: Sequence[Run]) -> tuple[str, ...]:
        """Return what a whole command does beside the loading; the bundle lies in the page cache."""
        start = self._site.installer("--help").seconds
        verify = timed("verify", self.kit.folder, self._shop.root).seconds
        loading = median_seconds(work)
        return (
            f"{start:6.2f} s  the start of the installer file",
            f"{verify:6.2f} s  every byte of the bundle verified",
            f"{loading:6.2f} s  the loading",
            f"{median_seconds(command) - start - verify - loading:6.2f} s  the rest, and noise",
        )

    def profile(self, *, holding: Path | None = None) -> tuple[str, ...]:
        """Return where the time of the loading goes."""
        with self._site.registry(holding=holding) as registry:
            settle()
            return profile_of("load", self.kit.folder, self._shop.root, registry.url)


def load_rows(shop: Workshop, site: BenchSite, loads: Loads, changed: Loads) -> list[Row]:
    """Return every row of loading; the bundle lies in the page cache for all sides."""
    rows = _empty(loads, rounds=shop.sizes.pairs)
    held = shop.folder / "held"
    site.forget_releases()
    with site.registry() as registry:
        loads.command(registry)
        shutil.copytree(site.folder / "registry" / "storage", held, copy_function=os.link)
    rows += _changed(changed, held, rounds=shop.sizes.pairs)
    rows += _nothing_changed(loads, held, rounds=shop.sizes.slow_pairs)
    shutil.rmtree(held)
    return rows


def _empty(loads: Loads, *, rounds: int) -> list[Row]:
    ways = (loads.phase, loads.raw, loads.command, loads.skopeo)
    work, raw, command, skopeo = interleave(*map(loads.into, ways), rounds=rounds)
    name = "load into an empty registry"
    raced = Pairs(work, raw)
    slower = raced.slower()
    met = slower.median <= 1.15
    first = Row(
        f"{name}, work; raw parallel push of the same blobs",
        loads.figure(raced),
        slower.text(),
        "<= 1.15 x",
        met,
        False,
        () if met else loads.profile(),
    )
    return [first, *_against_skopeo(name, (work, command, skopeo), at_least=1.5, loads=loads, held=None)]


def _changed(loads: Loads, held: Path, *, rounds: int) -> list[Row]:
    into = partial(loads.into, holding=held)
    runs = interleave(*map(into, (loads.phase, loads.command, loads.skopeo)), rounds=rounds)
    return _against_skopeo("load again, one layer changed", runs, at_least=3, loads=loads, held=held)


def _nothing_changed(loads: Loads, held: Path, *, rounds: int) -> list[Row]:
    into = partial(loads.into, holding=held)
    work, command, skopeo = interleave(*map(into, (loads.phase, loads.command, loads.skopeo)), rounds=rounds)
    blobs = len(loads.kit.blobs)
    budget = 1 + 0.005 * blobs
    rows = []
    for name, runs, aside in (("work", work, False), ("command", command, True)):
        seconds = median_seconds(runs)
        met = seconds <= budget
        rows.append(
            Row(
                f"load again, nothing changed, {name}; skopeo",
                f"{seconds:.2f} s against {median_seconds(skopeo):.2f}, {blobs} blobs",
                Pairs(runs, skopeo).faster().text(),
                f"<= {budget:.2f} s",
                met,
                aside,
                () if met else loads.command_profile(runs, work) if aside else loads.profile(holding=held),
            )
        )
    return rows


def _against_skopeo(
    name: str, runs: tuple[tuple[Run, ...], ...], *, at_least: float, loads: Loads, held: Path | None
) -> list[Row]:
    work, command, skopeo = runs
    rows = []
    for kind, ours, aside in (("work", work, False), ("command", command, True)):
        pairs = Pairs(ours, skopeo)
        ratio = pairs.faster()
        met = ratio.median >= at_least
        rows.append(
            Row(
                f"{name}, {kind}; skopeo copy --all oci-archive:",
                loads.figure(pairs),
                ratio.text(),
                f">= {at_least:g} x",
                met,
                aside,
                () if met else loads.command_profile(ours, work) if aside else loads.profile(holding=held),
            )
        )
    return rows


def _sync_filesystem(folder: Path) -> float:
    return run_shell(f"sync -f {folder}").seconds
