"""``oci:DIR[:tag]``: an image in an OCI image layout, as skopeo, podman and buildx write it.

Source: OCI image-spec v1.1, image-layout.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from teraferry.builder.sources.image import BlobStore, ResolvedImage, SourceBlob, malformed, resolve_image
from teraferry.bundles import layout, oci
from teraferry.bundles.digest import Digest, hex_of
from teraferry.bundles.errors import BuildError, BundleError
from teraferry.bundles.limits import MAX_IMAGE_MANIFEST_BYTES
from teraferry.bundles.system.read_once import open_once

_BLOBS: Final = Path("blobs") / "sha256"


class FolderStore:
    """Blobs of a layout in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, digest: Digest) -> SourceBlob | None:
        """Return the blob, unread, or None."""
        # A digest's 64 hex digits are all that reaches the path, so no document can lead out of the folder.
        path = self._folder / _BLOBS / hex_of(digest)
        if not path.is_file():
            return None
        return SourceBlob(digest, path.stat().st_size, lambda: open_once(path))


def resolve_layout(folder: Path, tag: str, *, platforms: Sequence[str], what: str) -> ResolvedImage:
    """Return the image that ``tag`` names in the layout in ``folder``.

    Args:
        folder: Holds ``oci-layout``, ``index.json`` and ``blobs``.
        tag: May be "" when the layout holds one image.
        platforms: Those to keep; empty keeps all.
        what: How errors call the image.

    Raises:
        BuildError: 30; ``source-not-found``, ``source-tag-unknown``, or see ``resolve_image``.
    """
    path = folder / layout.OCI_INDEX
    try:
        with path.open("rb") as file:
            content = file.read(MAX_IMAGE_MANIFEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise not_found(what, f"{path} is absent, expected an OCI image layout") from error
    return resolve_in_layout(FolderStore(folder), content, tag, platforms=platforms, what=what)


def resolve_in_layout(
    store: BlobStore, index_json: bytes, tag: str, *, platforms: Sequence[str], what: str
) -> ResolvedImage:
    """Return the image that ``tag`` names in ``index_json``; see ``resolve_layout``."""
    try:
        index = oci.parse_document(index_json, oci.ImageIndex, what=layout.OCI_INDEX)
    except BundleError as error:
        raise malformed(what, error.message) from error
    named = [(_names(row), row) for row in index.manifests]
    top = select(named, tag, what=what, is_named=lambda name: name == tag or familiar(name) == familiar(tag))
    return resolve_image(store, top, platforms=platforms, what=what)


def familiar(name: str) -> str:
    """Return ``name`` without what docker adds to a short one: its hub, ``library/``, ``:latest``."""
    short = name.removeprefix("docker.io/").removeprefix("library/")
    return short if ":" in short.rpartition("/")[2] else short + ":latest"


def select(
    named: Sequence[tuple[Sequence[str], oci.Descriptor]], tag: str, *, what: str, is_named: Callable[[str], bool]
) -> oci.Descriptor:
    """Return the one descriptor that is meant.

    Args:
        named: Each descriptor with the names it goes by.
        tag: "" takes the only one.
        what: How errors call the image.
        is_named: Tells whether a name is the one asked for.

    Raises:
        BuildError: ``source-tag-unknown``, 30: none or several are meant.
    """
    matching = [row for names, row in named if not tag or any(is_named(name) for name in names)]
    if len({row.digest for row in matching}) == 1:
        return matching[0]
    there = sorted({name for names, _ in named for name in names})
    found = f"{len(matching)} images" if matching else "no such image"
    wanted = f"named {tag!r}" if tag else "without a tag"
    raise BuildError(
        "source-tag-unknown",
        f"{what}: {found} {wanted}, expected one of {', '.join(there) or 'none: the images have no names'}",
        hint="Write one of these names after the source's last colon in release.toml.",
        facts={"source": what, "found": there},
    )


def not_found(what: str, message: str) -> BuildError:
    """Return the error for a source that is not there."""
    return BuildError(
        "source-not-found",
        f"{what}: {message}",
        hint="Correct the source in release.toml; its path starts at the folder of release.toml.",
        facts={"source": what},
    )


def _names(row: oci.Descriptor) -> list[str]:
    annotations = row.annotations or {}
    return [annotations[key] for key in (oci.REF_NAME, oci.CONTAINERD_NAME) if key in annotations]
