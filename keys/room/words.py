"""The words of a signing request: what, for whom, what is new, and the digest to compare. Pure.

The words are part of format 1: an opened request must give the same text again, so a change here is a
change of the format. Whatever came from outside is shown with its control characters spelled out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from tuf.api.metadata import Metadata, Root, Targets

from teraferry.bundles import layout
from teraferry.bundles.digest import Digest, hex_of
from teraferry.bundles.index import SignedBundle
from teraferry.bundles.system.console_text import printable
from teraferry.keys.public_keys import material_of
from teraferry.keys.release.contents import ReleaseContents
from teraferry.keys.release.difference import compare_releases
from teraferry.keys.release.record import RecordedRelease
from teraferry.keys.room.qr import qr_lines
from teraferry.keys.to_sign import ToSign
from teraferry.keys.trusted import SignedFile
from teraferry.keys.tuf_metadata import fingerprint_of, materials_of, product_of, signed_bytes


def release_text(
    to_sign: ToSign,
    contents: ReleaseContents,
    roots: Sequence[Metadata[Root]],
    *,
    previous: RecordedRelease | None,
    digest: Digest,
) -> str:
    """Return the text of a request to release keys."""
    (targets,) = (metadata.signed for metadata in to_sign.documents.values())
    lines = [
        *_title("sign this release"),
        *_what(contents.bundle),
        f"  it may replace {contents.manifest.release.upgrades_from or 'any installed version'}",
        f"  targets.json of version {targets.version}, good until {_stamp(targets.expires)}",
        *_for_whom(roots),
        *_who(to_sign),
        *_difference(previous, contents),
        *_contents(contents),
        *_kit(contents.files),
        *_bytes(to_sign),
        *_digest(digest),
    ]
    return _text(lines)


def desk_text(
    to_sign: ToSign,
    targets: Targets,
    roots: Sequence[Metadata[Root]],
    *,
    signers: Sequence[str],
    digest: Digest,
) -> str:
    """Return the text of a request to the desk key."""
    lines = [
        *_title("close this kit"),
        *_what(to_sign.bundle),
        f"  targets.json of version {targets.version}, good until {_stamp(targets.expires)}",
        f"  signed by the release keys {' '.join(key_id[:8] for key_id in signers)}",
        *_for_whom(roots),
        *_who(to_sign),
        "",
        "WHAT YOU SAY BY SIGNING",
        *(
            f"  {name} of version {metadata.signed.version}, good until {_stamp(metadata.signed.expires)}"
            for name, metadata in to_sign.documents.items()
        ),
        *_bytes(to_sign),
        *_digest(digest),
    ]
    return _text(lines)


def _title(asked: str) -> Iterable[str]:
    return f"TERAFERRY SIGNING REQUEST: {asked}", ""


def _what(bundle: SignedBundle) -> Iterable[str]:
    yield "WHAT"
    yield f"  {bundle.product} {bundle.version}, number {bundle.sequence} of this product"
    yield f"  {bundle.name}, {bundle.length_bytes} bytes, {bundle.digest}"
    yield f"  dated {_stamp(bundle.signed_at)}"


def _for_whom(roots: Sequence[Metadata[Root]]) -> Iterable[str]:
    yield ""
    yield f"FOR WHOM: sites that trust {product_of(roots[-1].signed)} by one of these roots (compare with paper)"
    for root in roots:
        yield f"  root {root.signed.version}   {_grouped(fingerprint_of(root))}"


def _who(to_sign: ToSign) -> Iterable[str]:
    role = to_sign.root.signed.roles[to_sign.role]
    yield ""
    yield f"WHO SIGNS: {role.threshold} of these keys, by root {to_sign.root.signed.version}" + (
        ", each bound to its token" if to_sign.production else ""
    )
    if materials_of(to_sign.root.signed, to_sign.role).families:
        yield "  and among them one of each family: an ML-DSA key and a classical one"
    for key_id in sorted(role.keyids):
        key = to_sign.root.signed.keys[key_id]
        yield f"  {key_id[:8]}   {key.scheme}   {material_of(key)}"


def _difference(previous: RecordedRelease | None, contents: ReleaseContents) -> Iterator[str]:
    yield ""
    if previous is None:
        yield "DIFFERENCE TO THE LAST RELEASE: none is known; everything below is new to you"
        return
    old = previous.contents.bundle
    found = compare_releases(previous.contents, contents)
    yield f"DIFFERENCE TO THE LAST RELEASE: {old.version}, number {old.sequence}, dated {_stamp(old.signed_at)}"
    yield f"  signed by {' '.join(key_id[:8] for key_id in previous.signers)}, keys of root {previous.root_version}"
    for sign, rows in (("+", found.added), ("-", found.removed)):
        yield from (f"  {sign} {row}   {value}" for row, value in rows.items())
    for row, (was, now) in found.changed.items():
        yield f"  ~ {row}   {was}"
        yield f"    {' ' * len(row)}-> {now}"
    yield f"  = {found.unchanged} unchanged"


def _contents(contents: ReleaseContents) -> Iterator[str]:
    manifest = contents.manifest
    yield ""
    yield "WHAT THE BUNDLE HOLDS"
    for image in manifest.images:
        platforms = " ".join(found.platform for found in image.platforms)
        yield f"  image {image.name}:{manifest.release.version}   {platforms}   {image.digest}"
    for file in manifest.files:
        yield f"  file {file.name}   mode {file.mode}   {file.length_bytes} bytes   {file.digest}"
    for chart in manifest.charts:
        yield f"  chart {chart.name}   {chart.length_bytes} bytes   {chart.digest}"
    for test in manifest.smoke:
        yield f"  smoke test {test.http}: {test.field} equals {test.equals!r}, on {test.role or 'all'} nodes"
    if manifest.openpgp:
        yield f"  an OpenPGP signature is asked for, by {manifest.openpgp}"
    if not (manifest.images or manifest.files or manifest.charts):
        yield "  nothing"


def _kit(files: Mapping[str, SignedFile]) -> Iterator[str]:
    yield ""
    yield "WHAT THE KIT HOLDS"
    yield from (f"  {name}   {file.length_bytes} bytes   {file.digest}" for name, file in sorted(files.items()))


def _bytes(to_sign: ToSign) -> Iterator[str]:
    sizes = {name: len(signed_bytes(metadata)) for name, metadata in to_sign.documents.items()}
    sizes[layout.CHECKSUMS] = len(to_sign.checksums or b"")
    yield ""
    yield "THE BYTES THAT ARE SIGNED"
    yield from (f"  {name}   {sizes[name]} bytes   {digest}" for name, digest in to_sign.digests().items())


def _digest(digest: Digest) -> Iterator[str]:
    yield ""
    yield "THE DIGEST OF THIS REQUEST"
    yield f"  {_grouped(hex_of(digest))}"
    yield from (line and f"  {line}" for line in qr_lines(digest))
    yield "Compare it with the person who sent this, by telephone or on paper: the square says the same digits."
    yield "Then sign with: teraferry sign --answer FILE --key URI"


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{printable(line)}\n" for line in lines)


def _grouped(digits: str) -> str:
    # In groups of eight: people compare it with paper, aloud.
    return " ".join(digits[at : at + 8] for at in range(0, len(digits), 8))


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
