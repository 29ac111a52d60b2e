"""A signing request: what is to be signed, carried to people who have neither the kit nor the trust folder.

The file is a text for people, then one line of JSON for the program. The JSON holds the exact bytes
to be signed and what proves their meaning; the text is drawn up from it and from nothing else. Whoever
opens a request draws the text up again and refuses a file that is not, byte for byte, the same: so what a
person reads in an editor is what the key will sign. The digest of the JSON line names the request.

Source: ``docs/signing-room.md``, section "The request".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from teraferry.bundles import layout
from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.errors import BuildError, BundleError, TrustError
from teraferry.bundles.limits import MAX_REQUEST_BYTES, MAX_ROOT_ROTATIONS
from teraferry.bundles.model import Model
from teraferry.keys.checksums import encode_checksums
from teraferry.keys.release.contents import ReleaseContents, read_contents
from teraferry.keys.release.facts import read_bundle
from teraferry.keys.release.record import RecordedRelease, ReleaseRecord, capped, judge_record, parse_base64
from teraferry.keys.room.words import desk_text, release_text
from teraferry.keys.strict_json import unreadable
from teraferry.keys.to_sign import ToSign, desk_to_sign, release_to_sign
from teraferry.keys.trust import verify_roots
from teraferry.keys.tuf_metadata import T, parse_metadata, product_of, require_signed, signed_bytes

BEGIN: Final = "-----BEGIN TERAFERRY SIGNING REQUEST-----"
END: Final = "-----END TERAFERRY SIGNING REQUEST-----"

_HINT: Final = "Ask the person who sent it for another copy, and compare its digest by telephone or on paper."


class ReleaseRequest(Model, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="release"):
    """To release keys: sign this release."""

    format: Literal[1]
    production: bool
    roots: tuple[str, ...]  # every root of the trust folder, 1 first
    targets: str  # the bytes to be signed: the canonical signed part of targets.json
    checksums: str  # the bytes to be signed: SHA256SUMS
    index: str  # base64 of the bundle's index range
    manifest: str  # bundle.json
    previous: ReleaseRecord | None  # the release before it


class DeskRequest(Model, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="desk"):
    """To the desk key: close this kit, which enough release keys have signed."""

    format: Literal[1]
    production: bool
    roots: tuple[str, ...]
    targets: str  # targets.json, as signed by the release keys
    snapshot: str  # the bytes to be signed
    timestamp: str  # the bytes to be signed


SigningRequest = ReleaseRequest | DeskRequest


@dataclass(frozen=True, slots=True)
class OpenedRequest:
    """A request whose every statement was drawn from the bytes to be signed."""

    digest: Digest
    to_sign: ToSign
    text: str  # for people; also the first part of the file


def encode_request(request: SigningRequest) -> bytes:
    """Return the file.

    Raises:
        BuildError: 31; ``request-too-large``; ``request-changed``: the request contradicts itself.
    """
    return _file_of(request)[1]


def open_request(content: bytes) -> OpenedRequest:
    """Return what a request asks for, every statement of it checked against the bytes to be signed.

    1. The file is a text and one line of JSON, in the one encoding of that JSON.
    2. The roots are a chain; its last root says who may sign.
    3. The documents are what the kind of request wants, and agree with each other.
    4. The text is the one that follows from them.

    Args:
        content: Unverified bytes; capped by the caller at ``MAX_REQUEST_BYTES``.

    Raises:
        BuildError: 31; ``request-malformed``, ``request-changed``.
    """
    opened, expected = _file_of(_parse(content))
    if expected != content:
        raise _changed("its text is not what follows from the bytes to be signed")
    return opened


def _file_of(request: SigningRequest) -> tuple[OpenedRequest, bytes]:
    line = msgspec.json.encode(request, order="sorted")
    digest = digest_of(line)
    try:
        roots = _roots(request)
        if isinstance(request, ReleaseRequest):
            to_sign, text = _open_release(request, roots, digest)
        else:
            to_sign, text = _open_desk(request, roots, digest)
    except (TrustError, BundleError) as error:
        raise _changed(error.message) from error
    content = f"{text}\n{BEGIN}\n{line.decode('utf-8')}\n{END}\n".encode()
    if len(content) > MAX_REQUEST_BYTES:
        raise BuildError(
            "request-too-large",
            f"signing request: {len(content)} bytes, expected at most {MAX_REQUEST_BYTES}",
            hint="The bundle is too large to be signed from afar: bring the token to the machine with the kit.",
            exit_status=31,
            facts={"found": len(content), "expected": MAX_REQUEST_BYTES},
        )
    return OpenedRequest(digest, to_sign, text), content


def _parse(content: bytes) -> SigningRequest:
    try:
        text = content.decode("utf-8")
        _, begin, rest = text.partition(f"\n{BEGIN}\n")
        line, end, after = rest.partition(f"\n{END}\n")
        if not begin or not end or after:
            raise ValueError("no such lines around the data")
        request: SigningRequest = msgspec.json.decode(line, type=SigningRequest)
        is_canonical = msgspec.json.encode(request, order="sorted").decode("utf-8") == line
    except (ValueError, RecursionError) as error:
        raise _malformed(str(error)) from error
    if not is_canonical:
        # One encoding, so that a doubled or reordered field cannot mean one thing here and another elsewhere.
        raise _malformed("JSON in another spelling than the one of the format")
    return request


def _roots(request: SigningRequest) -> list[Metadata[Root]]:
    if not 1 <= len(request.roots) <= MAX_ROOT_ROTATIONS:
        raise unreadable("roots", f"{len(request.roots)} of them, expected 1..{MAX_ROOT_ROTATIONS}")
    contents = [capped(text, f"{number}.root.json") for number, text in enumerate(request.roots, start=1)]
    return verify_roots(contents)


def _open_release(request: ReleaseRequest, roots: Sequence[Metadata[Root]], digest: Digest) -> tuple[ToSign, str]:
    targets = _unsigned(Targets, request.targets, what=layout.TARGETS)
    contents = read_contents(
        targets.signed, index=parse_base64(request.index), manifest=request.manifest.encode("utf-8")
    )
    _require_product(contents.bundle.product, roots[-1])
    if request.checksums.encode("utf-8") != checksums_of(contents):
        raise unreadable(layout.CHECKSUMS, "other lines than the targets say")
    previous = None if request.previous is None else judge_record(request.previous, roots)
    _require_before(previous, contents)
    to_sign = release_to_sign(
        roots[-1],
        targets,
        bundle=contents.bundle,
        checksums=request.checksums.encode("utf-8"),
        production=request.production,
    )
    return to_sign, release_text(to_sign, contents, roots, previous=previous, digest=digest)


def _open_desk(request: DeskRequest, roots: Sequence[Metadata[Root]], digest: Digest) -> tuple[ToSign, str]:
    targets = parse_metadata(Targets, capped(request.targets, layout.TARGETS), what=layout.TARGETS)
    signers = require_signed(roots[-1].signed, Targets.type, targets)
    bundle = read_bundle(targets.signed)
    _require_product(bundle.product, roots[-1])
    snapshot = _unsigned(Snapshot, request.snapshot, what=layout.SNAPSHOT)
    timestamp = _unsigned(Timestamp, request.timestamp, what=layout.TIMESTAMP)
    listed = {name: entry.version for name, entry in snapshot.signed.meta.items()}
    if listed != {layout.TARGETS: targets.signed.version}:
        raise unreadable(layout.SNAPSHOT, "other versions than those of the targets")
    if timestamp.signed.snapshot_meta.version != snapshot.signed.version:
        raise unreadable(layout.TIMESTAMP, "another version than the snapshot's")
    to_sign = desk_to_sign(roots[-1], snapshot, timestamp, bundle=bundle, production=request.production)
    return to_sign, desk_text(to_sign, targets.signed, roots, signers=signers, digest=digest)


def checksums_of(contents: ReleaseContents) -> bytes:
    """Return the only ``SHA256SUMS`` that goes with a release."""
    order = (layout.START_PAGE, layout.INSTALLER, contents.bundle.name)
    return encode_checksums([(name, contents.files[name].digest) for name in order if name in contents.files])


def _unsigned(kind: type[T], text: str, *, what: str) -> Metadata[T]:
    """Return the document whose canonical signed part is ``text``, with no signature yet."""
    content = b'{"signatures":[],"signed":' + capped(text, what) + b"}"
    metadata = parse_metadata(kind, content, what=what)
    if signed_bytes(metadata) != text.encode("utf-8"):
        raise unreadable(what, "another spelling than the one that is signed")
    return metadata


def _require_product(found: str, root: Metadata[Root]) -> None:
    if found != product_of(root.signed):
        raise unreadable(layout.TARGETS, f"product {found}, expected {product_of(root.signed)}, the root's")


def _require_before(previous: RecordedRelease | None, contents: ReleaseContents) -> None:
    if previous is None:
        return
    old, new = previous.contents.bundle, contents.bundle
    if old.product != new.product or old.sequence >= new.sequence:
        raise unreadable("previous", f"release {old.product} number {old.sequence}, expected an earlier one")


def _malformed(found: str) -> BuildError:
    return BuildError(
        "request-malformed",
        f"signing request: {found[:200]}, expected a file that sign --request wrote",
        hint=_HINT,
        exit_status=31,
    )


def _changed(found: str) -> BuildError:
    return BuildError(
        "request-changed",
        f"signing request: {found[:300]}, expected what sign --request wrote, unchanged",
        hint=f"Do not sign it. {_HINT}",
        exit_status=31,
    )
