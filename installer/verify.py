"""``verify_artifact_integrity``: from a kit on a medium to a bundle whose every byte may be used.

Nothing is inflated, parsed or unpacked before its bytes matched a signed digest in memory.
``VerifiedBundle`` is made here only, so a function that asks for one cannot be handed less.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from tuf.api.metadata import Targets

from teraferry.bundles import layout
from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.digest import Digest
from teraferry.bundles.errors import BundleError, UsageError, medium_unreadable
from teraferry.bundles.index import require_signed_name
from teraferry.bundles.limits import MAX_MANIFEST_BYTES, MAX_METADATA_BYTES
from teraferry.bundles.manifest import Manifest, parse_manifest
from teraferry.bundles.progress import Progress
from teraferry.installer.trust.openpgp import OpenPgpDemand, require_demanded_openpgp
from teraferry.keys.metadata import read_capped, read_metadata
from teraferry.keys.release.facts import read_bundle
from teraferry.keys.trust import verify_release
from teraferry.keys.trust_store import Pinned, TrustStore
from teraferry.keys.trusted import TrustedRelease
from teraferry.keys.tuf_metadata import parse_metadata


@dataclass(frozen=True, slots=True)
class VerifiedBundle:
    """A bundle that passed; ``verify.py`` alone constructs it."""

    release: TrustedRelease
    manifest: Manifest
    reader: BundleReader
    path: Path
    whole: bool  # every byte was read and matched, not just the parts that plan needs

    def pieces(self, digest: Digest) -> Iterator[memoryview]:
        """Return the verified bytes of one blob."""
        return self.reader.stream_blob(digest)


def kit_folder(kit: Path) -> Path:
    """Return the kit folder that ``kit`` names: itself, or where the named bundle file lies.

    A bundle without metadata is a kit that nobody signed yet; that is for ``keys.trust`` to say.

    Raises:
        UsageError: ``kit-not-found``, 2. BundleError: ``medium-unreadable``, 11.
    """
    try:
        folder = kit if kit.is_dir() else kit.parent
        is_kit = kit.exists() and ((folder / layout.METADATA_DIR).is_dir() or any(folder.glob("*.tar.gz")))
    except OSError as error:
        raise medium_unreadable(kit, error, what="kit") from error
    if not is_kit:
        raise UsageError(
            "kit-not-found",
            f"kit {kit}: no bundle and no folder {layout.METADATA_DIR} there, expected a kit folder or the bundle "
            "file inside one",
            hint="Name the folder on the medium that holds START-HERE.html and metadata/.",
            facts={"kit": str(kit)},
        )
    return folder


def choose_pin(store: TrustStore, kit: Path) -> Pinned:
    """Return the pin that ``kit`` is to be judged by.

    Where several products are pinned, the name that the kit gives itself selects one. That name is
    unverified and decides nothing more: a kit that names another product is held against that
    product's root and floor, and ``keys.trust`` refuses it.

    Raises:
        TrustError: ``site-not-pinned``, 24, nothing is pinned, or not that product; 24, the metadata is not readable.
        UsageError: ``kit-not-found``, 2.
        BundleError: ``medium-unreadable``, 11.
    """
    products = store.products()
    if len(products) <= 1:
        return store.load()
    # Without targets nothing names a product; any root then finds that its threshold is not met.
    return store.load(unverified_product(kit_folder(kit)) or products[0])


def unverified_product(folder: Path) -> str | None:
    """Return the product that a kit's targets name, signed or not; None when there are no targets.

    Raises:
        TrustError: 24, the targets are not readable. BundleError: ``medium-unreadable``, 11.
    """
    content = read_capped(folder / layout.METADATA_DIR / layout.TARGETS, limit_bytes=MAX_METADATA_BYTES)
    if content is None:
        return None
    return read_bundle(parse_metadata(Targets, content, what=layout.TARGETS).signed).product


def verify_artifact_integrity(
    kit: Path,
    *,
    pinned: Pinned,
    built_at: datetime,
    now: datetime,
    whole: bool,
    progress: Progress,
    openpgp: OpenPgpDemand | None = None,
) -> VerifiedBundle:
    """Check a kit as an installer must, before anything is unpacked.

    Args:
        kit: The kit folder, or the bundle file inside one.
        pinned: What the site trusts: its root and the highest versions it accepted.
        built_at: When this installer was built; with ``now`` and the floor it bounds a lying clock.
        now: The system clock.
        whole: Read every byte, as ``verify`` and ``install`` do; ``plan`` needs the index only.
        progress: Told of bytes that matched.
        openpgp: The OpenPGP signature that the site demands as well.

    (1)-(3) as ``trust_release``, (4)-(6) as ``open_bundle``. The caller loads and rolls out from the returned
    bundle only, which verifies again what it reads.

    Raises:
        TrustError: 20-24. BundleError: 10, 11. UsageError: 2.
    """
    release = trust_release(kit, pinned=pinned, built_at=built_at, now=now, progress=progress, openpgp=openpgp)
    return open_bundle(kit, release, whole=whole, progress=progress)


def trust_release(
    kit: Path,
    *,
    pinned: Pinned,
    built_at: datetime,
    now: datetime,
    progress: Progress,
    openpgp: OpenPgpDemand | None = None,
) -> TrustedRelease:
    """Decide everything that the signatures of a kit decide; no byte of the bundle is read.

    What comes back is the ground for opening the bundle, and for handing the command over to the kit's own
    installer, which is a signed target like the bundle.

    1. The metadata is read with caps and no link is followed.
    2. Roots, thresholds, versions and expiry are decided by ``keys.trust``; what it hands back is trusted.
    3. A demanded OpenPGP signature must be there and good.

    Raises:
        TrustError: 20-24. BundleError: 10, 11. UsageError: 2.
    """
    floor = replace(pinned.floor, built_at=built_at)
    folder = kit_folder(kit)
    files = read_metadata(folder, after_root=floor.root_version)  # 1
    release = verify_release(files, trusted_root=pinned.root, floor=floor, now=now)  # 2
    if folder != kit:
        require_signed_name(kit.name, release.bundle)
    for notice in release.notices:
        progress.say(notice.reference, notice.text)
    past = max(floor.newest_signed_at, floor.built_at)
    found = require_demanded_openpgp(folder, release, openpgp, now=now, proven_past=past, progress=progress)  # 3
    signed = release.bundle
    progress.say("trusted", f"signed by {len(release.signers)} release keys: {signed.product} {signed.version}")
    return replace(release, openpgp=found)


def open_bundle(kit: Path, release: TrustedRelease, *, whole: bool, progress: Progress) -> VerifiedBundle:
    """Check the bundle of a kit against what its signatures say.

    4. The bundle's length and index are checked against the signed facts; then the index is parsed.
    5. With ``whole``, every byte is read: chunk digests, and SHA-256 of the whole ``.tar.gz``.
    6. The manifest is read from verified chunks and must agree with the signed facts.

    Raises:
        BundleError: 10, 11. UsageError: 2.
    """
    signed = release.bundle
    path = kit_folder(kit) / signed.name
    reader = BundleReader(path, signed)
    reader.open()  # 4
    if whole:
        progress.start("verify", total_bytes=signed.length_bytes, detail=signed.name)
        reader.verify_whole(progress)  # 5
    manifest = parse_manifest(reader.read_entry(layout.MANIFEST, limit_bytes=MAX_MANIFEST_BYTES))  # 6
    _require_agreement(manifest, release)
    return VerifiedBundle(release=release, manifest=manifest, reader=reader, path=path, whole=whole)


def require_blobs(bundle: VerifiedBundle, digests: Iterable[Digest]) -> None:
    """Read blobs of the bundle to their digests, and keep nothing of them.

    Every byte of the bundle is signed, but a careless signer may have signed a program that inflates
    without end or is not its digest. Found here, nothing was written yet, at the site or on a node.

    Raises:
        BundleError: 10, 11.
    """
    for digest in sorted(set(digests)):
        for _ in bundle.pieces(digest):
            continue


def _require_agreement(manifest: Manifest, release: TrustedRelease) -> None:
    found = (manifest.format, manifest.release.product, manifest.release.version)
    wanted = (release.bundle.format, release.bundle.product, release.bundle.version)
    if found != wanted:
        raise BundleError(
            "manifest-disagrees",
            f"bundle.json says {found}, expected {wanted} as signed",
            hint="Ask for a new copy of the kit; this one was put together wrongly.",
            facts={"found": str(found), "expected": str(wanted)},
        )
