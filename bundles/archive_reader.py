"""Random and streaming access to a bundle; nothing unverified leaves it.

The ground it stands on is ``SignedBundle``: length, index range and its digest, from threshold-signed metadata.
Every byte is digested in memory before it is inflated or parsed, and the digested bytes are the ones used.

Source: ``docs/format-1.md``, section "Reading".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from types import TracebackType

from teraferry.bundles import layout
from teraferry.bundles.digest import Digest, StreamDigest, digest_of
from teraferry.bundles.entry_header import read_index_entry, require_header
from teraferry.bundles.errors import BundleError
from teraferry.bundles.gzip_member import content_member_lengths
from teraferry.bundles.index import Index, IndexEntry, SignedBundle
from teraferry.bundles.index_check import entry_missing, parse_index
from teraferry.bundles.limits import MAX_INDEX_PLAIN_BYTES
from teraferry.bundles.member_reading import (
    Cursor,
    Place,
    read_deflated_member,
    read_stored_member,
)
from teraferry.bundles.progress import Progress
from teraferry.bundles.verified_chunks import NEW_COPY_HINT, BundleFile, ReadAt, VerifiedChunks
from teraferry.bundles.whole_check import HeaderSweep, PassingBytes, check_chunks, check_whole, chunks_in_order


class BundleReader:
    """Hands out nothing unverified. Safe for several threads once ``open`` returned.

    Args:
        path: The bundle on its medium.
        signed: What the release signatures say of it.
        read_at: Reads the medium; ``os.pread`` by default. A seam for media that lie, fail or are split.
    """

    def __init__(self, path: Path, signed: SignedBundle, *, read_at: ReadAt | None = None) -> None:
        self._path = path
        self._signed = signed
        self._file = BundleFile(path, signed, read_at)
        self._index: Index | None = None
        self._index_raw = memoryview(b"")
        self._mtime = 0
        self._rows: dict[str, IndexEntry] = {}
        self._chunks = VerifiedChunks(self._file, path=path, digests=(), end_bytes=0)

    def __enter__(self) -> BundleReader:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def index(self) -> Index:
        """The verified index; ``open`` comes first."""
        if self._index is None:
            raise RuntimeError("BundleReader.open() was not called")
        return self._index

    def open(self) -> Index:
        """Verify and read the index; no other byte is touched.

        1. The file is a regular one of the signed length.
        2. The range from the index member to the end is read once, whole, and matches its signed digest.
        3. Only then it is inflated, no further than the limit, and parsed (``index_check``).

        Raises:
            BundleError: 10 or 11.
        """
        if self._index is not None:
            return self._index
        try:
            return self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> Index:
        signed = self._signed
        self._file.open()  # 1
        start, length = signed.index_offset_bytes, signed.length_bytes - signed.index_offset_bytes
        place = Place(str(self._path), layout.INDEX)
        if start < 0 or not 0 < length <= MAX_INDEX_PLAIN_BYTES:
            limit = f"1..{MAX_INDEX_PLAIN_BYTES}"
            raise place.refusal("index-too-large", found=f"{length} bytes", expected=limit, offset=start)
        raw = self._file.read(start, length)  # 2
        found = digest_of(raw)
        if found != signed.index_digest:
            raise BundleError(
                "index-digest-mismatch",
                f"index of {self._path} at offset {start}: {found}, expected {signed.index_digest}",
                hint=NEW_COPY_HINT,
                facts={
                    "file": str(self._path),
                    "offset": start,
                    "blob": layout.INDEX,
                    "found": found,
                    "expected": signed.index_digest,
                },
            )
        content, self._mtime = read_index_entry(raw, place, offset_bytes=start, limit_bytes=MAX_INDEX_PLAIN_BYTES)  # 3
        index = parse_index(content, file=str(self._path), index_offset_bytes=start)
        self._index_raw = raw
        self._rows = {entry.name: entry for entry in index.entries}
        self._chunks = VerifiedChunks(self._file, path=self._path, digests=index.chunks, end_bytes=start)
        self._chunks.name_entries(index.entries)
        self._index = index
        return index

    def close(self) -> None:
        """Close the file; again is harmless."""
        self._file.close()

    def read_entry(self, name: str, *, limit_bytes: int) -> bytes:
        """Return one entry's content whole.

        Args:
            name: As in the index.
            limit_bytes: Refuse a longer one (inclusive), from ``bundles.limits``.

        Raises:
            BundleError: 10 or 11; ``entry-missing``, ``entry-too-large`` and what ``stream_entry`` raises.
        """
        entry = self._row(name)
        if entry.plain_bytes > limit_bytes:
            raise self._place(entry).refusal(
                "entry-too-large",
                found=f"{entry.plain_bytes} bytes",
                expected=f"at most {limit_bytes}",
                offset=entry.offset_bytes,
            )
        return b"".join(self.stream_entry(name))

    def stream_blob(self, digest: Digest, *, receiver_digests: bool = False) -> Iterator[memoryview]:
        """Yield one blob's content; see ``stream_entry``, and ``stream_vectors`` for ``receiver_digests``."""
        return chain.from_iterable(self.stream_vectors(layout.blob_name(digest), receiver_digests=receiver_digests))

    def stream_entry(self, name: str) -> Iterator[memoryview]:
        """Yield one entry's content in order, every byte verified; at most 64 KiB a piece when stored.

        Raises:
            BundleError: 10 or 11; see ``stream_vectors``.
        """
        return chain.from_iterable(self.stream_vectors(name))

    def stream_vectors(self, name: str, *, receiver_digests: bool = False) -> Iterator[list[memoryview]]:
        """Yield one entry's content, the views of up to 4 MiB at a time; for sendmsg and writev.

        Views of a stored entry lie in the verified chunk itself: nothing is copied. They stay valid for as long
        as they are held. A list has at most 67 views.

        Args:
            name: As in the index.
            receiver_digests: The receiver computes the content's digest itself and refuses another one, as a
                registry does at ``PUT ?digest=``; step 4 is then its part. The bytes are the signed ones either way.

        1. Each chunk matches its signed digest before a byte of it is used (``verified_chunks``).
        2. The tar header is the one that the index row demands: this name, this length, a regular file.
        3. Members are exactly as the row says; none inflates further.
        4. The content matches the entry's digest. The last list is held back until it does, so that nobody
           can take a bad entry for a complete one.

        Raises:
            BundleError: 10 or 11; ``entry-missing``, ``entry-digest-mismatch``, ``entry-not-regular``,
                ``entry-header-disagrees``, ``member-*``, ``chunk-digest-mismatch``, ``medium-unreadable``.
        """
        entry = self._row(name)
        content = self._content(entry, self._chunks)  # 1, 2, 3
        return content if receiver_digests else self._digested(entry, content)  # 4

    def _digested(self, entry: IndexEntry, content: Iterator[list[memoryview]]) -> Iterator[list[memoryview]]:
        digest = StreamDigest()
        held: list[memoryview] = []
        for views in content:
            if held:
                yield held
            held = views
            for view in views:
                digest.update(view)
        self._require_digest(entry, digest)
        if held:
            yield held

    def _require_digest(self, entry: IndexEntry, content: StreamDigest) -> None:
        if content.digest() != entry.digest:
            raise self._place(entry).refusal(
                "entry-digest-mismatch", found=content.digest(), expected=entry.digest, offset=entry.offset_bytes
            )

    def _content(self, entry: IndexEntry, chunks: VerifiedChunks | PassingBytes) -> Iterator[list[memoryview]]:
        """Yield the content a member at a time, without padding; ends only where the row ends."""
        start, end = entry.offset_bytes, entry.offset_bytes + entry.compressed_bytes
        cursor = Cursor(chunks.views(start, end), self._place(entry), offset_bytes=start)
        require_header(cursor, entry.name, plain_bytes=entry.plain_bytes, mtime=self._mtime)
        left = entry.plain_bytes
        for count in content_member_lengths(entry.plain_bytes):
            # No name for what is handed out: it would hold a chunk in memory while the next one is read.
            yield _without_padding(_read_member(cursor, count, entry.encoding), left, cursor)
            left -= count
        cursor.require_end()

    def verify_whole(self, progress: Progress) -> Digest:
        """Read the file once, compare every digest there is, and return the digest of the whole.

        1. Each chunk matches its signed digest, in one thread; the whole is digested in another.
        2. Each tar header lies where the index says and says what the index says.
        3. The whole file, with the index range as ``open`` verified it, matches its signed digest.

        Contents are not inflated: a blob is compared with its digest when it is used.

        Raises:
            BundleError: 10 or 11; ``chunk-digest-mismatch``, ``entry-*``, ``bundle-digest-mismatch``.
        """
        sweep = HeaderSweep(str(self._path), self.index.entries, mtime=self._mtime)
        found = check_whole(self._chunks, sweep, tail=self._index_raw, progress=progress)
        if found != self._signed.digest:
            raise BundleError(
                "bundle-digest-mismatch",
                f"file {self._path}: {found}, expected {self._signed.digest}",
                hint=NEW_COPY_HINT,
                facts={"file": str(self._path), "found": found, "expected": self._signed.digest},
            )
        return found

    def verify_contents(self, progress: Progress) -> Digest:
        """Read the file once, every entry to its digest, and return the digest of the whole for the caller to compare.

        1. Each chunk matches its signed digest, in one thread; the whole is digested in another.
        2. Each entry is read from these bytes as ``stream_vectors`` does, with its limits, and kept nowhere.

        Raises:
            BundleError: 10 or 11; what ``stream_vectors`` raises.
        """
        whole = StreamDigest()
        with closing(chunks_in_order(self._chunks, whole=whole, progress=progress)) as passing:  # 1
            chunks = PassingBytes(passing)
            for entry in self.index.entries:  # 2
                content = StreamDigest()
                for views in self._content(entry, chunks):
                    for view in views:
                        content.update(view)
                self._require_digest(entry, content)
            # Entries end where the chunks do; asked once more, the last chunk is in the digest of the whole.
            deque(passing, maxlen=0)
        whole.update(self._index_raw)
        progress.advance(len(self._index_raw))
        return whole.digest()

    def verify_chunks(self, progress: Progress, *, jobs: int = 2) -> None:
        """Read the file once and compare every chunk, without the digest of the whole.

        Raises:
            BundleError: 10 or 11; ``chunk-digest-mismatch``, ``medium-unreadable``.
        """
        check_chunks(self._chunks, jobs=jobs, progress=progress)
        progress.advance(len(self._index_raw))

    def _row(self, name: str) -> IndexEntry:
        if self._index is None:
            raise RuntimeError("BundleReader.open() was not called")
        row = self._rows.get(name)
        if row is None:
            raise entry_missing(str(self._path), name)
        return row

    def _place(self, entry: IndexEntry) -> Place:
        return Place(str(self._path), entry.name)


def _read_member(cursor: Cursor, plain_bytes: int, encoding: str) -> list[memoryview]:
    if encoding == "stored":
        return read_stored_member(cursor, plain_bytes)
    return [memoryview(read_deflated_member(cursor, plain_bytes))]


def _without_padding(views: list[memoryview], left_bytes: int, cursor: Cursor) -> list[memoryview]:
    """Return ``views`` cut to ``left_bytes``; what is cut must be the zeros that fill a tar block."""
    kept: list[memoryview] = []
    for view in views:
        if any(view[left_bytes:]):
            raise cursor.malformed("padding that is not zero", "zeros")
        if left_bytes > 0:
            kept.append(view[:left_bytes])
        left_bytes = max(0, left_bytes - len(view))
    return kept
