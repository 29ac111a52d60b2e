"""``teraferry verify``: judge a kit as a site that pinned ``ROOT`` and accepted nothing yet would.

It reads everything, so that nobody carries a kit across the gap that is refused there.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from tuf.api.metadata import Root

from teraferry.builder.kit import Kit
from teraferry.builder.sign_openpgp import check_openpgp
from teraferry.bundles import layout
from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.digest import hex_of
from teraferry.bundles.errors import BundleError
from teraferry.bundles.index import require_signed_name
from teraferry.bundles.limits import MAX_MANIFEST_BYTES
from teraferry.bundles.manifest import parse_manifest
from teraferry.bundles.progress import Progress
from teraferry.keys.checksums import checksums_of, require_checksum_signatures, require_checksums
from teraferry.keys.metadata import read_metadata
from teraferry.keys.trust import verify_pinned_root, verify_release
from teraferry.keys.trusted import Floor, TrustedRelease
from teraferry.keys.tuf_metadata import parse_metadata


def verify_kit(
    kit: Kit, root: bytes, *, progress: Progress, now: datetime, openpgp_key: Path | None = None
) -> dict[str, object]:
    """Check everything an installer checks, and the files for stock tools as well.

    1. Metadata, against ``root`` and no floor.
    2. Page and installer, against the signed targets.
    3. ``SHA256SUMS`` says the same, and each release key that signed the metadata signed it.
    4. Every byte of the bundle, chunk by chunk and as a whole; its manifest says the signed release.
    5. The OpenPGP signature is there if the release asks for one, and good if ``openpgp_key`` is given.

    Args:
        kit: The kit; nothing in it is changed.
        root: A root of the trust folder; later ones in the kit follow by the signed chain.
        openpgp_key: File with the public OpenPGP key, to check ``SHA256SUMS.asc`` with.
        progress: Told of the bytes read.
        now: The system clock.

    Raises:
        TrustError: 20-24. BundleError: 10, 11.
    """
    pinned = verify_pinned_root(root)
    files = read_metadata(kit.folder, after_root=pinned.signed.version)
    release = verify_release(files, trusted_root=root, floor=Floor(), now=now)  # 1
    for notice in release.notices:
        progress.say(notice.reference, notice.text)
    require_signed_name(kit.bundle.name, release.bundle)
    _require_files(kit, release, progress)  # 2
    _require_checksums(kit, release)  # 3
    bundle = release.bundle
    with BundleReader(kit.folder / bundle.name, bundle) as reader:  # 4
        progress.start("verify", total_bytes=bundle.length_bytes, detail=bundle.name)
        reader.verify_whole(progress)
        content = reader.read_entry(layout.MANIFEST, limit_bytes=MAX_MANIFEST_BYTES)
        chunks = len(reader.index.chunks)
    manifest = parse_manifest(content)
    found = manifest.release
    if (found.product, found.version) != (bundle.product, bundle.version):
        raise _differs(layout.MANIFEST, f"{found.product} {found.version}", f"{bundle.product} {bundle.version}")
    asked = manifest.openpgp or None
    openpgp = check_openpgp(kit, asked, key_file=openpgp_key, progress=progress, now=now)  # 5
    return {
        "product": bundle.product,
        "version": bundle.version,
        "sequence": bundle.sequence,
        "signers": list(release.signers),
        "chunks": chunks,
        "sha256": hex_of(bundle.digest),
        "root_version": release.root_version,
        "fingerprint": release.fingerprint,
        "openpgp": openpgp,
    }


def _require_files(kit: Kit, release: TrustedRelease, progress: Progress) -> None:
    for name, signed in release.targets.items():
        if name != release.bundle.name:
            progress.start("verify", total_bytes=signed.length_bytes, detail=name)
            found = kit.measure(name, progress)
            if found != signed:
                raise _differs(name, found.digest, signed.digest)


def _require_checksums(kit: Kit, release: TrustedRelease) -> None:
    content = kit.checksums()
    require_checksums(content, checksums_of(release))
    root = parse_metadata(Root, release.root, what="last root").signed
    signers = [root.keys[key_id] for key_id in release.signers]
    signatures = {key_id: kit.checksum_signature(key_id) for key_id in release.signers}
    require_checksum_signatures(content or b"", signatures, signers)


def _differs(name: str, found: str, expected: str) -> BundleError:
    return BundleError(
        "file-differs",
        f"file {name}: {found}, expected {expected}, as signed",
        hint="Copy the whole kit again from its source, or ask for another one.",
        exit_status=10,
        facts={"file": name, "found": found, "expected": expected},
    )
