"""Honest inputs for every target: where the fuzzer starts, and what must be accepted."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace

from tuf.api.metadata import Metadata

from teraferry.bundles import layout
from teraferry.bundles.digest import digest_of
from teraferry.bundles.entry_header import encoded_header, encoded_header_length
from teraferry.bundles.gzip_member import stored_content_length
from teraferry.bundles.index import Index, IndexEntry, encode_index
from teraferry.bundles.limits import CHUNK_BYTES
from teraferry.bundles.manifest import Chart, File, Image, ImagePlatform, Manifest, Release, Smoke, encode_manifest
from teraferry.bundles.receipt import encode_receipt
from teraferry.bundles.tar_header import END_OF_ARCHIVE, padded_length
from teraferry.keys.release.contents import read_contents
from teraferry.keys.release.facts import encode_bundle, read_bundle
from teraferry.keys.room.answer import AnsweredBytes, SigningAnswer, encode_answer
from teraferry.keys.room.request import DeskRequest, ReleaseRequest, checksums_of, encode_request
from tests.fakes import small_repository as repository
from tests.fakes.hostile_archive import deflated_member, stored_member
from tests.fakes.receipts import first_receipt, full_receipt, site_key
from tests.fakes.site_toml import SITE, pair_site
from tests.fuzz.targets import documents

DIGEST = digest_of(b"blob")

SITE_2 = pair_site().encode()


def manifests() -> list[bytes]:
    """Return manifests: the least, and one with everything."""
    release = Release(product="demo", version="1.0.0", upgrades_from=">=0.9")
    platform = ImagePlatform(platform="linux/amd64", manifest=DIGEST, config=DIGEST, layers=(DIGEST,))
    image = Image(name="demo/api", digest=DIGEST, media_type="application/json", platforms=(platform,))
    whole = Manifest(
        format=1,
        release=release,
        images=(image,),
        files=(File(name="bin/weed", mode="0755", digest=DIGEST, length_bytes=4),),
        charts=(Chart(name="demo.tgz", digest=DIGEST, length_bytes=4),),
        smoke=(Smoke(http="/health", field="ok", equals=True),),
    )
    return [encode_manifest(Manifest(format=1, release=Release(product="a", version="1"))), encode_manifest(whole)]


def indexes() -> list[bytes]:
    """Return the index of a bundle with the least documents and a blob of each encoding."""
    names = [layout.OCI_LAYOUT, layout.OCI_INDEX, layout.MANIFEST]
    blobs = sorted((digest_of(b"one"), digest_of(b"two")))
    rows: list[IndexEntry] = []
    offset = 0
    for name, digest in [*((name, DIGEST) for name in names), *((layout.blob_name(blob), blob) for blob in blobs)]:
        length = encoded_header_length(name, 300) + stored_content_length(300)
        row = IndexEntry(
            name=name,
            digest=digest,
            offset_bytes=offset,
            compressed_bytes=length,
            plain_bytes=300,
            encoding="deflated" if digest == blobs[-1] else "stored",
        )
        rows.append(row)
        offset += length
    index = Index(
        format=1, compressor="deflate 0.9.0", chunk_bytes=CHUNK_BYTES, entries=tuple(rows), chunks=(digest_of(b""),)
    )
    return [encode_index(index)]


def tails() -> list[bytes]:
    """Return the end of a bundle, of each kind of index that there is: short, long."""
    end = stored_member(END_OF_ARCHIVE)
    return [
        encoded_header(layout.INDEX, len(plain), mtime=mtime) + deflated_member(padded(plain)) + end
        for plain, mtime in ((indexes()[0], 0), (b"{}\n", 1_777_863_721))
    ]


def entries() -> list[bytes]:
    """Return entries: stored, deflated, empty; three bytes of claims go before each."""
    text = b"text that deflates\n" * 78 + b"at its end"
    return [
        b"\x00\x64\x80" + encoded_header("blob", 100, mtime=0) + stored_member(padded(b"x" * 100)),
        b"\x05\xd4\x00" + encoded_header("blob", len(text), mtime=0) + deflated_member(padded(text)),
        b"\x00\x00\x80" + encoded_header("blob", 0, mtime=0),
    ]


def padded(plain: bytes) -> bytes:
    """Return ``plain`` filled up to whole tar blocks."""
    return plain.ljust(padded_length(len(plain)), b"\0")


def metadata() -> list[bytes]:
    """Return the four files that a kit may bring; one byte says which."""
    names = ("targets.json", "snapshot.json", "timestamp.json", "2.root.json")
    return [bytes([which]) + documents()[name].to_bytes() for which, name in enumerate(names)]


def requests() -> list[bytes]:
    """Return a request to release keys, and one to the desk."""
    raw = tails()[0]
    manifest = encode_manifest(Manifest(format=1, release=Release(product=repository.PRODUCT, version="1.0.0")))
    rows = {DIGEST: digest_of(manifest)}
    plain = indexes()[0]
    for old, new in rows.items():
        plain = plain.replace(old.encode(), new.encode())
    raw = encoded_header(layout.INDEX, len(plain), mtime=0) + deflated_member(padded(plain))
    raw += stored_member(END_OF_ARCHIVE)
    offset = sum(row["compressed_bytes"] for row in json.loads(plain)["entries"])
    name = layout.bundle_name(repository.PRODUCT, "1.0.0")
    bundle = replace(
        read_bundle(repository.make_targets()),
        length_bytes=offset + len(raw),
        index_offset_bytes=offset,
        index_digest=digest_of(raw),
    )
    targets = repository.make_targets()
    targets.targets[name] = encode_bundle(bundle)
    release = ReleaseRequest(
        format=1,
        production=False,
        roots=_roots(),
        targets=Metadata(targets).signed_bytes.decode(),
        checksums=checksums_of(read_contents(targets, index=raw, manifest=manifest)).decode(),
        index=b64encode(raw).decode(),
        manifest=manifest.decode(),
        previous=None,
    )
    desk = DeskRequest(
        format=1,
        production=False,
        roots=_roots(),
        targets=documents()["targets.json"].to_bytes().decode(),
        snapshot=documents()["snapshot.json"].signed_bytes.decode(),
        timestamp=documents()["timestamp.json"].signed_bytes.decode(),
    )
    return [encode_request(release), encode_request(desk)]


def _roots() -> tuple[str, ...]:
    return (documents()["1.root.json"].to_bytes().decode(),)  # One: each costs what a hundred inputs cost.


def answers() -> list[bytes]:
    """Return an answer whose signatures are none."""
    answer = SigningAnswer(
        format=1,
        kind="desk",
        request=DIGEST,
        key_id=repository.key_id("desk"),
        signatures={"snapshot.json": AnsweredBytes(digest=DIGEST, signature="00")},
        evidence="{}",
    )
    return [encode_answer(answer)]


def receipts() -> list[bytes]:
    """Return a site's first receipt, and one with everything."""
    return [encode_receipt(site_key("site").sign(receipt)) for receipt in (first_receipt(), full_receipt())]


SEEDS: Mapping[str, Callable[[], list[bytes]]] = {
    "manifest": manifests,
    "index": indexes,
    "tail": tails,
    "entry": entries,
    "metadata": metadata,
    "request": requests,
    "answer": answers,
    "site": lambda: [SITE.encode(), SITE_2],
    "receipt": receipts,
}
