"""What each image needs in the registry, worked out from its own signed documents. Pure.

``bundle.json`` says which images there are; what a registry demands before it takes one is what the
image's documents name: an index its manifests, a manifest its config and layers. Both are signed, and
where they disagree, or name a blob that the bundle does not hold, nothing is pushed at all.

Source: OCI image specification v1.1, "Image Index" and "Image Manifest".
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.errors import BundleError
from teraferry.bundles.index import Index
from teraferry.bundles.layout import BLOB_PREFIX, blob_name
from teraferry.bundles.limits import MAX_ENTRIES, MAX_IMAGE_MANIFEST_BYTES
from teraferry.bundles.manifest import Image, Manifest

MAX_DOCUMENT_DEPTH: Final = 4
"""An index in an index in an index: nobody has seen more; bounds the walk."""

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"

_ASK_FOR_A_NEW_KIT: Final = "Ask the release engineer to build the kit again; nothing was pushed."


@dataclass(frozen=True, slots=True)
class Document:
    """One manifest or index of an image, to be pushed by digest."""

    digest: Digest
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """What one image needs, in the order a registry accepts it."""

    repository: str
    tag: str
    blobs: Mapping[Digest, int]  # digest -> length in bytes
    documents: tuple[Document, ...]  # children first; the one that is tagged last

    @property
    def top(self) -> Document:
        """The document that the tag will point at."""
        return self.documents[-1]


class _Descriptor(msgspec.Struct, rename="camel", frozen=True):
    digest: Digest
    size: int
    media_type: str = ""


class _ImageDocument(msgspec.Struct, rename="camel", frozen=True):
    """An OCI or docker manifest or index; foreign fields are none of our business here."""

    media_type: str = ""
    manifests: tuple[_Descriptor, ...] | None = None
    config: _Descriptor | None = None
    layers: tuple[_Descriptor, ...] = ()


class ReadsDocuments(Protocol):
    """Hands out small entries of a bundle whose bytes were verified."""

    @property
    def index(self) -> Index:
        """The verified index."""

    def read_entry(self, name: str, *, limit_bytes: int) -> bytes:
        """Return one small entry whole."""


def plan_images(manifest: Manifest, reader: ReadsDocuments) -> tuple[ImagePlan, ...]:
    """Return what every image of a bundle needs in the registry; reads small documents only.

    Raises:
        BundleError: See ``plan_image``, and what the reader raises.
    """
    lengths = blob_lengths(reader.index)

    def read_document(digest: Digest) -> bytes:
        return reader.read_entry(blob_name(digest), limit_bytes=MAX_IMAGE_MANIFEST_BYTES)

    tag = manifest.release.version
    return tuple(plan_image(image, tag=tag, lengths=lengths, read_document=read_document) for image in manifest.images)


def blob_lengths(index: Index) -> dict[Digest, int]:
    """Return the plain length of every blob in ``index``."""
    return {
        "sha256:" + entry.name.removeprefix(BLOB_PREFIX): entry.plain_bytes
        for entry in index.entries
        if entry.name.startswith(BLOB_PREFIX)
    }


def plan_image(
    image: Image,
    *,
    tag: str,
    lengths: Mapping[Digest, int],
    read_document: Callable[[Digest], bytes],
) -> ImagePlan:
    """Return what ``image`` needs in the registry.

    Args:
        image: One image of the bundle's manifest.
        tag: What the top document will be tagged with.
        lengths: Plain length of every blob of the bundle.
        read_document: Returns a blob whose bytes were verified; called for manifests and indexes only.

    Raises:
        BundleError: 10; ``blob-missing-in-bundle``, ``blob-digest-wrong``, ``image-malformed`` or
            ``image-disagrees``.
    """
    blobs: dict[Digest, int] = {}
    documents: dict[Digest, Document] = {}

    def visit(digest: Digest, media_type: str, depth: int) -> None:
        if digest in documents:
            return
        if depth > MAX_DOCUMENT_DEPTH or len(documents) + len(blobs) > MAX_ENTRIES:
            raise _bad(image, "image-malformed", f"documents nested deeper than {MAX_DOCUMENT_DEPTH} or too many")
        _require_held(image, digest, lengths)
        content = read_document(digest)
        if digest_of(content) != digest:
            raise _bad(image, "blob-digest-wrong", f"blob {digest} has digest {digest_of(content)}")
        document = _parse(image, digest, content)
        for child in document.manifests or ():
            _require_held(image, child.digest, lengths, size=child.size)
            visit(child.digest, child.media_type or OCI_MANIFEST, depth + 1)
        for descriptor in (*((document.config,) if document.config else ()), *document.layers):
            blobs[descriptor.digest] = _require_held(image, descriptor.digest, lengths, size=descriptor.size)
        documents[digest] = Document(digest, document.media_type or media_type, content)

    visit(image.digest, image.media_type, 1)
    _require_agreement(image, blobs=blobs.keys(), documents=documents.keys())
    return ImagePlan(image.name, tag, blobs, tuple(documents.values()))


def _parse(image: Image, digest: Digest, content: bytes) -> _ImageDocument:
    try:
        document = msgspec.json.decode(content, type=_ImageDocument)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _bad(image, "image-malformed", f"document {digest}: {error}") from error
    if document.manifests is None and document.config is None:
        raise _bad(image, "image-malformed", f"document {digest} is neither an index nor a manifest")
    return document


def _require_held(image: Image, digest: Digest, lengths: Mapping[Digest, int], *, size: int | None = None) -> int:
    length_bytes = lengths.get(digest)
    if length_bytes is None:
        raise _bad(image, "blob-missing-in-bundle", f"needs blob {digest}, which the bundle does not hold")
    if size is not None and size != length_bytes:
        raise _bad(image, "image-disagrees", f"says blob {digest} has {size} bytes, the bundle holds {length_bytes}")
    return length_bytes


def _require_agreement(image: Image, *, blobs: Container[Digest], documents: Container[Digest]) -> None:
    """The manifest of the bundle was shown to the people who signed; the registry gets the documents."""
    for platform in image.platforms:
        for digest in (platform.config, *platform.layers):
            if digest not in blobs:
                raise _bad(image, "image-disagrees", f"bundle.json lists blob {digest}, its documents do not")
        if platform.manifest not in documents:
            raise _bad(image, "image-disagrees", f"bundle.json lists manifest {platform.manifest}, its index does not")


def _bad(image: Image, reference: str, found: str) -> BundleError:
    return BundleError(
        reference,
        f"image {image.name}: {found}, expected an image that is whole",
        hint=_ASK_FOR_A_NEW_KIT,
        facts={"image": image.name, "found": found},
    )
