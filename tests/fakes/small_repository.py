"""TUF documents in memory, signed with Ed25519 keys that are always the same: thousands of repositories a minute.

Only what the metadata says is made here, by python-tuf's own models and none of our signing code, so that a
repository can be wrong in any way. ``tests.lab.house`` makes whole kits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, Key, SSlibKey
from tuf.api.metadata import Metadata, MetaFile, Role, Root, Snapshot, TargetFile, Targets, Timestamp

from teraferry.bundles.digest import digest_of
from teraferry.bundles.index import SignedBundle
from teraferry.bundles.layout import bundle_name
from teraferry.keys.release.facts import encode_bundle, encode_file
from teraferry.keys.trusted import SignedFile

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=365)
PRODUCT = "demo"

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)


@cache
def signer(name: str) -> CryptoSigner:
    """Return the key that ``name`` always has.

    ``twin-of-NAME`` is the key of ``NAME`` under another id; ``p521-...`` is of a kind that we do not offer.
    """
    seed = hashlib.sha256(name.removeprefix("twin-of-").encode()).digest()
    if name.startswith("p521-"):
        return CryptoSigner(ec.derive_private_key(int.from_bytes(seed, "big"), ec.SECP521R1()))
    private = Ed25519PrivateKey.from_private_bytes(seed)
    if not name.startswith("twin-of-"):
        return CryptoSigner(private)
    own = CryptoSigner(private).public_key
    other_id = hashlib.sha256(name.encode()).hexdigest()
    return CryptoSigner(private, SSlibKey(other_id, own.keytype, own.scheme, own.keyval))


def key_id(name: str) -> str:
    """Return the key id of ``name``."""
    return signer(name).public_key.keyid


def make_root(
    roles: Mapping[str, tuple[Iterable[str], int]],
    *,
    version: int = 1,
    expires: datetime = LATER,
    product: str | None = PRODUCT,
    consistent_snapshot: bool = False,
) -> Root:
    """Return a root with these keys, by name, and thresholds of its roles."""
    keys: dict[str, Key] = {}
    listed: dict[str, Role] = {}
    for role, (names, threshold) in roles.items():
        ids = [key_id(name) for name in names]
        keys |= {key_id(name): signer(name).public_key for name in names}
        listed[role] = Role(ids, threshold)
    ours = None if product is None else {"teraferry": {"product": product}}
    return Root(version, None, expires, keys, listed, consistent_snapshot, ours)


def make_targets(
    *,
    version: int = 1,
    expires: datetime = LATER,
    release: str = "1.0.0",
    sequence: int = 1,
    signed_at: datetime = NOW,
    product: str = PRODUCT,
) -> Targets:
    """Return targets that describe one bundle and a page."""
    name = bundle_name(product, release)
    bundle = SignedBundle(
        name=name,
        length_bytes=4096,
        digest=digest_of(release.encode()),
        format=1,
        product=product,
        version=release,
        sequence=sequence,
        index_offset_bytes=2048,
        index_digest=digest_of(b"index"),
        signed_at=signed_at,
    )
    page: TargetFile = encode_file("START-HERE.html", SignedFile(7, digest_of(b"a page\n")))
    return Targets(version, None, expires, {name: encode_bundle(bundle), page.path: page})


def make_snapshot(*, version: int = 1, expires: datetime = LATER, targets_version: int = 1) -> Snapshot:
    """Return a snapshot that names these targets."""
    return Snapshot(version, None, expires, {"targets.json": MetaFile(targets_version)})


def make_timestamp(*, version: int = 1, expires: datetime = LATER, snapshot_version: int = 1) -> Timestamp:
    """Return a timestamp that names this snapshot."""
    return Timestamp(version, None, expires, MetaFile(snapshot_version))


def signed_by(signed: T, *names: str) -> Metadata[T]:
    """Return ``signed`` with the signatures of these keys."""
    metadata = Metadata(signed)
    for name in names:
        metadata.sign(signer(name), append=True)
    return metadata
