"""The rows of ``load``: into an empty registry, again with one layer changed, again with nothing changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
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

    def profile(self, *, holding: Path | None = None) -> tuple[str, ...]:
        """Return where the time of the loading goes."""
        with self._site.registry(holding=holding) as registry:
            settle()
            return profile_of("load", self.kit.folder, self._shop.root, registry.url)


def load_rows(shop: Workshop, site: BenchSite, loads: Loads, changed: Loads) -> list[Row]:
    """Return every row of loading; the bundle lies in the page cache for all sides."""
    held = shop.folder / "held"
    pairs, slow = shop.sizes.pairs, shop.sizes.slow_pairs
    size = loads.kit.bundle.stat().st_size
    empty = loads.into
    rows = [
        _row(
            "load into an empty registry, work; raw parallel push",
            interleave(empty(loads.phase), empty(loads.raw), pairs=pairs),
            at_most=1.15,
            size=size,
            profile=loads.profile,
        ),
        _row(
            "load into an empty registry, command (verifies all first); skopeo copy --all oci-archive:",
            interleave(empty(loads.command), empty(loads.skopeo), pairs=slow),
            at_least=1.5,
            size=size,
            profile=loads.profile,
        ),
    ]
    site.forget_releases()
    with site.registry() as registry:
        loads.command(registry)
        shutil.copytree(site.folder / "registry" / "storage", held, copy_function=os.link)
    again = partial(changed.into, holding=held)
    rows.append(
        _row(
            "load again, one layer changed, command; skopeo",
            interleave(again(changed.command), again(changed.skopeo), pairs=slow),
            at_least=3,
            size=size,
            profile=partial(changed.profile, holding=held),
        )
    )
    rows.append(_nothing_changed(loads, held, pairs=pairs))
    shutil.rmtree(held)
    return rows


def _nothing_changed(loads: Loads, held: Path, *, pairs: int) -> Row:
    blobs = len(loads.kit.blobs)
    budget = 1 + 0.005 * blobs
    runs = interleave(
        loads.into(loads.command, holding=held), loads.into(loads.skopeo, holding=held), pairs=max(3, pairs // 2)
    )
    ours = median_seconds(runs.ours)
    met = ours <= budget
    return Row(
        "load again, nothing changed, command; skopeo",
        f"{ours:.2f} s against {median_seconds(runs.theirs):.2f}, {blobs} blobs",
        runs.faster().text(),
        f"<= {budget:.2f} s",
        met,
        () if met else loads.profile(holding=held),
    )


def _row(
    name: str,
    pairs: Pairs,
    *,
    size: int,
    profile: Callable[[], tuple[str, ...]],
    at_least: float | None = None,
    at_most: float | None = None,
) -> Row:
    ratio = pairs.slower() if at_most is not None else pairs.faster()
    met = ratio.median <= at_most if at_most is not None else ratio.median >= (at_least or 0)
    ours, theirs = median_seconds(pairs.ours), median_seconds(pairs.theirs)
    budget = f"<= {at_most:g} x" if at_most is not None else f">= {at_least:g} x"
    figure = f"{ours:.2f} s against {theirs:.2f} ({size / MIB / ours:.0f} MiB/s)"
    return Row(name, figure, ratio.text(), budget, met, () if met else profile())


def _sync_filesystem(folder: Path) -> float:
    return run_shell(f"sync -f {folder}").seconds
