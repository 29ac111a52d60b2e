"""OCI documents as a bundle holds them: descriptors, the image layout, artifacts, the docker manifest.

Pure: bytes in, models out, and the other way round. Documents that came with an image are kept
byte for byte, because their digest is the image's name; only the documents that a bundle adds
(its ``index.json``, artifact manifests, a narrowed image index) are encoded here, always in one way.

Source: OCI image-spec v1.1 (descriptor.md, image-index.md, manifest.md, image-layout.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from teraferry.bundles import layout
from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.errors import BundleError
from teraferry.bundles.limits import MAX_ENTRIES, MAX_IMAGE_MANIFEST_BYTES
from teraferry.bundles.manifest import Length

OCI_INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
DOCKER_LIST_TYPE: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST_TYPE: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG_TYPE: Final = "application/vnd.docker.container.image.v1+json"
FILE_ARTIFACT_TYPE: Final = "application/vnd.teraferry.file.v1"
PROVENANCE_ARTIFACT_TYPE: Final = "application/vnd.in-toto+json"
OCTETS_TYPE: Final = "application/octet-stream"

INDEX_TYPES: Final = frozenset({OCI_INDEX_TYPE, DOCKER_LIST_TYPE})
MANIFEST_TYPES: Final = frozenset({OCI_MANIFEST_TYPE, DOCKER_MANIFEST_TYPE})
CONFIG_TYPES: Final = frozenset({OCI_CONFIG_TYPE, DOCKER_CONFIG_TYPE})
DOCKER_READABLE_LAYERS: Final = frozenset(
    {OCI_LAYER_TYPE, OCI_LAYER_TYPE + "+gzip", "application/vnd.docker.image.rootfs.diff.tar.gzip"}
)
"""Layer types every ``docker load`` and ``podman load`` reads; zstd came later and to some only."""

REF_NAME: Final = "org.opencontainers.image.ref.name"
CONTAINERD_NAME: Final = "io.containerd.image.name"
TITLE: Final = "org.opencontainers.image.title"
EMPTY_CONFIG: Final = b"{}"
UNKNOWN_PLATFORM: Final = "unknown/unknown"
"""What build tools call the platform of an attestation inside an image index."""

_HINT = "Export the image again from the tool that made it."


# Unlike our own documents these may carry fields of a later specification, so unknown ones pass.
class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """Which machine a manifest is for."""

    architecture: str
    os: str
    variant: str = ""

    def text(self) -> str:
        """Return ``linux/arm64/v8``."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, rename={"media_type": "mediaType"}):
    """One reference to a blob: its type, digest and size."""

    media_type: str
    digest: Digest
    size: Length
    annotations: dict[str, str] | None = None
    platform: Platform | None = None
    artifact_type: str = msgspec.field(default="", name="artifactType")


Descriptors = Annotated[tuple[Descriptor, ...], msgspec.Meta(max_length=MAX_ENTRIES)]


class ImageIndex(msgspec.Struct, frozen=True, kw_only=True):
    """An image of several platforms, or the ``index.json`` of a layout."""

    schema_version: Literal[2] = msgspec.field(name="schemaVersion")
    manifests: Descriptors
    media_type: str = msgspec.field(default="", name="mediaType")


class ImageManifest(msgspec.Struct, frozen=True, kw_only=True):
    """An image of one platform: its config and its layers, lowest first."""

    schema_version: Literal[2] = msgspec.field(name="schemaVersion")
    config: Descriptor
    layers: Descriptors
    media_type: str = msgspec.field(default="", name="mediaType")


class RootFs(msgspec.Struct, frozen=True, kw_only=True):
    """The digests of the layers once inflated, lowest first."""

    diff_ids: tuple[Digest, ...] = ()


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an image config that we read."""

    architecture: str = "unknown"
    os: str = "unknown"
    variant: str = ""
    rootfs: RootFs = RootFs()

    def platform(self) -> Platform:
        """Return the platform the config names."""
        return Platform(architecture=self.architecture, os=self.os, variant=self.variant)


_Document = TypeVar("_Document", ImageIndex, ImageManifest, ImageConfig)


def parse_document(content: bytes, kind: type[_Document], *, what: str) -> _Document:
    """Return an OCI document whose digest the caller has verified.

    Args:
        content: At most ``MAX_IMAGE_MANIFEST_BYTES``.
        kind: ``ImageIndex``, ``ImageManifest`` or ``ImageConfig``.
        what: How errors call it: ``image index sha256:...``.

    Raises:
        BundleError: ``image-malformed``, 10.
    """
    if len(content) > MAX_IMAGE_MANIFEST_BYTES:
        raise BundleError(
            "image-malformed",
            f"{what}: {len(content)} bytes, expected at most {MAX_IMAGE_MANIFEST_BYTES}",
            hint=_HINT,
        )
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError("image-malformed", f"{what}: {error}, expected an OCI image document", hint=_HINT) from error


def encode_document(document: object) -> bytes:
    """Return the one encoding of a document of ours: sorted keys, no spaces, no final newline."""
    return msgspec.json.encode(document, order="sorted")


def descriptor_of(content: bytes, media_type: str) -> Descriptor:
    """Return the descriptor of a document held in memory."""
    return Descriptor(media_type=media_type, digest=digest_of(content), size=len(content))


def descriptor_fields(descriptor: Descriptor, annotations: Mapping[str, str] | None = None) -> dict[str, object]:
    """Return ``descriptor`` for encoding, with ``annotations`` in place of its own."""
    fields: dict[str, object] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if descriptor.platform is not None:
        platform = {"architecture": descriptor.platform.architecture, "os": descriptor.platform.os}
        fields["platform"] = platform | ({"variant": v} if (v := descriptor.platform.variant) else {})
    if descriptor.artifact_type:
        fields["artifactType"] = descriptor.artifact_type
    if annotations:
        fields["annotations"] = dict(annotations)
    return fields


def encode_index(manifests: Sequence[Mapping[str, object]]) -> bytes:
    """Return an image index over ``manifests`` (see ``descriptor_fields``), in the order given."""
    return encode_document({"schemaVersion": 2, "mediaType": OCI_INDEX_TYPE, "manifests": list(manifests)})


def encode_image_manifest(config: Descriptor, layers: Sequence[Descriptor]) -> bytes:
    """Return a manifest for an image that came without one."""
    return encode_document(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST_TYPE,
            "config": descriptor_fields(config),
            "layers": [descriptor_fields(layer) for layer in layers],
        }
    )


def encode_artifact(artifact_type: str, blob: Descriptor, *, title: str) -> bytes:
    """Return the manifest of an artifact: the empty config and one blob.

    Source: OCI image-spec v1.1, manifest.md, "Guidelines for Artifact Usage".
    """
    return encode_document(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST_TYPE,
            "artifactType": artifact_type,
            "config": descriptor_fields(descriptor_of(EMPTY_CONFIG, OCI_EMPTY_TYPE)),
            "layers": [descriptor_fields(blob, {TITLE: title})],
        }
    )


def encode_layout() -> bytes:
    """Return the ``oci-layout`` file."""
    return encode_document({"imageLayoutVersion": "1.0.0"})


def image_annotations(name: str, version: str) -> dict[str, str]:
    """Return what names an image in ``index.json``: for skopeo and podman, and for containerd.

    Artifacts get none of these: containerd's import refuses a layout in which one is named.
    """
    reference = f"{name}:{version}"
    return {REF_NAME: reference, CONTAINERD_NAME: reference}


def encode_docker_manifest(images: Sequence[tuple[str, ImageManifest]]) -> bytes:
    """Return the docker manifest, an export courtesy for ``docker load``.

    Args:
        images: ``name:version`` and the one platform's manifest to show docker under that name. Leave out
            those that are not ``is_docker_readable``: docker would refuse the whole file.
    """
    rows = [
        {
            "Config": layout.blob_name(manifest.config.digest),
            "RepoTags": [reference],
            "Layers": [layout.blob_name(layer.digest) for layer in manifest.layers],
        }
        for reference, manifest in images
    ]
    return encode_document(rows)


def is_docker_readable(manifest: ImageManifest) -> bool:
    """Tell whether ``docker load`` reads every layer and the config of ``manifest``."""
    return manifest.config.media_type in CONFIG_TYPES and all(
        layer.media_type in DOCKER_READABLE_LAYERS for layer in manifest.layers
    )
