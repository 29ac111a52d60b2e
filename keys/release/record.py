"""The ledger of signed releases in the trust folder: each one whole enough to be judged without its kit.

``releases/<version>.json`` holds the signed targets, the index range and ``bundle.json``: a few kB.
The next release's signing request takes the last one along, so that those who sign see the difference
to it and can check, wherever they are, that it is the release that was signed.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec
from tuf.api.metadata import Metadata, Root, Targets

from teraferry.bundles.errors import TrustError, UsageError
from teraferry.bundles.limits import MAX_METADATA_BYTES, MAX_RELEASE_RECORD_BYTES
from teraferry.bundles.model import Model
from teraferry.bundles.system.durable import sync_directory, write_durably
from teraferry.keys.metadata import read_capped
from teraferry.keys.release.contents import ReleaseContents, read_contents
from teraferry.keys.strict_json import unreadable
from teraferry.keys.tuf_metadata import parse_metadata, require_signed

RELEASES_DIR: Final = "releases"


class ReleaseRecord(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One signed release."""

    format: Literal[1]
    targets: str  # targets.json, as signed
    index: str  # base64 of the bundle's index range
    manifest: str  # bundle.json


@dataclass(frozen=True, slots=True)
class RecordedRelease:
    """A record that was judged."""

    contents: ReleaseContents
    signers: tuple[str, ...]  # key ids
    root_version: int  # of the root whose keys they are


def make_record(targets: bytes, *, index: bytes, manifest: bytes) -> ReleaseRecord:
    """Return the record of a release; ``judge_record`` decides what it is worth."""
    return ReleaseRecord(
        format=1, targets=targets.decode("utf-8"), index=b64encode(index).decode("ascii"), manifest=manifest.decode()
    )


def judge_record(record: ReleaseRecord, roots: Sequence[Metadata[Root]]) -> RecordedRelease:
    """Return what the record says, if enough release keys of one of ``roots`` signed it.

    Args:
        record: Unverified.
        roots: A verified chain. The newest root that vouches is taken; keys revoked since then still
            prove what was signed in their time.

    Raises:
        TrustError: ``threshold-not-met``, 20, and see ``require_signed``; ``metadata-unreadable``, 24.
        BundleError: 10; see ``read_contents``.
    """
    targets = parse_metadata(Targets, capped(record.targets, "targets.json"), what="targets.json")
    contents = read_contents(targets.signed, index=parse_base64(record.index), manifest=record.manifest.encode())
    for root in reversed(roots[1:]):
        try:
            return RecordedRelease(
                contents, tuple(require_signed(root.signed, "targets", targets)), root.signed.version
            )
        except TrustError:
            continue
    signers = tuple(require_signed(roots[0].signed, "targets", targets))
    return RecordedRelease(contents, signers, roots[0].signed.version)


def store_record(trust: Path, version: str, record: ReleaseRecord) -> None:
    """Put ``record`` into the ledger of the trust folder ``trust``, durably.

    A record too long to travel in a request is not kept; the next request says that no difference is known.
    """
    content = msgspec.json.encode(record, order="sorted") + b"\n"
    if len(content) > MAX_RELEASE_RECORD_BYTES:
        return
    folder = trust / RELEASES_DIR
    if not folder.is_dir():
        folder.mkdir()
        sync_directory(trust)
    write_durably(_path(trust, version), content)


def load_last_record(trust: Path, sequences: Mapping[str, int], *, before: int) -> ReleaseRecord | None:
    """Return the record of the newest release with a lower ordinal than ``before``, or None.

    Args:
        trust: The trust folder.
        sequences: Release version -> its ordinal, as the trust folder says.
        before: The ordinal of the release that is being signed.

    Raises:
        UsageError: ``trust-folder-damaged``, 2.
    """
    for version, _ in sorted(sequences.items(), key=lambda item: item[1], reverse=True):
        if sequences[version] >= before:
            continue
        content = read_capped(_path(trust, version), limit_bytes=MAX_RELEASE_RECORD_BYTES)
        if content is not None:
            return _parse(content, _path(trust, version))
    return None


def capped(text: str, what: str) -> bytes:
    """Return one document that lies inside another one, if it is no longer than it may be by itself.

    Raises:
        TrustError: ``metadata-unreadable``, 24.
    """
    content = text.encode("utf-8")
    if len(content) > MAX_METADATA_BYTES:
        raise unreadable(what, f"{len(content)} bytes, expected at most {MAX_METADATA_BYTES}")
    return content


def parse_base64(text: str) -> bytes:
    """Return the bytes that ``text`` spells.

    Raises:
        TrustError: ``metadata-unreadable``, 24.
    """
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise unreadable("index", f"no base64: {error}") from error


def _path(trust: Path, version: str) -> Path:
    return trust / RELEASES_DIR / f"{version}.json"


def _parse(content: bytes, path: Path) -> ReleaseRecord:
    try:
        return msgspec.json.decode(content, type=ReleaseRecord)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(
            "trust-folder-damaged",
            f"trust folder: {path}: {error}, expected what sign wrote",
            hint="Restore the file from the backup of the trust folder.",
            facts={"path": str(path)},
        ) from error
