"""Entries in, a deterministic seekable ``.tar.gz`` out.

The same entries give the same bytes for any number of jobs: a piece is 4 MiB of one entry wherever it is
packed, and pieces are written in their order. Memory is bounded by the pieces in flight, not by the bundle.

The order of a file:
1. Each entry: a stored member with its tar header, then members of 4 MiB of content.
2. The index as an entry of its own, always deflated.
3. The end of the tar archive, a stored member of zeros.

Source: ``docs/format-1.md``.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import deflate

from teraferry.bundles import layout
from teraferry.bundles.chunk_output import ChunkOutput
from teraferry.bundles.digest import Digest
from teraferry.bundles.entry_rules import DOCUMENTS, REQUIRED, length_fault, name_fault, order_fault
from teraferry.bundles.errors import BuildError
from teraferry.bundles.index import Index, IndexEntry, encode_index
from teraferry.bundles.limits import CHUNK_BYTES, MAX_ENTRIES, MAX_INDEX_PLAIN_BYTES, MEMBER_PLAIN_BYTES
from teraferry.bundles.packing import COMPRESSION_LEVEL, PackedEntry, Packer
from teraferry.bundles.progress import Progress
from teraferry.bundles.tar_header import END_OF_ARCHIVE, MAX_MTIME_SECONDS, encode_tar_header, padded_length

COMPRESSOR: Final = f"libdeflate level {COMPRESSION_LEVEL} (deflate {deflate.__version__})"
"""What the promise of equal bytes is made for."""


@dataclass(frozen=True, slots=True)
class EntrySource:
    """One entry to be: where its bytes come from and what they must be."""

    name: str
    length_bytes: int
    digest: Digest | None  # None: taken from the bytes; given: other bytes are refused
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True)
class WrittenArchive:
    """What was written; a signature will cover the last four."""

    index: Index
    index_offset_bytes: int
    index_digest: Digest  # of the raw bytes from the index member to the end
    digest: Digest  # of the whole file
    length_bytes: int


def write_archive(
    file: BinaryIO, sources: Iterable[EntrySource], *, jobs: int, mtime: int, progress: Progress
) -> WrittenArchive:
    """Write a bundle to ``file`` and return what it holds and its digests.

    Nothing is synced: durable_replace does that, and finds little to do where the file could be written directly.

    Args:
        file: Empty and positioned at its start; written from front to back.
        sources: Documents in their order, then blobs sorted by name (``entry_rules``).
        jobs: Threads that compress, 1 or more; ``MAX_JOBS`` at most are used.
        mtime: Seconds since the epoch, in every tar header.
        progress: Advanced by the plain bytes of each piece that is on its way to the disk; no phase is started.

    Raises:
        BuildError: 30; ``source-changed``, ``source-unreadable``, ``entry-*`` or ``bundle-too-large``.
            What ``file`` holds then is to be discarded.
        OSError: ``file`` could not be written.
    """
    if not 0 <= mtime <= MAX_MTIME_SECONDS:
        raise BuildError(
            "mtime-out-of-range",
            f"time {mtime}, expected 0..{MAX_MTIME_SECONDS} seconds since 1970",
            hint="Set SOURCE_DATE_EPOCH to the time of the release's last commit.",
            facts={"found": mtime},
        )
    with ChunkOutput(file) as output, Packer(output, jobs=jobs, progress=progress) as packer:
        entries = [_pack_source(packer, source, mtime=mtime) for source in in_order(sources)]
        packer.drain()
        index = _index_of(entries, output.finish_chunks())
        _pack_index(packer, encode_index(index), mtime=mtime)
        packer.drain()
        index_digest = output.finish()
    return WrittenArchive(
        index=index,
        index_offset_bytes=sum(entry.compressed_bytes for entry in entries),
        index_digest=index_digest,
        digest=output.whole.digest(),
        length_bytes=output.whole.length_bytes,
    )


def in_order(sources: Iterable[EntrySource]) -> Iterator[EntrySource]:
    """Yield ``sources``, refusing what a reader would refuse.

    Raises:
        BuildError: 30; ``entry-*`` or ``bundle-too-large``.
    """
    missing = set(REQUIRED)
    previous: str | None = None
    for count, source in enumerate(sources, start=1):
        fault = name_fault(source.name) or order_fault(previous, source.name)
        fault = fault or length_fault(source.name, source.length_bytes)
        if fault is None and count > MAX_ENTRIES:
            fault = "bundle-too-large", f"at most {MAX_ENTRIES} entries"
        if fault is not None:
            raise _refusal(fault[0], source, found=f"{source.length_bytes} bytes after {previous}", expected=fault[1])
        missing.discard(source.name)
        previous = source.name
        yield source
    if missing:
        name = next(document for document in DOCUMENTS if document in missing)
        raise BuildError(
            "entry-missing",
            f"entry {name}: absent, expected in every bundle",
            hint="Report this as a bug of the builder, with the release.toml.",
            facts={"entry": name},
        )


def _pack_source(packer: Packer, source: EntrySource, *, mtime: int) -> PackedEntry:
    entry = packer.start_entry(source.name, encode_tar_header(source.name, size_bytes=source.length_bytes, mtime=mtime))
    try:
        stream = source.open()
    except OSError as error:
        raise _unreadable(source, error) from error
    with stream:
        remaining = source.length_bytes
        while remaining:
            piece = packer.free_piece()
            count = min(remaining, MEMBER_PLAIN_BYTES)
            _fill(piece[:count], stream, source)
            remaining -= count
            padding = 0 if remaining else padded_length(count) - count
            packer.add_content(entry, piece, content_bytes=count, padding_bytes=padding)
        if _read_into(memoryview(bytearray(1)), stream, source):
            found = f"more than {source.length_bytes} bytes"
            raise _refusal("source-changed", source, found=found, expected=f"{source.length_bytes} bytes")
    packer.after_plain(lambda: _require_digest(entry, source))
    return entry


def _require_digest(entry: PackedEntry, source: EntrySource) -> None:
    found = entry.plain.digest()
    if source.digest is not None and found != source.digest:
        raise _refusal("source-changed", source, found=found, expected=source.digest)
    if source.name not in DOCUMENTS and source.name != layout.blob_name(found):
        raise _refusal("entry-name-disagrees", source, found=found, expected="the digest in its name")


def _fill(view: memoryview, stream: BinaryIO, source: EntrySource) -> None:
    while view:
        count = _read_into(view, stream, source)
        if not count:
            expected = f"{source.length_bytes} bytes"
            raise _refusal("source-changed", source, found="an early end", expected=expected)
        view = view[count:]


def _read_into(view: memoryview, stream: BinaryIO, source: EntrySource) -> int:
    try:
        if isinstance(stream, io.RawIOBase | io.BufferedIOBase):
            return stream.readinto(view) or 0
        piece = stream.read(len(view))  # Some file-likes can only read.
    except OSError as error:
        raise _unreadable(source, error) from error
    view[: len(piece)] = piece
    return len(piece)


def _index_of(entries: Iterable[PackedEntry], chunks: tuple[Digest, ...]) -> Index:
    rows: list[IndexEntry] = []
    offset = 0
    for entry in entries:
        row = IndexEntry(
            name=entry.name,
            digest=entry.plain.digest(),
            offset_bytes=offset,
            compressed_bytes=entry.compressed_bytes,
            plain_bytes=entry.plain.length_bytes,
            encoding=entry.encoding,
        )
        rows.append(row)
        offset += entry.compressed_bytes
    return Index(format=1, compressor=COMPRESSOR, chunk_bytes=CHUNK_BYTES, entries=tuple(rows), chunks=chunks)


def _pack_index(packer: Packer, content: bytes, *, mtime: int) -> None:
    require_index_length(len(content))
    entry = packer.start_entry(layout.INDEX, encode_tar_header(layout.INDEX, size_bytes=len(content), mtime=mtime))
    padded = content + bytes(padded_length(len(content)) - len(content))
    for start in range(0, len(padded), MEMBER_PLAIN_BYTES):
        packer.add_deflated(entry, padded[start : start + MEMBER_PLAIN_BYTES])
    packer.add_frame(entry, END_OF_ARCHIVE)


def require_index_length(length_bytes: int) -> None:
    """Refuse an index that a reader would refuse.

    Raises:
        BuildError: ``bundle-too-large``, 30.
    """
    if length_bytes > MAX_INDEX_PLAIN_BYTES:
        raise BuildError(
            "bundle-too-large",
            f"{layout.INDEX}: {length_bytes} bytes, expected at most {MAX_INDEX_PLAIN_BYTES}",
            hint="Split the release into two bundles.",
            facts={"found": length_bytes, "expected": MAX_INDEX_PLAIN_BYTES},
        )


def _refusal(reference: str, source: EntrySource, *, found: str, expected: str) -> BuildError:
    hints = {"source-changed": "Leave the sources alone while a build runs, then build again."}
    return BuildError(
        reference,
        f"entry {source.name}: {found}, expected {expected}",
        hint=hints.get(reference, "Report this as a bug of the builder, with the release.toml."),
        facts={"entry": source.name, "found": found, "expected": expected},
    )


def _unreadable(source: EntrySource, error: OSError) -> BuildError:
    return BuildError(
        "source-unreadable",
        f"entry {source.name}: {error}, expected {source.length_bytes} readable bytes",
        hint="Check the source's disk and permissions, then build again.",
        facts={"entry": source.name, "found": str(error)},
    )
