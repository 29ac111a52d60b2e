"""``docker-archive:FILE[:ref]``: an image in what ``docker save`` writes.

Two forms. Docker 25 and later write an OCI layout into the tar: its documents are kept, so the
image has the digest docker gave it. Before, there was only a docker manifest: the config is kept
byte for byte (its digest is the image ID) and a manifest is made around it, always the same one.

Source: moby's image specification v1.2, "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from teraferry.builder.sources.image import (
    ResolvedImage,
    SourceBlob,
    blob_in_memory,
    malformed,
    resolve_image,
)
from teraferry.builder.sources.oci_layout import familiar, resolve_in_layout, select
from teraferry.builder.sources.tar_members import Member, read_members
from teraferry.bundles import layout, oci
from teraferry.bundles.digest import Digest, StreamDigest, digest_of
from teraferry.bundles.errors import BundleError
from teraferry.bundles.limits import MAX_IMAGE_MANIFEST_BYTES

_READ_BYTES: Final = 4 * 1024 * 1024
_LAYER_SUFFIXES: Final = {b"\x1f\x8b": "+gzip", b"\x28\xb5\x2f\xfd": "+zstd"}


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """One image in a docker manifest."""

    config: str = msgspec.field(name="Config")
    layers: tuple[str, ...] = msgspec.field(name="Layers")
    tags: tuple[str, ...] | None = msgspec.field(default=None, name="RepoTags")


class _Blobs:
    """The blobs that are known of one archive."""

    def __init__(self, blobs: Mapping[Digest, SourceBlob]) -> None:
        self._blobs = blobs

    def find(self, digest: Digest) -> SourceBlob | None:
        return self._blobs.get(digest)


def resolve_archive(archive: Path, reference: str, *, platforms: Sequence[str], what: str) -> ResolvedImage:
    """Return the image that ``reference`` names in ``archive``.

    Args:
        archive: Uncompressed tar file.
        reference: Such as ``api:4.2``; may be "" when the archive holds one image.
        platforms: Those to keep; empty keeps all.
        what: How errors call the image.

    Raises:
        BuildError: 30; ``source-not-found``, ``source-compressed``, ``source-malformed``,
            ``source-tag-unknown``, or see ``resolve_image``.
    """
    members = read_members(archive, what=what)
    if layout.OCI_LAYOUT in members and layout.OCI_INDEX in members:
        index = _read(members, layout.OCI_INDEX, what)
        return resolve_in_layout(_layout_store(members), index, reference, platforms=platforms, what=what)
    return _resolve_old_form(members, reference, platforms=platforms, what=what)


def _layout_store(members: Mapping[str, Member]) -> _Blobs:
    blobs: dict[Digest, SourceBlob] = {}
    for name, member in members.items():
        if name.startswith(layout.BLOB_PREFIX):
            digest = "sha256:" + name.removeprefix(layout.BLOB_PREFIX)
            blobs[digest] = SourceBlob(digest, member.length_bytes, member.open)
    return _Blobs(blobs)


def _resolve_old_form(
    members: Mapping[str, Member], reference: str, *, platforms: Sequence[str], what: str
) -> ResolvedImage:
    rows = _parse_rows(_read(members, layout.DOCKER_MANIFEST, what), what)
    by_config: dict[Digest, tuple[_Row, bytes]] = {}
    named: list[tuple[Sequence[str], oci.Descriptor]] = []
    for row in rows:
        config = _read(members, row.config, what)
        by_config[digest_of(config)] = row, config
        named.append((row.tags or (), oci.descriptor_of(config, oci.OCI_CONFIG_TYPE)))
    wanted = familiar(reference) if reference else ""
    chosen = select(named, reference, what=what, is_named=lambda name: familiar(name) == wanted)
    row, config = by_config[chosen.digest]
    layers = _layers(members, row, config, what=what)
    manifest = oci.encode_image_manifest(chosen, [descriptor for descriptor, _ in layers])
    blobs = {blob.digest: blob for _, blob in layers}
    blobs |= {blob.digest: blob for blob in (blob_in_memory(config), blob_in_memory(manifest))}
    top = oci.descriptor_of(manifest, oci.OCI_MANIFEST_TYPE)
    return resolve_image(_Blobs(blobs), top, platforms=platforms, what=what)


def _parse_rows(content: bytes, what: str) -> Sequence[_Row]:
    try:
        return msgspec.json.decode(content, type=tuple[_Row, ...])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(what, f"docker manifest: {error}, expected what docker save writes") from error


def _layers(
    members: Mapping[str, Member], row: _Row, config: bytes, *, what: str
) -> list[tuple[oci.Descriptor, SourceBlob]]:
    try:
        parsed = oci.parse_document(config, oci.ImageConfig, what=f"config {row.config}")
    except BundleError as error:
        raise malformed(what, error.message) from error
    diff_ids = parsed.rootfs.diff_ids
    if len(diff_ids) != len(row.layers):
        raise malformed(what, f"{len(row.layers)} layers, expected {len(diff_ids)} as the config says")
    return [_layer(_member(members, name, what), diff) for name, diff in zip(row.layers, diff_ids, strict=True)]


def _layer(member: Member, diff_id: Digest) -> tuple[oci.Descriptor, SourceBlob]:
    start = member.read(4)
    suffix = next((suffix for magic, suffix in _LAYER_SUFFIXES.items() if start.startswith(magic)), "")
    # A plain layer's digest stands in the config; the writer refuses the layer if its bytes have another.
    digest = _read_digest(member) if suffix else diff_id
    descriptor = oci.Descriptor(media_type=oci.OCI_LAYER_TYPE + suffix, digest=digest, size=member.length_bytes)
    return descriptor, SourceBlob(digest, member.length_bytes, member.open)


def _read_digest(member: Member) -> Digest:
    stream = StreamDigest()
    with member.open() as file:
        while piece := file.read(_READ_BYTES):
            stream.update(piece)
    return stream.digest()


def _member(members: Mapping[str, Member], name: str, what: str) -> Member:
    member = members.get(name)
    if member is None:
        raise malformed(what, f"member {name} is absent or no regular file, expected one")
    return member


def _read(members: Mapping[str, Member], name: str, what: str) -> bytes:
    member = _member(members, name, what)
    if member.length_bytes > MAX_IMAGE_MANIFEST_BYTES:
        raise malformed(what, f"{name}: {member.length_bytes} bytes, expected at most {MAX_IMAGE_MANIFEST_BYTES}")
    return member.read(MAX_IMAGE_MANIFEST_BYTES)
