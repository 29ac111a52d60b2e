"""The targets of a kit that is being signed: those on it if they still describe it, else new ones.

The first signer's run writes them, with the page and ``SHA256SUMS``. Every later run composes them
again from what lies in the kit now and compares, so nobody adds a signature to something else than
the people before signed.
"""

from __future__ import annotations

from datetime import timedelta

from tuf.api.metadata import Metadata, Root, Targets

from teraferry.builder.describe import BuiltBundle, describe_bundle
from teraferry.builder.kit import Kit
from teraferry.builder.signed_kit import (
    compose_bundle,
    compose_checksums,
    compose_targets,
    kit_changed,
    kit_of_another_trust_folder,
    kit_of_older_root,
    names_that_differ,
)
from teraferry.builder.signing_room import SigningRoom
from teraferry.builder.start_page import render_start_page
from teraferry.bundles import layout
from teraferry.bundles.errors import BuildError
from teraferry.bundles.limits import MAX_METADATA_BYTES
from teraferry.bundles.system.durable import write_durably
from teraferry.keys.metadata import read_capped
from teraferry.keys.release.facts import read_bundle
from teraferry.keys.trust import verify_pinned_root
from teraferry.keys.trusted import Notice
from teraferry.keys.tuf_metadata import is_signed_by, parse_metadata, product_of


def load_or_compose(kit: Kit, room: SigningRoom, root: Metadata[Root]) -> tuple[Metadata[Targets], tuple[Notice, ...]]:
    """Return the targets to sign: those on the kit if they still describe it, else new ones."""
    built = describe_bundle(kit.bundle, progress=room.progress)
    release = built.manifest.release
    if release.product != product_of(root.signed):
        raise BuildError(
            "product-differs",
            f"kit {kit.folder}: product {release.product}, expected {product_of(root.signed)}, the trust folder's",
            hint="Give --trust the trust folder of this product; one folder is one product.",
            exit_status=31,
            facts={"found": release.product, "expected": product_of(root.signed)},
        )
    if kit.bundle.name != layout.bundle_name(release.product, release.version):
        raise kit_changed(str(kit.folder), [kit.bundle.name])
    content = read_capped(kit.folder / layout.METADATA_DIR / layout.TARGETS, limit_bytes=MAX_METADATA_BYTES)
    if content is not None:
        targets = parse_metadata(Targets, content, what=layout.TARGETS)
        _require_unchanged(kit, room, built, targets=targets, root=root.signed)
        return targets, ()
    return _compose_first(kit, room, built)


def _compose_first(kit: Kit, room: SigningRoom, built: BuiltBundle) -> tuple[Metadata[Targets], tuple[Notice, ...]]:
    room.progress.start("digest", detail=layout.INSTALLER)
    installer = kit.measure(layout.INSTALLER, room.progress)
    release = built.manifest.release
    numbers = room.folder.number(release.version)
    roots = room.folder.load_roots()
    page = render_start_page(
        product=release.product,
        version=release.version,
        roots=[verify_pinned_root(content) for content in roots.values()],
        openpgp=built.manifest.openpgp or None,
    )
    write_durably(kit.folder / layout.START_PAGE, page)
    bundle = compose_bundle(built, sequence=numbers.sequence, signed_at=room.now)
    files = {layout.START_PAGE: kit.measure(layout.START_PAGE, room.progress), layout.INSTALLER: installer}
    write_durably(kit.folder / layout.CHECKSUMS, compose_checksums(files, bundle))
    days = room.folder.load_state().expires_days["targets"]
    targets = compose_targets(files, bundle, version=numbers.metadata_version, expires=room.now + timedelta(days=days))
    return Metadata(targets), _notices_of_order(release.version, numbers.newer_release)


def _require_unchanged(
    kit: Kit, room: SigningRoom, built: BuiltBundle, *, targets: Metadata[Targets], root: Root
) -> None:
    """Refuse to add a signature to something else than the people before signed."""
    signed = read_bundle(targets.signed)
    sequence = room.folder.load_state().sequences.get(signed.version)
    if sequence != signed.sequence:
        raise kit_of_another_trust_folder(str(kit.folder), found=signed.sequence, expected=sequence)
    if not (kit.folder / layout.METADATA_DIR / layout.root_name(root.version)).is_file():
        raise kit_of_older_root(str(kit.folder), newest=root.version)
    bundle = compose_bundle(built, sequence=signed.sequence, signed_at=signed.signed_at)
    room.progress.start("digest", detail=layout.INSTALLER)
    files = {name: kit.measure(name, room.progress) for name in (layout.START_PAGE, layout.INSTALLER)}
    now = compose_targets(files, bundle, version=targets.signed.version, expires=targets.signed.expires)
    if now.to_dict() != targets.signed.to_dict():
        raise kit_changed(str(kit.folder), names_that_differ(now, targets.signed))
    if kit.checksums() != compose_checksums(files, bundle):
        raise kit_changed(str(kit.folder), [layout.CHECKSUMS])
    for key_id in root.roles["targets"].keyids:
        if key_id in targets.signatures and not is_signed_by(root.keys[key_id], targets):
            raise kit_changed(str(kit.folder), [layout.TARGETS])


def _notices_of_order(version: str, newer: str | None) -> tuple[Notice, ...]:
    if newer is None:
        return ()
    text = (
        f"{version} was numbered before {newer}. A site that installs this new signing of {version} accepts {newer} "
        f"only from a kit that is signed or renewed after it."
    )
    return (Notice("older-release-signed-again", text),)
