"""``teraferry renew``: a later expiry for a kit that is on its way. Only the desk's two small files change.

The kit's bundle need not be here: a folder with its ``metadata/`` is enough, and the files that changed
can be mailed after the kit. What the release keys signed is not touched, so their expiry is the last word:
a renewal that would outlive it is refused.

The new files take a new version from the trust folder, so a site that accepted the renewed copy refuses
the one that was not renewed: nobody can bring an expiry back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tuf.api.metadata import Metadata, Root, Targets

from teraferry.builder.kit import Kit
from teraferry.builder.sign_closing import (
    Closing,
    compose_closing,
    load_closing,
    read_back,
    sign_closing,
    store_closing,
)
from teraferry.builder.signed_kit import kit_of_another_trust_folder
from teraferry.builder.signing_room import SigningRoom
from teraferry.bundles import layout
from teraferry.bundles.errors import BuildError, TrustError, UsageError
from teraferry.bundles.index import SignedBundle
from teraferry.bundles.limits import MAX_METADATA_BYTES
from teraferry.keys.metadata import read_capped
from teraferry.keys.release.facts import read_bundle
from teraferry.keys.trust import verify_roots
from teraferry.keys.trusted import Notice
from teraferry.keys.tuf_metadata import parse_metadata, product_of, require_signed


@dataclass(frozen=True, slots=True)
class Renewal:
    """What ``renew`` did."""

    bundle: SignedBundle
    expires: datetime
    metadata_version: int
    changed: tuple[str, ...]  # files of metadata/ that a copy on the road needs
    notices: tuple[Notice, ...]


def renew_kit(folder: Path, room: SigningRoom, *, until: datetime, desk_key: str) -> Renewal:
    """Let the desk vouch for the kit in ``folder`` until ``until``.

    1. The kit is whole: enough keys of the newest root signed its targets, a desk key closed it.
    2. This trust folder numbered it.
    3. ``until`` is later than now and than the expiry there is, and neither targets nor root end before it.
    4. The documents get a new version, durably taken, and the newest root's desk key signs them.
    5. The kit is judged as a site will judge it.

    Args:
        folder: The kit, or a folder with nothing but its ``metadata/``.
        room: Where the desk key comes from.
        until: The new expiry, aware, UTC.
        desk_key: URI of the desk key.

    Raises:
        UsageError: 2; ``kit-not-found``, ``until-too-early``.
        BuildError: 31; ``kit-not-signed``, ``kit-of-another-trust-folder``, ``renewal-outlives``, ``key-not-in-role``,
            or why the key could not sign.
        TrustError: 24; the metadata cannot be read.
    """
    with room.folder.locked():
        roots = verify_roots(list(room.folder.load_roots().values()))
        root = roots[-1].signed
        desk = room.open_key(desk_key, root, role="timestamp")
        targets = _whole_targets(folder, root)  # 1
        bundle = read_bundle(targets.signed)
        kit = Kit(folder, folder / bundle.name)
        closing = _closing(kit, targets.signed, roots)
        _require_ours(folder, room, bundle, root=root)  # 2
        _require_later(until, closing, now=room.now)  # 3
        _require_outlived(until, {"targets": targets.signed.expires, "root": root.expires})
        numbers = room.folder.number(bundle.version)  # 4
        before = _names(kit)
        room.publish_roots(kit)
        renewed = compose_closing(
            targets.signed, version=numbers.metadata_version, snapshot_expires=until, timestamp_expires=until
        )
        sign_closing(renewed, desk)
        store_closing(kit, renewed)
        read_back(kit, room)  # 5
    return Renewal(
        bundle=bundle,
        expires=until,
        metadata_version=numbers.metadata_version,
        changed=(*sorted(_names(kit) - before), layout.SNAPSHOT, layout.TIMESTAMP),
        notices=_notices(bundle, numbers.newer_release),
    )


def _whole_targets(folder: Path, root: Root) -> Metadata[Targets]:
    path = folder / layout.METADATA_DIR / layout.TARGETS
    content = read_capped(path, limit_bytes=MAX_METADATA_BYTES) if folder.is_dir() else None
    if content is None:
        raise UsageError(
            "kit-not-found",
            f"kit {folder}: no {layout.METADATA_DIR}/{layout.TARGETS} in it, expected a signed kit or its "
            f"{layout.METADATA_DIR} folder",
            hint="Give renew the kit, or a folder that holds a copy of the kit's metadata folder.",
            facts={"kit": str(folder)},
        )
    targets = parse_metadata(Targets, content, what=layout.TARGETS)
    try:
        require_signed(root, Targets.type, targets)
    except TrustError as error:
        raise _not_signed(folder, error.message) from error
    return targets


def _closing(kit: Kit, targets: Targets, roots: Sequence[Metadata[Root]]) -> Closing:
    """Return what closed the kit, signed by the desk of one of ``roots``: the desk may have a new key by now."""
    closing = load_closing(kit)
    if closing is None or not any(closing.is_signed(root.signed) for root in roots):
        raise _not_signed(kit.folder, "the desk has not closed it")
    listed = closing.snapshot.signed.meta.get(layout.TARGETS)
    if listed is None or listed.version != targets.version:
        raise _not_signed(kit.folder, "it was closed with other targets")
    return closing


def _require_ours(folder: Path, room: SigningRoom, bundle: SignedBundle, *, root: Root) -> None:
    known = room.folder.load_state().sequences.get(bundle.version)
    if bundle.product != product_of(root) or known != bundle.sequence:
        raise kit_of_another_trust_folder(str(folder), found=bundle.sequence, expected=known)


def _require_later(until: datetime, closing: Closing, *, now: datetime) -> None:
    expires = min(closing.snapshot.signed.expires, closing.timestamp.signed.expires)
    if until <= max(now, expires):
        raise UsageError(
            "until-too-early",
            f"--until {_stamp(until)}: expected later than now, {_stamp(now)}, and than the kit's expiry, "
            f"{_stamp(expires)}",
            hint="Give a later date; a kit's expiry is never brought forward.",
            facts={"until": _stamp(until), "now": _stamp(now), "expires": _stamp(expires)},
        )


def _require_outlived(until: datetime, limits: dict[str, datetime]) -> None:
    for role, expires in limits.items():
        if expires < until:
            raise BuildError(
                "renewal-outlives",
                f"--until {_stamp(until)}: the {role} metadata expires {_stamp(expires)}, expected no earlier",
                hint=f"Give a date up to {_stamp(expires)}; the desk cannot vouch for longer than the {role} keys did.",
                exit_status=31,
                facts={"role": role, "expires": _stamp(expires), "until": _stamp(until)},
            )


def _names(kit: Kit) -> set[str]:
    return {path.name for path in (kit.folder / layout.METADATA_DIR).iterdir() if path.is_file()} - {
        layout.SNAPSHOT,
        layout.TIMESTAMP,
    }


def _notices(bundle: SignedBundle, newer: str | None) -> tuple[Notice, ...]:
    if newer is None:
        return ()
    text = (
        f"{newer} was numbered after {bundle.version}. A site that accepts this renewed {bundle.version} takes {newer} "
        "only from a kit that is signed or renewed after it: renew that one too."
    )
    return (Notice("newer-release-needs-renewal", text),)


def _not_signed(folder: Path, found: str) -> BuildError:
    return BuildError(
        "kit-not-signed",
        f"kit {folder}: {found}, expected a kit that enough keys of the newest root signed and the desk closed",
        hint="Finish signing it with: teraferry sign KIT --trust DIR",
        exit_status=31,
        facts={"kit": str(folder)},
    )


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
