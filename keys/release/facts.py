"""Our own facts inside threshold-signed targets: which file is the bundle, and what it is.

TUF signs a length and a digest for each file; what else a site must know before it believes a
byte of the bundle stands beside them, under ``custom.teraferry``. Pure, both ways.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from tuf.api.metadata import TargetFile, Targets

from teraferry.bundles.digest import Digest, hex_of
from teraferry.bundles.errors import TrustError
from teraferry.bundles.index import SignedBundle
from teraferry.bundles.layout import bundle_name
from teraferry.bundles.manifest import Length, Product, Version
from teraferry.bundles.model import Model
from teraferry.keys.trusted import SignedFile
from teraferry.keys.tuf_metadata import CUSTOM

_SHA256_HEX: Final = re.compile(r"[0-9a-f]{64}\Z")
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
"""TUF's own form of a date (specification 4.2.1), so that one document holds one form."""


class BundleFacts(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``custom.teraferry`` of the bundle's target."""

    format: Literal[1]
    product: Product
    version: Version
    sequence: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    index_offset_bytes: Length
    index_digest: Digest
    signed_at: str


def encode_bundle(bundle: SignedBundle) -> TargetFile:
    """Return the target that says what ``read_bundle`` reads."""
    facts = {
        "format": bundle.format,
        "product": bundle.product,
        "version": bundle.version,
        "sequence": bundle.sequence,
        "index_offset_bytes": bundle.index_offset_bytes,
        "index_digest": bundle.index_digest,
        "signed_at": bundle.signed_at.strftime(_TIME),
    }
    return encode_file(bundle.name, SignedFile(bundle.length_bytes, bundle.digest), custom={CUSTOM: facts})


def encode_file(name: str, file: SignedFile, *, custom: Mapping[str, object] | None = None) -> TargetFile:
    """Return the target of one file of the kit."""
    unrecognized = {"custom": dict(custom)} if custom else None
    return TargetFile(file.length_bytes, {"sha256": hex_of(file.digest)}, name, unrecognized)


def read_bundle(targets: Targets) -> SignedBundle:
    """Return what verified ``targets`` say of the bundle.

    Raises:
        TrustError: ``bundle-not-described``, 24: they describe no bundle, more than one, or
            one in a way that this program does not know.
    """
    if targets.delegations is not None:
        raise _not_described("targets hand their word to other keys, which a kit never does")
    # python-tuf hands on whatever stands there, be it a number or a text.
    customs = [(name, target, target.custom) for name, target in targets.targets.items()]
    described = [
        (name, target, custom[CUSTOM])
        for name, target, custom in customs
        if isinstance(custom, dict) and CUSTOM in custom
    ]
    if len(described) != 1:
        raise _not_described(f"{len(described)} bundles are described")
    name, target, claims = described[0]
    try:
        facts = msgspec.convert(claims, BundleFacts)
        signed_at = datetime.strptime(facts.signed_at, _TIME).replace(tzinfo=UTC)
    except ValueError as error:
        raise _not_described(str(error)) from error
    if name != bundle_name(facts.product, facts.version):
        raise _not_described(f"the file is {name[:120]!r}, expected {bundle_name(facts.product, facts.version)!r}")
    file = _signed_file(name, target)
    if facts.index_offset_bytes >= file.length_bytes:
        raise _not_described("the index lies behind the end of the file")
    return SignedBundle(
        name=name,
        length_bytes=file.length_bytes,
        digest=file.digest,
        format=facts.format,
        product=facts.product,
        version=facts.version,
        sequence=facts.sequence,
        index_offset_bytes=facts.index_offset_bytes,
        index_digest=facts.index_digest,
        signed_at=signed_at,
    )


def read_targets(targets: Targets) -> dict[str, SignedFile]:
    """Return length and digest of every file that verified ``targets`` name.

    Raises:
        TrustError: ``bundle-not-described``, 24: a file without a SHA-256.
    """
    return {name: _signed_file(name, target) for name, target in targets.targets.items()}


def _signed_file(name: str, target: TargetFile) -> SignedFile:
    sha256 = target.hashes.get("sha256", "")
    if not _SHA256_HEX.match(sha256):
        raise _not_described(f"no SHA-256 of {name[:120]!r}")
    return SignedFile(target.length, f"sha256:{sha256}")


def _not_described(found: str) -> TrustError:
    return TrustError(
        "bundle-not-described",
        f"metadata targets.json: {found[:300]}, expected one bundle of format 1",
        hint="This kit was made for another installer: ask for the teraferry-installer that came with it.",
        exit_status=24,
    )
