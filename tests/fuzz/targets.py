"""What is fuzzed: each target takes any bytes and either returns or refuses with an error of ours.

``tests.prove.fuzz`` lets a coverage-guided fuzzer look for bytes that do anything else;
``tests/adversarial/test_fuzz_corpus.py`` replays those that once led it somewhere. A target that accepts its
bytes then asks what acceptance must mean, so that it finds more than tracebacks.

Bytes that lie under a digest or a signature on a real medium come here without: the fuzzer is a careless signer.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

import msgspec
from tuf.api.metadata import Metadata, Root, Signed, Snapshot, Targets, Timestamp

from teraferry.builder.receipt_chain import never_seen, require_continues
from teraferry.builder.receipt_words import words_of
from teraferry.bundles import layout
from teraferry.bundles.entry_header import read_index_entry, require_header
from teraferry.bundles.errors import TeraFerryError
from teraferry.bundles.gzip_member import content_member_lengths
from teraferry.bundles.index import Index, encode_index
from teraferry.bundles.index_check import parse_index
from teraferry.bundles.limits import MAX_ENTRIES, MAX_INDEX_PLAIN_BYTES
from teraferry.bundles.manifest import encode_manifest, parse_manifest
from teraferry.bundles.member_reading import Cursor, Place, read_deflated_member, read_stored_member
from teraferry.bundles.receipt import digest_of_receipt, encode_receipt, parse_receipt
from teraferry.bundles.tar_header import padded_length
from teraferry.installer.site.load import parse_site
from teraferry.keys.release.facts import read_bundle, read_targets
from teraferry.keys.room.answer import parse_answer
from teraferry.keys.room.request import open_request
from teraferry.keys.site_key import require_signed_by
from teraferry.keys.trust import verify_pinned_root, verify_release
from teraferry.keys.trusted import Floor, MetadataFiles
from teraferry.keys.tuf_metadata import fingerprint_of, materials_of, parse_metadata, product_of, signed_bytes
from tests.fakes import small_repository as repository
from tests.fakes.receipts import first_receipt, full_receipt, site_key

FILE = "demo-1.0.0.tar.gz"


class WronglyAcceptedError(Exception):
    """A target accepted bytes that it must not accept. No error of ours, so the fuzzer takes it for a crash."""


@dataclass(frozen=True, slots=True)
class Target:
    """One way in."""

    read: Callable[[bytes], None]
    max_bytes: int  # the longest input that the fuzzer tries

    def run(self, content: bytes) -> bool:
        """Hand ``content`` in; return whether it was accepted."""
        try:
            self.read(content)
        except TeraFerryError:
            return False
        return True


def read_manifest(content: bytes) -> None:
    """``bundle.json``: what was understood is written and understood the same again."""
    manifest = parse_manifest(content)
    _require(parse_manifest(encode_manifest(manifest)) == manifest, "another manifest on the way back")
    for named in (manifest.images, manifest.files, manifest.charts):
        _require(len({one.name for one in named}) == len(named), "a name twice")


def read_index(content: bytes) -> None:
    """``bundle.index.json``: accepted rows cover the file without a gap."""
    try:
        rows = msgspec.json.decode(content, type=Index).entries
        end = rows[-1].offset_bytes + rows[-1].compressed_bytes
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, IndexError):
        end = 0
    index = parse_index(content, file=FILE, index_offset_bytes=end)
    _require(encode_index(index) == content, "an index in another spelling")
    _require(sum(row.compressed_bytes for row in index.entries) == end, "a gap between entries")
    _require(len({row.name for row in index.entries}) == len(index.entries) <= MAX_ENTRIES, "a name twice")


def read_tail(content: bytes) -> None:
    """The end of a bundle, from the index member on: gzip and tar around the index."""
    plain, mtime = read_index_entry(content, _place(layout.INDEX), offset_bytes=0, limit_bytes=MAX_INDEX_PLAIN_BYTES)
    _require(_gunzip(content)[512 : 512 + len(plain)] == plain, "another index than gzip and tar give")
    _require(mtime >= 0, "a time before 1970")


def read_entry(content: bytes) -> None:
    """One entry, gzip and tar. Two bytes of claimed length and one of encoding go before it."""
    plain_bytes, is_stored = int.from_bytes(content[:2], "big"), bool(content[2:3] > b"\x7f")
    # In pieces, as where two verified chunks meet.
    raw, middle = content[3:], len(content) // 2
    pieces = (memoryview(raw)[:middle], memoryview(raw)[middle:])
    cursor = Cursor(iter(pieces), _place("blob"), offset_bytes=0)
    require_header(cursor, "blob", plain_bytes=plain_bytes, mtime=0)
    plain = b""
    for count in content_member_lengths(plain_bytes):
        if is_stored:
            plain += b"".join(read_stored_member(cursor, count))
        else:
            plain += read_deflated_member(cursor, count)
    cursor.require_end()
    _require(len(plain) == padded_length(plain_bytes), "another length than claimed")
    if not is_stored:  # The CRC of a stored member is left to the digests of its chunk and its content.
        _require(_gunzip(raw)[512:] == plain, "another content than gzip and tar give")


def read_metadata(content: bytes) -> None:
    """A kit's metadata; the first byte says in place of which file. Only what the keys signed is accepted."""
    which = content[0] % 4 if content else 0
    kind, content = (Targets, Snapshot, Timestamp, Root)[which], content[1:]
    # First by itself: a fuzzer cannot sign, and these are the places that a thief of keys would reach.
    parsed = parse_metadata(cast("type[Targets]", kind), content, what="metadata")
    signed: Signed = parsed.signed
    if isinstance(signed, Targets):
        _look_into_targets(signed)
    if isinstance(signed, Root):
        _look_into_root(signed, content)
    changes: dict[str, Any] = {"roots": {2: content}} if kind is Root else {kind.type: content}
    release = verify_release(replace(_files(), **changes), trusted_root=_root(1), floor=Floor(), now=repository.NOW)
    _require(release.root == (content if kind is Root else _root(2)), "another root")
    _require(signed_bytes(parsed) in _signed(), "metadata that nobody signed")


def read_request(content: bytes) -> None:
    """A signing request, before anybody reads it: its text is what follows from the bytes to be signed."""
    opened = open_request(content)
    _require(content.startswith(opened.text.encode()), "a text that a person would not see")
    _require(not any(character in opened.text for character in "\x1b\x7f\x9b\u202e\u2066"), "what a terminal obeys")


def read_answer(content: bytes) -> None:
    """An answer from the signing room."""
    parse_answer(content, name="answer")


def read_site(content: bytes) -> None:
    """``site.toml``."""
    parse_site(content, name="site.toml")


def read_receipt(content: bytes) -> None:
    """A site's receipt, as home reads it: only what the site's key signed is accepted."""
    signed = parse_receipt(content, name="receipt")
    _require(encode_receipt(signed) == content, "a receipt in another spelling")
    receipt = signed.signed
    # First by itself: a fuzzer cannot sign, and these are the places that a thief of the site's key would reach.
    _require(all(word.isprintable() for word in words_of(receipt).split("\n")), "what a terminal obeys")
    with suppress(TeraFerryError):
        require_continues([first_receipt()], receipt, name="receipt")
        never_seen([first_receipt(), receipt])
    require_signed_by(signed, site_key("site").private.public_key(), name="receipt")
    _require(digest_of_receipt(receipt) in _receipts(), "a receipt that nobody signed")


@cache
def _receipts() -> frozenset[str]:
    return frozenset(digest_of_receipt(receipt) for receipt in (first_receipt(), full_receipt()))


def _look_into_root(root: Root, content: bytes) -> None:
    with suppress(TeraFerryError):
        product_of(root)
        for role in root.roles:
            materials_of(root, role)
        fingerprint_of(verify_pinned_root(content))


def _look_into_targets(targets: Targets) -> None:
    with suppress(TeraFerryError):
        read_bundle(targets)
        read_targets(targets)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise WronglyAcceptedError(otherwise)


def _place(entry: str) -> Place:
    return Place(FILE, entry)


def _gunzip(raw: bytes) -> bytes:
    """Return what the standard library makes of all members."""
    plain = b""
    while raw:
        inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
        plain += inflater.decompress(raw)
        raw = inflater.unused_data
    return plain


@cache
def _signed() -> frozenset[bytes]:
    return frozenset(metadata.signed_bytes for metadata in documents().values())


@cache
def documents() -> Mapping[str, Metadata[Root] | Metadata[Targets] | Metadata[Snapshot] | Metadata[Timestamp]]:
    """Return the metadata of the one kit that the metadata target knows."""
    roles = {"root": (["root"], 1), "targets": (["release"], 1), "snapshot": (["desk"], 1), "timestamp": (["desk"], 1)}
    return {
        "1.root.json": repository.signed_by(repository.make_root(roles), "root"),
        "2.root.json": repository.signed_by(repository.make_root(roles, version=2), "root"),
        "targets.json": repository.signed_by(repository.make_targets(), "release"),
        "snapshot.json": repository.signed_by(repository.make_snapshot(), "desk"),
        "timestamp.json": repository.signed_by(repository.make_timestamp(), "desk"),
    }


@cache
def _root(version: int) -> bytes:
    return documents()[f"{version}.root.json"].to_bytes()


@cache
def _files() -> MetadataFiles:
    timestamp, snapshot, targets = (
        documents()[f"{role}.json"].to_bytes() for role in ("timestamp", "snapshot", "targets")
    )
    return MetadataFiles({2: _root(2)}, timestamp, snapshot, targets)


TARGETS: Mapping[str, Target] = {
    "manifest": Target(read_manifest, 8192),
    "index": Target(read_index, 8192),
    "tail": Target(read_tail, 8192),
    "entry": Target(read_entry, 16_384),
    "metadata": Target(read_metadata, 8192),
    "request": Target(read_request, 16_384),
    "answer": Target(read_answer, 8192),
    "site": Target(read_site, 4096),
    "receipt": Target(read_receipt, 8192),
}
