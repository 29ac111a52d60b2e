"""One image, whatever it came in: from its top descriptor to every blob it needs.

A source only has to hand out blobs by digest (``BlobStore``). Documents are read, matched against
their digest and kept byte for byte; layers are not read here, since the writer digests every byte it
packs and refuses other bytes than the ones named.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol

from teraferry.bundles import oci
from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.errors import BuildError, BundleError
from teraferry.bundles.limits import MAX_IMAGE_MANIFEST_BYTES

_EXPORT_AGAIN: Final = "Export the image again from the tool that made it, then type: teraferry lock"


@dataclass(frozen=True, slots=True)
class SourceBlob:
    """Bytes that will become one blob of the bundle."""

    digest: Digest
    length_bytes: int
    open: Callable[[], BinaryIO]


class BlobStore(Protocol):
    """Where an image's blobs lie."""

    def find(self, digest: Digest) -> SourceBlob | None:
        """Return the blob, unread, or None."""


@dataclass(frozen=True, slots=True)
class ResolvedPlatform:
    """One platform of an image, with its manifest read."""

    platform: str
    descriptor: oci.Descriptor
    manifest: oci.ImageManifest


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """An image with everything it needs."""

    top: oci.Descriptor  # of the image index, or of the one manifest
    platforms: tuple[ResolvedPlatform, ...]
    blobs: Mapping[Digest, SourceBlob]


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything a release is made of, by digest."""

    images: Mapping[str, ResolvedImage]  # by the image's name
    files: Mapping[str, SourceBlob]  # by the file's name


def resolve_image(store: BlobStore, top: oci.Descriptor, *, platforms: Sequence[str], what: str) -> ResolvedImage:
    """Return the image that ``top`` names, narrowed to ``platforms``.

    An index that is kept whole keeps its bytes. One that loses platforms is encoded anew, and one
    that keeps a single platform gives way to that platform's manifest, whose digest is known already.

    Args:
        store: Where the blobs lie.
        top: Of an image index or an image manifest.
        platforms: Such as ``linux/amd64``; empty keeps all there are, attestations included.
        what: How errors call the image: its name and source.

    Raises:
        BuildError: 30; ``source-platform-missing``, ``source-blob-missing``, ``source-blob-damaged``
            or ``source-malformed``.
    """
    reading = _Reading(store, what)
    try:
        if top.media_type in oci.INDEX_TYPES:
            return _resolve_index(reading, top, platforms)
        if top.media_type in oci.MANIFEST_TYPES:
            found = reading.platform(top)
            _require_platforms(platforms, [found.platform], what)
            return ResolvedImage(top, (found,), reading.blobs)
    except BundleError as error:
        raise malformed(what, error.message) from error
    raise malformed(what, f"media type {top.media_type}, expected an image index or an image manifest")


def malformed(what: str, message: str) -> BuildError:
    """Return the error for a source that is not what its kind promises."""
    return BuildError("source-malformed", f"{what}: {message}", hint=_EXPORT_AGAIN, facts={"source": what})


def read_document(blob: SourceBlob, what: str) -> bytes:
    """Return a document's bytes once they matched its digest.

    Raises:
        BuildError: 30; ``source-blob-damaged`` or ``source-malformed`` (too long).
    """
    if blob.length_bytes > MAX_IMAGE_MANIFEST_BYTES:
        raise malformed(
            what, f"document {blob.digest}: {blob.length_bytes} bytes, expected at most {MAX_IMAGE_MANIFEST_BYTES}"
        )
    with blob.open() as file:
        content = file.read(blob.length_bytes + 1)
    if digest_of(content) != blob.digest:
        raise BuildError(
            "source-blob-damaged",
            f"{what}: blob has {digest_of(content)}, expected {blob.digest}",
            hint=_EXPORT_AGAIN,
            facts={"source": what, "found": digest_of(content), "expected": blob.digest},
        )
    return content


class _Reading:
    """Collects every blob of one image while its documents are read."""

    def __init__(self, store: BlobStore, what: str) -> None:
        self._store, self.what = store, what
        self.blobs: dict[Digest, SourceBlob] = {}

    def take(self, descriptor: oci.Descriptor) -> SourceBlob:
        blob = self._store.find(descriptor.digest)
        if blob is None:
            raise BuildError(
                "source-blob-missing",
                f"{self.what}: blob {descriptor.digest} ({descriptor.media_type}) is absent, expected in the source",
                hint="Name the platforms that the source holds (platforms = [...]), or export the image again whole.",
                facts={"source": self.what, "blob": descriptor.digest},
            )
        if blob.length_bytes != descriptor.size:
            raise BuildError(
                "source-blob-damaged",
                f"{self.what}: blob {blob.digest} has {blob.length_bytes} bytes, expected {descriptor.size}",
                hint=_EXPORT_AGAIN,
                facts={"source": self.what, "blob": blob.digest},
            )
        self.blobs[blob.digest] = blob
        return blob

    def document(self, descriptor: oci.Descriptor) -> bytes:
        return read_document(self.take(descriptor), self.what)

    def platform(self, descriptor: oci.Descriptor) -> ResolvedPlatform:
        content = self.document(descriptor)
        manifest = oci.parse_document(content, oci.ImageManifest, what=f"manifest {descriptor.digest}")
        platform = descriptor.platform
        if platform is None:
            config = self.document(manifest.config)
            parsed = oci.parse_document(config, oci.ImageConfig, what=f"config {manifest.config.digest}")
            platform = parsed.platform()
        for needed in (manifest.config, *manifest.layers):
            self.take(needed)
        return ResolvedPlatform(platform.text(), descriptor, manifest)


def _resolve_index(reading: _Reading, top: oci.Descriptor, wanted: Sequence[str]) -> ResolvedImage:
    content = reading.document(top)
    index = oci.parse_document(content, oci.ImageIndex, what=f"image index {top.digest}")
    for row in index.manifests:
        if row.media_type not in oci.MANIFEST_TYPES:
            raise malformed(reading.what, f"image index {top.digest} lists {row.media_type}, expected image manifests")
    if not wanted:
        return ResolvedImage(top, tuple(reading.platform(row) for row in index.manifests), reading.blobs)
    there = [row.platform.text() if row.platform else oci.UNKNOWN_PLATFORM for row in index.manifests]
    _require_platforms(wanted, there, reading.what)
    kept = [row for row, name in zip(index.manifests, there, strict=True) if name in wanted]
    found = tuple(reading.platform(row) for row in kept)
    if len(kept) == len(index.manifests):
        return ResolvedImage(top, found, reading.blobs)
    del reading.blobs[top.digest]
    if len(kept) == 1:
        return ResolvedImage(kept[0], found, reading.blobs)
    narrowed = oci.encode_index([oci.descriptor_fields(row, row.annotations) for row in kept])
    descriptor = oci.descriptor_of(narrowed, oci.OCI_INDEX_TYPE)
    reading.blobs[descriptor.digest] = blob_in_memory(narrowed)
    return ResolvedImage(descriptor, found, reading.blobs)


def _require_platforms(wanted: Sequence[str], there: Sequence[str], what: str) -> None:
    missing = [platform for platform in wanted if platform not in there]
    if missing:
        has = sorted(set(there) - {oci.UNKNOWN_PLATFORM})
        raise BuildError(
            "source-platform-missing",
            f"{what}: no platform {', '.join(missing)}, expected one of {', '.join(has)}",
            hint=f"Write platforms = {has!r} in release.toml, or export the image with the platform you need.",
            facts={"source": what, "missing": missing, "found": has},
        )


def blob_in_memory(content: bytes) -> SourceBlob:
    """Return a blob of bytes that were made here."""
    return SourceBlob(digest_of(content), len(content), lambda: io.BytesIO(content))
