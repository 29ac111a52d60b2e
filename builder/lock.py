"""``release.lock.json``: every tag and file of a recipe pinned to a digest. Pure.

A tag can move between the day a release was tested and the day it is built. The lock is reviewed and
kept with the recipe; ``build`` packs what it names and nothing else.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from teraferry.builder.recipe import Recipe
from teraferry.bundles.digest import Digest
from teraferry.bundles.errors import BuildError, Fact
from teraferry.bundles.manifest import FileName, ImageName, Length, Product, Version
from teraferry.bundles.model import Model

LOCK_NAME: Final = "release.lock.json"

_HINT: Final = "Look at what changed, then type: teraferry lock"


class LockedImage(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An image pinned to the digest of its top document, after its platforms were chosen."""

    name: ImageName
    source: str
    platforms: tuple[str, ...]
    digest: Digest


class LockedFile(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A file pinned to its digest."""

    name: FileName
    source: str
    digest: Digest
    length_bytes: Length


class ReleaseLock(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of ``release.lock.json``, in the order of the recipe."""

    format: Literal[1]
    product: Product
    version: Version
    images: tuple[LockedImage, ...]
    files: tuple[LockedFile, ...]

    def require_recipe(self, recipe: Recipe) -> None:
        """Refuse a lock that was made for another recipe.

        Raises:
            BuildError: ``lock-stale``, 30.
        """
        release = f"{recipe.release.product} {recipe.release.version}"
        _require(LOCK_NAME, found=f"{self.product} {self.version}", expected=release)
        wanted = {f"image {image.name}": f"{image.source} {list(image.platforms)}" for image in recipe.image}
        wanted |= {f"file {file.name}": file.source for file in recipe.file}
        locked = {f"image {image.name}": f"{image.source} {list(image.platforms)}" for image in self.images}
        locked |= {f"file {file.name}": file.source for file in self.files}
        for name in sorted(wanted.keys() | locked.keys()):
            _require(name, found=locked.get(name, "not in the lock"), expected=wanted.get(name, "not in release.toml"))

    def require_digest(self, name: str, *, found: Digest, locked: Digest) -> None:
        """Refuse a source that is no longer what the lock names.

        Raises:
            BuildError: ``lock-stale``, 30.
        """
        _require(name, found=found, expected=locked)

    def require_length(self, name: str, *, found: int, locked: int) -> None:
        """Refuse a file whose length alone tells that it changed.

        Raises:
            BuildError: ``lock-stale``, 30.
        """
        _require(name, found=f"{found} bytes", expected=f"{locked} bytes")


def encode_lock(lock: ReleaseLock) -> bytes:
    """Return the one encoding of ``lock``: indented for review, keys sorted, a final newline."""
    return msgspec.json.format(msgspec.json.encode(lock, order="sorted"), indent=2) + b"\n"


def parse_lock(content: bytes) -> ReleaseLock:
    """Return the lock in ``content``.

    Raises:
        BuildError: ``lock-malformed``, 30.
    """
    try:
        return msgspec.json.decode(content, type=ReleaseLock)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BuildError(
            "lock-malformed", f"{LOCK_NAME}: {error}, expected format 1", hint="Type: teraferry lock"
        ) from error


def stale(name: str, *, found: str, expected: str) -> BuildError:
    """Return the error for a source that the lock does not name as it is."""
    facts: dict[str, Fact] = {"source": name, "found": found, "expected": expected}
    return BuildError("lock-stale", f"{name}: {found}, expected {expected}", hint=_HINT, facts=facts)


def _require(name: str, *, found: str, expected: str) -> None:
    if found != expected:
        raise stale(name, found=found, expected=expected)
