"""Bundles a careless signer might sign: every digest right, the content put together wrongly.

Nothing is signed here. ``hostile_bundle`` writes bytes and returns the facts a signature would state, so that
a test can hand them to a reader or sign them into a kit.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from teraferry.bundles import layout
from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.gzip_member import GZIP_HEADER, content_member_lengths, encode_stored_member, trailer
from teraferry.bundles.index import Index, IndexEntry, SignedBundle, encode_index
from teraferry.bundles.limits import CHUNK_BYTES
from teraferry.bundles.tar_header import END_OF_ARCHIVE, encode_tar_header, padded_length
from tests.fakes.small_bundle import SIGNED_AT, documents


@dataclass(frozen=True, slots=True, kw_only=True)
class HostileEntry:
    """One entry; what is None is what an honest writer would put there."""

    name: str  # in the index
    content: bytes = b""
    encoding: Literal["stored", "deflated"] = "stored"
    claimed_digest: Digest | None = None  # in the index
    claimed_bytes: int | None = None  # in the index
    header: bytes | None = None  # the tar header's plain bytes
    members: Sequence[bytes] | None = None  # the content members' raw bytes

    def raw(self) -> tuple[bytes, bytes]:
        """Return the raw header member and the raw content members."""
        length = len(self.content) if self.claimed_bytes is None else self.claimed_bytes
        header = self.header or encode_tar_header(self.name, size_bytes=length, mtime=0)
        if self.members is not None:
            return stored_member(header), b"".join(self.members)
        padded, start = self.content.ljust(padded_length(len(self.content)), b"\0"), 0
        members = []
        for count in content_member_lengths(len(self.content)):
            piece = padded[start : start + count]
            members.append(stored_member(piece) if self.encoding == "stored" else deflated_member(piece))
            start += count
        return stored_member(header), b"".join(members)


def stored_member(plain: bytes) -> bytes:
    """Return an honest stored member."""
    return encode_stored_member(plain, crc32=zlib.crc32(plain))


def deflated_member(plain: bytes, *, level: int = 6, before: bytes = b"") -> bytes:
    """Return a deflated member; ``before`` is put in front of the deflate stream."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    stream = before + deflater.compress(plain) + deflater.flush()
    return GZIP_HEADER + stream + trailer(crc32=zlib.crc32(plain), plain_bytes=len(plain))


def blob_entry(content: bytes, *, encoding: Literal["stored", "deflated"] = "stored") -> HostileEntry:
    """Return an honest blob."""
    return HostileEntry(name=layout.blob_name(digest_of(content)), content=content, encoding=encoding)


def tar_block(name: str, *, size_bytes: int = 0, type_flag: bytes = b"0", link: str = "", mode: bytes = b"") -> bytes:
    """Return a header block of any type, with a right sum."""
    block = bytearray(encode_tar_header(name, size_bytes=size_bytes, mtime=0))
    block[156:157] = type_flag
    block[157 : 157 + len(link)] = link.encode()
    block[100 : 100 + len(mode)] = mode
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def honest_documents() -> list[HostileEntry]:
    """Return the documents every bundle has."""
    return [HostileEntry(name=name, content=content) for name, content in documents().items()]


def hostile_bundle(
    folder: Path,
    entries: Iterable[HostileEntry],
    *,
    with_documents: bool = True,
    change_index: Callable[[Index], Index] = lambda index: index,
    change_index_bytes: Callable[[bytes], bytes] = lambda content: content,
    change_tail: Callable[[bytes], bytes] = lambda raw: raw,
) -> tuple[Path, SignedBundle]:
    """Write a bundle and return it with the facts a careless signer would sign.

    Args:
        with_documents: Put the honest documents in front.
        change_index: Changes the index before it is encoded.
        change_index_bytes: Changes its encoding.
        change_tail: Changes the raw bytes from the index member to the end.
    """
    rows: list[IndexEntry] = []
    body = b""
    for entry in [*(honest_documents() if with_documents else ()), *entries]:
        raw = b"".join(entry.raw())
        row = IndexEntry(
            name=entry.name,
            digest=entry.claimed_digest or digest_of(entry.content),
            offset_bytes=len(body),
            compressed_bytes=len(raw),
            plain_bytes=len(entry.content) if entry.claimed_bytes is None else entry.claimed_bytes,
            encoding=entry.encoding,
        )
        rows.append(row)
        body += raw
    chunks = tuple(digest_of(body[start : start + CHUNK_BYTES]) for start in range(0, len(body), CHUNK_BYTES))
    index = Index(format=1, compressor="by hand", chunk_bytes=CHUNK_BYTES, entries=tuple(rows), chunks=chunks)
    content = change_index_bytes(encode_index(change_index(index)))
    header, members = HostileEntry(name=layout.INDEX, content=content, encoding="deflated").raw()
    tail = change_tail(header + members + stored_member(END_OF_ARCHIVE))
    path = folder / layout.bundle_name("demo", "1.0.0")
    path.write_bytes(body + tail)
    return path, _facts(path, body, tail)


def _facts(path: Path, body: bytes, tail: bytes) -> SignedBundle:
    return SignedBundle(
        name=path.name,
        length_bytes=len(body) + len(tail),
        digest=digest_of(body + tail),
        format=1,
        product="demo",
        version="1.0.0",
        sequence=1,
        index_offset_bytes=len(body),
        index_digest=digest_of(tail),
        signed_at=SIGNED_AT,
    )
