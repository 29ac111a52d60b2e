"""What goes into a bundle: every entry, in order, and the manifest that names it all. Pure.

Images keep their documents byte for byte and get a name in ``index.json``. Files and the provenance
are OCI artifacts without one, since containerd refuses to import a layout in which they are named.

Source: ``docs/format-1.md``, section "Entries".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from teraferry.builder.provenance import encode_provenance
from teraferry.builder.recipe import Recipe
from teraferry.builder.sources.image import ResolvedImage, SourceBlob, Sources, blob_in_memory
from teraferry.bundles import layout, oci
from teraferry.bundles.archive_writer import EntrySource
from teraferry.bundles.digest import Digest
from teraferry.bundles.errors import BuildError
from teraferry.bundles.limits import MAX_MANIFEST_BYTES
from teraferry.bundles.manifest import File, Image, ImagePlatform, Manifest, Smoke, encode_manifest

_PREFERRED_PLATFORM: Final = "linux/amd64"
"""The one platform shown to docker, whose manifest has room for one a name."""


@dataclass(frozen=True, slots=True)
class Contents:
    """A bundle that is ready to be written."""

    manifest: Manifest
    entries: tuple[EntrySource, ...]

    @property
    def plain_bytes(self) -> int:
        """Bytes to read and pack."""
        return sum(entry.length_bytes for entry in self.entries)


def plan_contents(recipe: Recipe, sources: Sources, *, recipe_digest: Digest, lock_digest: Digest) -> Contents:
    """Return the entries of a release's bundle, in the order of the format.

    Args:
        recipe: What was asked for.
        sources: What it resolved to.
        recipe_digest: Of ``release.toml``, for the provenance.
        lock_digest: Of ``release.lock.json``, for the provenance.

    Raises:
        BuildError: ``document-too-large``, 30.
    """
    manifest = _manifest(recipe, sources)
    blobs: dict[Digest, SourceBlob] = {}
    rows: list[dict[str, object]] = []
    for image in manifest.images:
        resolved = sources.images[image.name]
        blobs |= resolved.blobs
        rows.append(oci.descriptor_fields(resolved.top, oci.image_annotations(image.name, recipe.release.version)))
    for file in manifest.files:
        rows.append(_add_artifact(blobs, oci.FILE_ARTIFACT_TYPE, sources.files[file.name], title=file.name))
    statement = encode_provenance(manifest, recipe, recipe_digest=recipe_digest, lock_digest=lock_digest)
    rows.append(_add_artifact(blobs, oci.PROVENANCE_ARTIFACT_TYPE, blob_in_memory(statement), title="provenance"))
    documents = {layout.OCI_LAYOUT: oci.encode_layout(), layout.OCI_INDEX: oci.encode_index(rows)}
    shown = _docker_images(manifest, sources)
    if shown:
        documents[layout.DOCKER_MANIFEST] = oci.encode_docker_manifest(shown)
    documents[layout.MANIFEST] = encode_manifest(manifest)
    return Contents(manifest, tuple(_entries(documents, blobs)))


def _manifest(recipe: Recipe, sources: Sources) -> Manifest:
    # Sorted by name, so that two releases can be compared line by line whatever order their recipes have.
    images = tuple(
        _image(image.name, sources.images[image.name]) for image in sorted(recipe.image, key=lambda item: item.name)
    )
    files = tuple(
        File(
            name=file.name,
            mode=file.mode,
            digest=sources.files[file.name].digest,
            length_bytes=sources.files[file.name].length_bytes,
        )
        for file in sorted(recipe.file, key=lambda item: item.name)
    )
    smoke = sorted(
        (
            Smoke(http=test.http, field=test.expect.field, equals=test.expect.equals, role=test.role or "")
            for test in recipe.smoke
        ),
        key=lambda test: (test.role, test.http, test.field),
    )
    openpgp = recipe.openpgp.fingerprint if recipe.openpgp is not None else msgspec.UNSET
    return Manifest(format=1, release=recipe.release, images=images, files=files, smoke=tuple(smoke), openpgp=openpgp)


def _image(name: str, resolved: ResolvedImage) -> Image:
    platforms = tuple(
        ImagePlatform(
            platform=found.platform,
            manifest=found.descriptor.digest,
            config=found.manifest.config.digest,
            layers=tuple(layer.digest for layer in found.manifest.layers),
        )
        for found in resolved.platforms
    )
    return Image(name=name, digest=resolved.top.digest, media_type=resolved.top.media_type, platforms=platforms)


def _add_artifact(
    blobs: dict[Digest, SourceBlob], artifact_type: str, blob: SourceBlob, *, title: str
) -> dict[str, object]:
    """Add the blob, its artifact manifest and the empty config; return the row for ``index.json``."""
    media_type = artifact_type if artifact_type == oci.PROVENANCE_ARTIFACT_TYPE else oci.OCTETS_TYPE
    content = oci.Descriptor(media_type=media_type, digest=blob.digest, size=blob.length_bytes)
    manifest = blob_in_memory(oci.encode_artifact(artifact_type, content, title=title))
    empty = blob_in_memory(oci.EMPTY_CONFIG)
    blobs |= {item.digest: item for item in (blob, manifest, empty)}
    row = oci.Descriptor(
        media_type=oci.OCI_MANIFEST_TYPE,
        digest=manifest.digest,
        size=manifest.length_bytes,
        artifact_type=artifact_type,
    )
    return oci.descriptor_fields(row)


def _docker_images(manifest: Manifest, sources: Sources) -> list[tuple[str, oci.ImageManifest]]:
    shown: list[tuple[str, oci.ImageManifest]] = []
    for image in manifest.images:
        real = [found for found in sources.images[image.name].platforms if found.platform != oci.UNKNOWN_PLATFORM]
        real.sort(key=lambda found: found.platform != _PREFERRED_PLATFORM)
        if real and oci.is_docker_readable(real[0].manifest):
            shown.append((f"{image.name}:{manifest.release.version}", real[0].manifest))
    return shown


def _entries(documents: Mapping[str, bytes], blobs: Mapping[Digest, SourceBlob]) -> Iterable[EntrySource]:
    for name, content in documents.items():
        if len(content) > MAX_MANIFEST_BYTES:
            raise BuildError(
                "document-too-large",
                f"{name}: {len(content)} bytes, expected at most {MAX_MANIFEST_BYTES}",
                hint="Split the release into several products.",
                facts={"document": name, "found": len(content), "expected": MAX_MANIFEST_BYTES},
            )
        blob = blob_in_memory(content)
        yield EntrySource(name, blob.length_bytes, blob.digest, blob.open)
    for digest in sorted(blobs):
        yield EntrySource(layout.blob_name(digest), blobs[digest].length_bytes, digest, blobs[digest].open)
