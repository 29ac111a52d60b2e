"""Ask for signatures from afar: write what is signed, and what proves its meaning, into one small file.

Release keys are asked first; once enough of them have signed, the same command asks the desk. What is
asked for is put into the kit, unsigned, at the same moment: an answer is later held against that.
"""

from __future__ import annotations

from dataclasses import dataclass

from tuf.api.metadata import Metadata, Targets

from teraferry.builder.kit import Kit
from teraferry.builder.release_ledger import read_record
from teraferry.builder.sign import SigningOutcome, outcome_of
from teraferry.builder.sign_closing import Closing, compose_first_closing, load_closing, store_closing
from teraferry.builder.sign_targets import load_or_compose
from teraferry.builder.signing_room import SigningRoom, write_metadata
from teraferry.bundles import layout
from teraferry.bundles.errors import UsageError
from teraferry.bundles.limits import MAX_METADATA_BYTES
from teraferry.keys.metadata import read_capped
from teraferry.keys.release.facts import read_bundle
from teraferry.keys.release.record import ReleaseRecord, load_last_record
from teraferry.keys.room.request import (
    DeskRequest,
    OpenedRequest,
    ReleaseRequest,
    SigningRequest,
    encode_request,
    open_request,
)
from teraferry.keys.tuf_metadata import parse_metadata, signed_bytes


@dataclass(frozen=True, slots=True)
class WrittenRequest:
    """A request that is ready to be sent."""

    content: bytes
    opened: OpenedRequest
    outcome: SigningOutcome


def request_signatures(kit: Kit, room: SigningRoom, *, since: Kit | None) -> WrittenRequest:
    """Return the request for what ``kit`` still needs, the same bytes each time until something is signed.

    Args:
        kit: What ``build`` wrote, signed by some already or not.
        room: No key of it is used.
        since: The kit of the last release, where the trust folder's ledger does not know it.

    Raises:
        UsageError: 2; ``kit-unsigned``: ``since`` was never signed. See also ``sign_kit``.
        BuildError: 31; ``request-too-large``, ``request-changed``, and see ``sign_kit``.
        BundleError: The kit is incomplete or bad, 10 or 11.
    """
    with room.folder.locked():
        root = room.folder.load_root()
        targets, notices = load_or_compose(kit, room, root)
        room.publish_roots(kit)
        write_metadata(kit, layout.TARGETS, targets)
        outcome = outcome_of(kit, room, root, targets=targets, signed=(), notices=notices)
        request: SigningRequest
        if "targets" not in outcome.missing and outcome.missing:
            request = _desk_request(kit, room, targets)
        else:
            request = _release_request(kit, room, targets, since=since)
    content = encode_request(request)
    # Opened as the people who get it will open it: what they would refuse is not sent.
    return WrittenRequest(content, open_request(content), outcome)


def _release_request(kit: Kit, room: SigningRoom, targets: Metadata[Targets], *, since: Kit | None) -> ReleaseRequest:
    record = read_record(kit, targets)
    return ReleaseRequest(
        format=1,
        production=room.folder.load_state().production,
        roots=_roots(room),
        targets=signed_bytes(targets).decode("utf-8"),
        checksums=(kit.checksums() or b"").decode("utf-8"),
        index=record.index,
        manifest=record.manifest,
        previous=_previous(room, targets) if since is None else _record_of(since),
    )


def _previous(room: SigningRoom, targets: Metadata[Targets]) -> ReleaseRecord | None:
    sequence = read_bundle(targets.signed).sequence
    return load_last_record(room.folder.path, room.folder.load_state().sequences, before=sequence)


def _record_of(kit: Kit) -> ReleaseRecord:
    path = kit.folder / layout.METADATA_DIR / layout.TARGETS
    content = read_capped(path, limit_bytes=MAX_METADATA_BYTES)
    if content is None:
        raise UsageError(
            "kit-unsigned",
            f"kit {kit.folder}: no {layout.TARGETS} in it, expected the signed kit of the last release",
            hint="Give --since the kit that was signed, or leave it out: the trust folder knows releases signed here.",
            facts={"kit": str(kit.folder)},
        )
    return read_record(kit, parse_metadata(Targets, content, what=layout.TARGETS))


def _desk_request(kit: Kit, room: SigningRoom, targets: Metadata[Targets]) -> DeskRequest:
    closing = load_closing(kit)
    if closing is None or not _is_waiting(closing, targets.signed):
        closing = compose_first_closing(room, targets.signed)
        store_closing(kit, closing)
    return DeskRequest(
        format=1,
        production=room.folder.load_state().production,
        roots=_roots(room),
        targets=targets.to_bytes().decode("utf-8"),
        snapshot=signed_bytes(closing.snapshot).decode("utf-8"),
        timestamp=signed_bytes(closing.timestamp).decode("utf-8"),
    )


def _is_waiting(closing: Closing, targets: Targets) -> bool:
    """Tell whether the desk was asked already to sign ``closing``, so that its answer may be on its way."""
    is_unsigned = not closing.snapshot.signatures and not closing.timestamp.signatures
    return is_unsigned and closing.snapshot.signed.meta[layout.TARGETS].version == targets.version


def _roots(room: SigningRoom) -> tuple[str, ...]:
    return tuple(content.decode("utf-8") for content in room.folder.load_roots().values())
