"""Whether an index makes sense: every byte of the file belongs to one entry, every entry is of the format.

Pure. The index was signed, so what fails here was put together wrongly by whoever built the kit; it is
refused all the same, before one byte of any entry is used.

Source: ``docs/format-1.md``, section "The index".
"""

from __future__ import annotations

import msgspec

from teraferry.bundles import layout
from teraferry.bundles.entry_header import encoded_header_length
from teraferry.bundles.entry_rules import DOCUMENTS, REQUIRED, length_fault, name_fault, order_fault
from teraferry.bundles.errors import BundleError
from teraferry.bundles.gzip_member import GZIP_HEADER, TRAILER_BYTES, stored_content_length
from teraferry.bundles.index import Index, IndexEntry, encode_index
from teraferry.bundles.limits import CHUNK_BYTES, MAX_DEFLATE_RATIO, MAX_MEMBER_COMPRESSED_BYTES, MEMBER_PLAIN_BYTES
from teraferry.bundles.member_reading import CARELESS_HINT, Place
from teraferry.bundles.tar_header import padded_length


def parse_index(content: bytes, *, file: str, index_offset_bytes: int) -> Index:
    """Return the index in ``content``, whose raw bytes the caller has verified.

    1. It is strict JSON in its one encoding: no unknown, missing or repeated field.
    2. Chunks are of the size of the format, as many as the file before the index has.
    3. Every entry's name, place in the order and length are legal.
    4. Entries lie one after the other, from the first byte to the index, with no gap and no overlap.
    5. What an entry claims to inflate to is possible.

    Raises:
        BundleError: 10; ``index-malformed``, ``index-disagrees``, ``entry-*``.
    """
    place = Place(file, layout.INDEX)
    try:  # 1
        index = msgspec.json.decode(content, type=Index)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise place.refusal("index-malformed", found=str(error), expected="an index of format 1") from error
    if encode_index(index) != content:
        raise place.refusal("index-malformed", found="another encoding", expected="sorted keys, no spaces, no repeats")
    _require_chunks(index, place, index_offset_bytes)  # 2
    offset = 0
    previous: str | None = None
    missing = set(REQUIRED)
    for entry in index.entries:
        _require_legal(entry, previous, file)  # 3
        if entry.offset_bytes != offset:  # 4
            raise Place(file, entry.name).refusal(
                "index-disagrees", found=f"offset {entry.offset_bytes}", expected=f"{offset}, where the last one ended"
            )
        _require_possible(entry, Place(file, entry.name))  # 5
        offset += entry.compressed_bytes
        previous = entry.name
        missing.discard(entry.name)
    if offset != index_offset_bytes:
        raise place.refusal("index-disagrees", found=f"entries up to {offset}", expected=f"{index_offset_bytes}")
    for name in (document for document in DOCUMENTS if document in missing):
        raise entry_missing(file, name)
    return index


def entry_missing(file: str, name: str) -> BundleError:
    """Return the error for an entry that is not in a bundle."""
    return BundleError(
        "entry-missing",
        f"entry {name} of {file}: absent, expected in this bundle",
        hint=CARELESS_HINT,
        facts={"file": file, "entry": name},
    )


def _require_chunks(index: Index, place: Place, index_offset_bytes: int) -> None:
    if index.chunk_bytes != CHUNK_BYTES:
        found, expected = f"chunks of {index.chunk_bytes} bytes", f"{CHUNK_BYTES}"
        raise place.refusal("index-disagrees", found=found, expected=expected)
    wanted = -(-index_offset_bytes // CHUNK_BYTES)
    if len(index.chunks) != wanted:
        raise place.refusal("index-disagrees", found=f"{len(index.chunks)} chunks", expected=f"{wanted}")


def _require_legal(entry: IndexEntry, previous: str | None, file: str) -> None:
    name = entry.name
    fault = name_fault(name) or order_fault(previous, name) or length_fault(name, entry.plain_bytes)
    if fault is None and name not in DOCUMENTS and name != layout.blob_name(entry.digest):
        fault = "entry-name-disagrees", f"{layout.blob_name(entry.digest)}, as its digest says"
    if fault is not None:
        shown = name[:255].encode("utf-8", "backslashreplace").decode()
        found = f"{shown!r} of {entry.plain_bytes} bytes after {previous!r}"
        raise Place(file, shown).refusal(fault[0], found=found, expected=fault[1], offset=entry.offset_bytes)


def _require_possible(entry: IndexEntry, place: Place) -> None:
    header = encoded_header_length(entry.name, entry.plain_bytes)
    content = entry.compressed_bytes - header
    if entry.encoding == "stored":
        least = most = stored_content_length(entry.plain_bytes)
    else:
        members = -(-padded_length(entry.plain_bytes) // MEMBER_PLAIN_BYTES)
        frames = members * (len(GZIP_HEADER) + TRAILER_BYTES)
        least = frames + -(-padded_length(entry.plain_bytes) // MAX_DEFLATE_RATIO)
        most = members * MAX_MEMBER_COMPRESSED_BYTES
    if not least <= content <= most:
        raise place.refusal(
            "entry-size-impossible",
            found=f"{entry.plain_bytes} bytes {entry.encoding} in {entry.compressed_bytes}",
            expected=f"{least + header} to {most + header}",
            offset=entry.offset_bytes,
        )
