"""Snapshot and timestamp: the desk's two documents, which close a kit and say until when it is good.

They say only which version of which file belongs together, so the desk alone can release nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from teraferry.builder.kit import Kit
from teraferry.builder.signed_kit import whole_seconds
from teraferry.builder.signing_room import SigningRoom, write_metadata
from teraferry.bundles import layout
from teraferry.bundles.limits import MAX_SNAPSHOT_BYTES, MAX_TIMESTAMP_BYTES
from teraferry.keys.metadata import read_capped, read_metadata
from teraferry.keys.signers import KeySigner
from teraferry.keys.trust import verify_release
from teraferry.keys.trusted import Floor
from teraferry.keys.tuf_metadata import T, is_signed_by, parse_metadata, signed_bytes


@dataclass(frozen=True, slots=True)
class Closing:
    """The two documents, signed or not."""

    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]

    def is_signed(self, root: Root) -> bool:
        """Tell whether a desk key of ``root`` signed both."""
        return _is_signed(self.snapshot, root) and _is_signed(self.timestamp, root)


def compose_closing(
    targets: Targets, *, version: int, snapshot_expires: datetime, timestamp_expires: datetime
) -> Closing:
    """Return the documents that close a kit with ``targets``, unsigned."""
    snapshot = Snapshot(
        version=version,
        expires=whole_seconds(snapshot_expires),
        meta={layout.TARGETS: MetaFile(targets.version)},
    )
    timestamp = Timestamp(version=version, expires=whole_seconds(timestamp_expires), snapshot_meta=MetaFile(version))
    return Closing(Metadata(snapshot), Metadata(timestamp))


def compose_first_closing(room: SigningRoom, targets: Targets) -> Closing:
    """Return the documents that close a kit for the first time, of the targets' own version.

    So kits are ordered by their first signing: whichever is closed first, a site that goes from
    one to the next never sees a version fall.
    """
    days = room.folder.load_state().expires_days
    return compose_closing(
        targets,
        version=targets.version,
        snapshot_expires=room.now + timedelta(days=days["snapshot"]),
        timestamp_expires=room.now + timedelta(days=days["timestamp"]),
    )


def load_closing(kit: Kit) -> Closing | None:
    """Return what lies in ``kit``, signed or not, or None unless both documents are there.

    Raises:
        TrustError: 24; a document cannot be read.
    """
    folder = kit.folder / layout.METADATA_DIR
    snapshot = read_capped(folder / layout.SNAPSHOT, limit_bytes=MAX_SNAPSHOT_BYTES)
    timestamp = read_capped(folder / layout.TIMESTAMP, limit_bytes=MAX_TIMESTAMP_BYTES)
    if snapshot is None or timestamp is None:
        return None
    return Closing(
        parse_metadata(Snapshot, snapshot, what=layout.SNAPSHOT),
        parse_metadata(Timestamp, timestamp, what=layout.TIMESTAMP),
    )


def store_closing(kit: Kit, closing: Closing) -> None:
    """Replace the two documents of ``kit``; the timestamp last, since it names the snapshot."""
    write_metadata(kit, layout.SNAPSHOT, closing.snapshot)
    write_metadata(kit, layout.TIMESTAMP, closing.timestamp)


def sign_closing(closing: Closing, desk: KeySigner) -> None:
    """Add the desk key's signature to both documents.

    Raises:
        BuildError: 31; why the key could not sign.
    """
    closing.snapshot.signatures[desk.key.keyid] = desk.sign_metadata(signed_bytes(closing.snapshot))
    closing.timestamp.signatures[desk.key.keyid] = desk.sign_metadata(signed_bytes(closing.timestamp))


def read_back(kit: Kit, room: SigningRoom) -> None:
    """Judge the whole kit as a site that pinned root 1 will: here a mistake costs minutes, there a journey."""
    roots = room.folder.load_roots()
    files = read_metadata(kit.folder, after_root=1)
    verify_release(files, trusted_root=roots[1], floor=Floor(), now=room.now)


def _is_signed(metadata: Metadata[T], root: Root) -> bool:
    return any(is_signed_by(root.keys[key_id], metadata) for key_id in root.roles[metadata.signed.type].keyids)
