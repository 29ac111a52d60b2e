"""A release's folder: ``release.toml``, its sources resolved to digests, its lock file on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from teraferry.builder import recipe as recipes
from teraferry.builder.lint import MAX_LINE_CHARACTERS, Lint
from teraferry.builder.lock import LOCK_NAME, LockedFile, LockedImage, ReleaseLock, encode_lock, parse_lock
from teraferry.builder.recipe import FileSource, ImageSource, Recipe
from teraferry.builder.sources.docker_archive import resolve_archive
from teraferry.builder.sources.file import locked_file, read_digest
from teraferry.builder.sources.image import ResolvedImage, SourceBlob, Sources
from teraferry.builder.sources.oci_layout import resolve_layout
from teraferry.bundles.digest import Digest
from teraferry.bundles.errors import BuildError, UsageError
from teraferry.bundles.progress import Progress
from teraferry.bundles.system.durable import write_durably

_MAX_RECIPE_BYTES: Final = 16 * 1024 * 1024
"""A recipe: text people write, held in memory whole."""


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with a ``release.toml`` that was read."""

    folder: Path
    recipe: Recipe

    @property
    def lock_path(self) -> Path:
        """Where the lock file lies."""
        return self.folder / LOCK_NAME


def load_project(folder: Path) -> Project:
    """Return the project in ``folder``.

    Raises:
        UsageError: 2; ``recipe-missing``, ``recipe-unreadable``, or see ``parse_recipe``.
    """
    path = folder / recipes.FILE_NAME
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_RECIPE_BYTES + 1)
        text = content.decode()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(
            "recipe-missing",
            f"project {folder}: no {recipes.FILE_NAME}, expected one",
            hint=f"Type: teraferry new {folder}",
            facts={"project": str(folder)},
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "recipe-unreadable",
            f"{path}: {error}, expected readable UTF-8 text",
            hint="Correct the file or its permissions.",
            facts={"file": str(path)},
        ) from error
    return Project(folder, recipes.parse_recipe(text, file=str(path)))


def resolve_images(project: Project, progress: Progress) -> dict[str, ResolvedImage]:
    """Return every image of the recipe, its documents read and its layers located.

    Raises:
        BuildError: 30; see ``builder.sources``.
    """
    found: dict[str, ResolvedImage] = {}
    for image in project.recipe.image:
        found[image.name] = _resolve_image(project.folder, image)
        progress.say(
            "image",
            f"image {image.name} is {found[image.name].top.digest}",
            name=image.name,
            digest=found[image.name].top.digest,
        )
    return found


def resolve_unlocked(project: Project, progress: Progress) -> Sources:
    """Return every source as it is now, files read to the end.

    Raises:
        BuildError: 30; see ``builder.sources``.
    """
    images = resolve_images(project, progress)
    files = {file.name: _read_file(project.folder, file) for file in project.recipe.file}
    return Sources(images, files)


def resolve_locked(project: Project, lock: ReleaseLock, progress: Progress) -> Sources:
    """Return every source as the lock names it; files are left for the writer to digest.

    Raises:
        BuildError: 30; ``lock-stale``, or see ``builder.sources``.
    """
    lock.require_recipe(project.recipe)
    images = resolve_images(project, progress)
    for locked in lock.images:
        lock.require_digest(f"image {locked.name}", found=images[locked.name].top.digest, locked=locked.digest)
    digests: dict[str, LockedFile] = {file.name: file for file in lock.files}
    files: dict[str, SourceBlob] = {}
    for file in project.recipe.file:
        blob = locked_file(project.folder / file.source, digests[file.name].digest, what=_file_words(file))
        lock.require_length(f"file {file.name}", found=blob.length_bytes, locked=digests[file.name].length_bytes)
        files[file.name] = blob
    return Sources(images, files)


def load_lock(project: Project) -> ReleaseLock:
    """Return the project's lock.

    Raises:
        BuildError: 30; ``lock-missing`` or ``lock-malformed``.
    """
    try:
        content = project.lock_path.read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise BuildError(
            "lock-missing",
            f"project {project.folder}: no {LOCK_NAME}, expected one",
            hint=f"Type: teraferry lock {project.folder}",
            facts={"project": str(project.folder)},
        ) from error
    return parse_lock(content)


def store_lock(project: Project, lock: ReleaseLock) -> None:
    """Write the project's lock, durably.

    Raises:
        BuildError: ``lock-unwritable``, 30.
    """
    try:
        write_durably(project.lock_path, encode_lock(lock))
    except OSError as error:
        raise BuildError(
            "lock-unwritable",
            f"file {project.lock_path}: {error.strerror or error}, expected a place to write it",
            hint="Check the permissions of the project's folder, then type the same command again.",
            facts={"file": str(project.lock_path)},
        ) from error


def lock_of(project: Project, sources: Sources) -> ReleaseLock:
    """Return the lock that pins ``sources``."""
    images = tuple(_locked_image(image, sources.images[image.name].top.digest) for image in project.recipe.image)
    files = tuple(_locked_file(file, sources.files[file.name]) for file in project.recipe.file)
    release = project.recipe.release
    return ReleaseLock(format=1, product=release.product, version=release.version, images=images, files=files)


def require_site_references(project: Project, images: Mapping[str, ResolvedImage]) -> None:
    """Refuse references in the release's text files that would leave the site.

    Raises:
        BuildError: ``reference-leaves-site``, 30, for the first; all are in its facts.
    """
    lint = Lint(
        version=project.recipe.release.version,
        images={name: frozenset({image.top.digest}) for name, image in images.items()},
    )
    for file in project.recipe.file:
        path = project.folder / file.source
        if lint.is_linted(file.name, file.source) and path.is_file():
            # The name that is linted decides what is looked for; the source's may be the telling one.
            telling = file.name if lint.is_linted(file.name, "") else file.source
            with path.open(encoding="utf-8", errors="replace") as opened:
                lint.check(iter(partial(opened.readline, MAX_LINE_CHARACTERS), ""), name=telling, file=str(path))
    lint.require_clean()


def _resolve_image(folder: Path, image: ImageSource) -> ResolvedImage:
    what = f"image {image.name} from {image.source}"
    resolve = resolve_layout if image.scheme == "oci" else resolve_archive
    with _told_read_errors(what):
        return resolve(folder / image.location, image.reference, platforms=image.platforms, what=what)


def _read_file(folder: Path, file: FileSource) -> SourceBlob:
    with _told_read_errors(_file_words(file)):
        return read_digest(folder / file.source, what=_file_words(file))


@contextmanager
def _told_read_errors(what: str) -> Iterator[None]:
    """Turn a source the machine cannot read into an error a person can act on."""
    try:
        yield
    except OSError as error:
        raise BuildError(
            "source-unreadable",
            f"{what}: {error.strerror or error}, expected a readable source",
            hint="Check the source's disk and permissions, then type the same command again.",
            facts={"source": what, "found": str(error.strerror or error)},
        ) from error


def _locked_image(image: ImageSource, digest: Digest) -> LockedImage:
    return LockedImage(name=image.name, source=image.source, platforms=image.platforms, digest=digest)


def _locked_file(file: FileSource, blob: SourceBlob) -> LockedFile:
    return LockedFile(name=file.name, source=file.source, digest=blob.digest, length_bytes=blob.length_bytes)


def _file_words(file: FileSource) -> str:
    return f"file {file.name} from {file.source}"
