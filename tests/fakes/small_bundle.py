"""An honest bundle in a folder, signed by nobody: its bytes and the facts a signature would state."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from teraferry.bundles import layout
from teraferry.bundles.archive_writer import EntrySource, WrittenArchive, write_archive
from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.index import SignedBundle
from teraferry.bundles.manifest import Manifest, Release, encode_manifest
from teraferry.bundles.progress import Silent

SIGNED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SmallBundle:
    """Where it lies and what is signed of it."""

    path: Path
    signed: SignedBundle
    written: WrittenArchive
    digests: tuple[Digest, ...]  # of the blobs, as they were given


def source_of(name: str, content: bytes) -> EntrySource:
    """Return an entry whose bytes are in memory."""
    return EntrySource(name, len(content), digest_of(content), lambda: io.BytesIO(content))


def documents(manifest: Manifest | None = None) -> dict[str, bytes]:
    """Return the least documents a bundle has."""
    manifest = manifest or Manifest(format=1, release=Release(product="demo", version="1.0.0"))
    return {
        layout.OCI_LAYOUT: b'{"imageLayoutVersion":"1.0.0"}',
        layout.OCI_INDEX: b'{"schemaVersion":2,"manifests":[]}',
        layout.MANIFEST: encode_manifest(manifest),
    }


def sources_of(blobs: Iterable[bytes], extra: Mapping[str, bytes] | None = None) -> list[EntrySource]:
    """Return the sources of a bundle that holds ``blobs``, in the format's order."""
    entries = [source_of(name, content) for name, content in {**documents(), **(extra or {})}.items()]
    named = {layout.blob_name(digest_of(blob)): blob for blob in blobs}
    return entries + [source_of(name, named[name]) for name in sorted(named)]


def signed_facts(
    written: WrittenArchive, *, name: str = "demo-1.0.0.tar.gz", product: str = "demo", version: str = "1.0.0"
) -> SignedBundle:
    """Return what a release signature would say of ``written``."""
    return SignedBundle(
        name=name,
        length_bytes=written.length_bytes,
        digest=written.digest,
        format=1,
        product=product,
        version=version,
        sequence=1,
        index_offset_bytes=written.index_offset_bytes,
        index_digest=written.index_digest,
        signed_at=SIGNED_AT,
    )


def write_small_bundle(folder: Path, blobs: Iterable[bytes], *, jobs: int = 2, mtime: int = 0) -> SmallBundle:
    """Write ``demo-1.0.0.tar.gz`` with ``blobs`` into ``folder``."""
    blobs = tuple(blobs)
    path = folder / layout.bundle_name("demo", "1.0.0")
    with path.open("w+b") as file:
        written = write_archive(file, sources_of(blobs), jobs=jobs, mtime=mtime, progress=Silent())
    digests = tuple(digest_of(blob) for blob in blobs)
    return SmallBundle(path=path, signed=signed_facts(written, name=path.name), written=written, digests=digests)
