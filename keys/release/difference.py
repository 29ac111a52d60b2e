"""What changed from one release to the next, by name and digest. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from teraferry.keys.release.contents import ReleaseContents


@dataclass(frozen=True, slots=True)
class Difference:
    """Every row is named by its kind and name: ``image terachat/api``. Sorted."""

    added: Mapping[str, str]  # row -> what it is now
    removed: Mapping[str, str]  # row -> what it was
    changed: Mapping[str, tuple[str, str]]  # row -> was, is
    unchanged: int


def compare_releases(old: ReleaseContents, new: ReleaseContents) -> Difference:
    """Return what ``new`` has that ``old`` had not, and the other way round."""
    before, after = dict(_rows(old)), dict(_rows(new))
    both = sorted(before.keys() & after.keys())
    return Difference(
        added={row: after[row] for row in sorted(after.keys() - before.keys())},
        removed={row: before[row] for row in sorted(before.keys() - after.keys())},
        changed={row: (before[row], after[row]) for row in both if before[row] != after[row]},
        unchanged=sum(before[row] == after[row] for row in both),
    )


def _rows(release: ReleaseContents) -> Iterable[tuple[str, str]]:
    manifest = release.manifest
    yield from ((f"image {image.name}", image.digest) for image in manifest.images)
    yield from ((f"file {file.name}", f"{file.digest} mode {file.mode}") for file in manifest.files)
    yield from ((f"chart {chart.name}", chart.digest) for chart in manifest.charts)
    for test in manifest.smoke:
        yield f"smoke test {test.http} {test.field} on {test.role or 'all'} nodes", f"equals {test.equals!r}"
    yield "OpenPGP key", manifest.openpgp or "none"
    yield "upgrades from", manifest.release.upgrades_from or "any version"
    yield from ((f"kit {name}", file.digest) for name, file in release.files.items() if name != release.bundle.name)
