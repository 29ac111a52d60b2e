"""Recipe and sources in, an unsigned kit out.

It reads like the runbook:
1. The recipe is read, and the installer that will travel is found.
2. The lock is read; every source must be what it names.
3. No text the release carries may name anything outside the site.
4. The contents are laid out; the disk must hold them before the first byte is written.
5. The installer is put into the kit.
6. The bundle is written once, digested while it is written, and renamed into the kit when it is on the disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from teraferry.builder import recipe as recipes
from teraferry.builder.contents import Contents, plan_contents
from teraferry.builder.describe import BuiltBundle, describe_bundle
from teraferry.builder.kit_folder import claimed_kit, copy_installer, require_space, told_write_errors
from teraferry.builder.lock import stale
from teraferry.builder.project import (
    Project,
    load_lock,
    load_project,
    require_site_references,
    resolve_locked,
)
from teraferry.builder.sources.image import Sources
from teraferry.bundles import layout
from teraferry.bundles.archive_writer import WrittenArchive, write_archive
from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.errors import BuildError, UsageError
from teraferry.bundles.limits import CHUNK_BYTES, FAT_MAX_FILE_BYTES, MAX_INSTALLER_BYTES, STORED_BLOCK_BYTES
from teraferry.bundles.progress import Progress
from teraferry.bundles.system.durable import durable_replace

__all__ = ["BuiltBundle", "BuiltKit", "build_kit", "describe_bundle"]

_ENTRY_OVERHEAD_BYTES: Final = 4096
"""At most, of one entry: its tar header, padding, members and its row in the index."""


@dataclass(frozen=True, slots=True)
class BuiltKit:
    """What a build left on the disk."""

    kit: Path
    bundle: Path
    length_bytes: int
    digest: Digest


def build_kit(
    folder: Path, kit: Path, *, installer: Path | None, jobs: int, mtime: int, progress: Progress
) -> BuiltKit:
    """Build the release in ``folder`` into ``kit``.

    Args:
        folder: Holds ``release.toml`` and ``release.lock.json``.
        kit: Made, or an earlier unsigned build of the same release.
        installer: The installer file; None takes the prebuilt one in ``folder``.
        jobs: Threads that compress; the bytes do not depend on it.
        mtime: Seconds since the epoch, in every tar header.
        progress: Told of each phase.

    Raises:
        UsageError: 2; the recipe, the installer or the kit folder is wrong.
        BuildError: 30; see ``docs/errors.md``.
    """
    project = load_project(folder)  # 1
    chosen = _require_installer(project, installer)
    progress.start("resolve", detail=project.recipe.release.product)
    sources = resolve_locked(project, load_lock(project), progress)  # 2
    require_site_references(project, sources.images)  # 3
    contents = _plan(project, sources)  # 4
    bundle = kit / layout.bundle_name(project.recipe.release.product, project.recipe.release.version)
    needed_bytes = _most_bytes(contents) + chosen.stat().st_size
    require_space(kit, needed_bytes)
    with claimed_kit(kit, bundle.name), told_write_errors(kit, needed_bytes):
        copy_installer(chosen, kit)  # 5
        with _blamed_on_lock(project, sources):
            written = _write_bundle(bundle, contents, jobs=jobs, mtime=mtime, progress=progress)  # 6
    warning = fat_warning(bundle.name, written.length_bytes)
    if warning:
        progress.say("too-large-for-fat", warning, size_bytes=written.length_bytes, limit_bytes=FAT_MAX_FILE_BYTES)
    return BuiltKit(kit, bundle, written.length_bytes, written.digest)


def _require_installer(project: Project, installer: Path | None) -> Path:
    chosen = installer or project.folder / layout.INSTALLER
    if not chosen.is_file():
        raise UsageError(
            "installer-missing",
            f"installer {chosen}: no such file, expected the installer that travels in the kit",
            hint=f"Type: teraferry freeze -o {project.folder / layout.INSTALLER} --root ROOT.json",
            facts={"installer": str(chosen)},
        )
    size_bytes = chosen.stat().st_size
    if not 0 < size_bytes <= MAX_INSTALLER_BYTES:
        raise UsageError(
            "installer-wrong-size",
            f"installer {chosen}: {size_bytes} bytes, expected 1..{MAX_INSTALLER_BYTES}",
            hint="Make it again with: teraferry freeze",
            facts={"installer": str(chosen), "found": size_bytes, "expected": MAX_INSTALLER_BYTES},
        )
    return chosen


def _plan(project: Project, sources: Sources) -> Contents:
    recipe_digest = digest_of((project.folder / recipes.FILE_NAME).read_bytes())
    lock_digest = digest_of(project.lock_path.read_bytes())
    return plan_contents(project.recipe, sources, recipe_digest=recipe_digest, lock_digest=lock_digest)


def _most_bytes(contents: Contents) -> int:
    """Return what the bundle takes if nothing in it can be compressed."""
    plain = contents.plain_bytes
    stored_overhead = plain // STORED_BLOCK_BYTES * 5 + plain // CHUNK_BYTES * 128
    return plain + stored_overhead + len(contents.entries) * _ENTRY_OVERHEAD_BYTES


def _write_bundle(path: Path, contents: Contents, *, jobs: int, mtime: int, progress: Progress) -> WrittenArchive:
    progress.start("pack", total_bytes=contents.plain_bytes, detail=path.name)
    with durable_replace(path) as file:
        written = write_archive(file, contents.entries, jobs=jobs, mtime=mtime, progress=progress)
        progress.start("sync", detail=path.name)
    return written


@contextmanager
def _blamed_on_lock(project: Project, sources: Sources) -> Iterator[None]:
    """Say of bytes that are not what the lock names which source they came from, and what to do."""
    try:
        yield
    except BuildError as error:
        if error.reference != "source-changed":
            raise
        entry = str(error.facts["entry"])
        found, expected = str(error.facts["found"]), str(error.facts["expected"])
        for file in project.recipe.file:
            if layout.blob_name(sources.files[file.name].digest) == entry:
                raise stale(f"file {file.name} from {file.source}", found=found, expected=expected) from error
        for name, image in sources.images.items():
            if any(layout.blob_name(digest) == entry for digest in image.blobs):
                raise _damaged(f"image {name}", entry, found=found, expected=expected) from error
        raise


def _damaged(what: str, entry: str, *, found: str, expected: str) -> BuildError:
    return BuildError(
        "source-blob-damaged",
        f"{what}: {entry} has {found}, expected {expected}",
        hint="Export the image again from the tool that made it, then type: teraferry lock",
        facts={"source": what, "blob": entry, "found": found, "expected": expected},
    )


def fat_warning(name: str, length_bytes: int) -> str | None:
    """Return what to tell of a file that no FAT medium can hold, or None if it fits."""
    if length_bytes <= FAT_MAX_FILE_BYTES:
        return None
    return (
        f"{name} has {length_bytes} bytes; a file on a FAT medium has {FAT_MAX_FILE_BYTES} at most. "
        "Carry it on a medium formatted as exFAT or ext4."
    )
