"""A bundle in memory: real OCI documents and blobs, handed out as a reader of bundles hands them out."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.index import Index, IndexEntry
from teraferry.bundles.layout import BLOB_PREFIX, blob_name
from teraferry.bundles.limits import CHUNK_BYTES
from teraferry.bundles.manifest import Image, ImagePlatform, Manifest, Release

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_PIECE_BYTES = 65_535


@dataclass
class MemoryReader:
    """Implements what ``installer.load`` needs of a reader; counts what was streamed."""

    blobs: dict[Digest, bytes] = field(default_factory=dict)
    streamed: list[Digest] = field(default_factory=list)
    fail_after: dict[Digest, tuple[int, Exception]] = field(default_factory=dict)  # bytes, then this error

    @property
    def index(self) -> Index:
        entries = tuple(
            IndexEntry(
                name=blob_name(digest),
                digest=digest,
                offset_bytes=0,
                compressed_bytes=len(content),
                plain_bytes=len(content),
                encoding="stored",
            )
            for digest, content in sorted(self.blobs.items())
        )
        return Index(format=1, compressor="none", chunk_bytes=CHUNK_BYTES, entries=entries, chunks=())

    def read_entry(self, name: str, *, limit_bytes: int) -> bytes:
        content = self.blobs["sha256:" + name.removeprefix(BLOB_PREFIX)]
        assert len(content) <= limit_bytes
        return content

    def stream_blob(self, digest: Digest, *, receiver_digests: bool = False) -> Iterator[memoryview]:
        self.streamed.append(digest)
        content = memoryview(self.blobs[digest])
        limit_bytes, error = self.fail_after.get(digest, (len(content), None))
        for start in range(0, limit_bytes, _PIECE_BYTES):
            yield content[start : min(start + _PIECE_BYTES, limit_bytes)]
        if error is not None:
            raise error

    def add(self, content: bytes) -> Digest:
        digest = digest_of(content)
        self.blobs[digest] = content
        return digest


@dataclass
class MemoryBundle:
    """A manifest and a reader."""

    manifest: Manifest
    reader: MemoryReader


@dataclass(frozen=True)
class ReadBundle:
    """A manifest and the real reader, put together without signatures."""

    manifest: Manifest
    reader: BundleReader


def noise(size_bytes: int, *, seed: int) -> bytes:
    """Return bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(size_bytes)


def make_bundle(
    images: dict[str, Iterable[bytes]], *, version: str = "4.2.0", platforms: tuple[str, ...] = ("linux/amd64",)
) -> MemoryBundle:
    """Return a bundle of images with these layers; with several platforms each has an index."""
    reader = MemoryReader()
    entries = []
    for name, layers in images.items():
        contents = list(layers)
        made = [_platform(reader, platform, contents) for platform in platforms]
        documents = [
            {"mediaType": MANIFEST_TYPE, "digest": each.manifest, "size": len(reader.blobs[each.manifest])}
            for each in made
        ]
        top, media_type = made[0].manifest, MANIFEST_TYPE
        if len(platforms) > 1:
            top, media_type = (
                _json(reader, {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": documents}),
                INDEX_TYPE,
            )
        entries.append(Image(name=name, digest=top, media_type=media_type, platforms=tuple(made)))
    manifest = Manifest(format=1, release=Release(product="terachat", version=version), images=tuple(entries))
    return MemoryBundle(manifest, reader)


def _platform(reader: MemoryReader, platform: str, layers: list[bytes]) -> ImagePlatform:
    system, _, architecture = platform.partition("/")
    config = _json(reader, {"os": system, "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": []}})
    digests = tuple(reader.add(layer) for layer in layers)
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": config, "size": len(reader.blobs[config])},
        "layers": [{"mediaType": LAYER_TYPE, "digest": each, "size": len(reader.blobs[each])} for each in digests],
    }
    return ImagePlatform(platform=platform, manifest=_json(reader, document), config=config, layers=digests)


def _json(reader: MemoryReader, document: dict[str, object]) -> Digest:
    return reader.add(json.dumps(document).encode())
