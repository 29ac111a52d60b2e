"""A site with its real trust store, and media whose metadata is made in memory: for attacks over several visits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from teraferry.keys.trust import verify_release
from teraferry.keys.trust_store import TrustStore
from teraferry.keys.trusted import EPOCH, MetadataFiles, TrustedRelease
from teraferry.keys.tuf_metadata import Root, fingerprint_of, parse_metadata
from tests.fakes.small_repository import (
    LATER,
    NOW,
    make_root,
    make_snapshot,
    make_targets,
    make_timestamp,
    signed_by,
)

RELEASE_KEYS = ("release-1", "release-2", "release-3")  # two of them must sign


def root(
    version: int = 1,
    *,
    keys: Sequence[str] = ("root-1", "root-2", "root-3"),
    release: Sequence[str] = RELEASE_KEYS,
    desk: Sequence[str] = ("desk",),
    signers: Sequence[str] = ("root-1", "root-2"),
) -> bytes:
    """Return a root: two of the root keys, two of the release keys, one desk key."""
    roles = {
        "root": (keys, 2),
        "targets": (release, 2),
        "snapshot": (desk, 1),
        "timestamp": (desk, 1),
    }
    return signed_by(make_root(roles, version=version, expires=NOW.replace(year=2036)), *signers).to_bytes()


def medium(
    number: int = 1,
    *,
    signers: Sequence[str] = ("release-1", "release-2"),
    desk: str = "desk",
    desk_number: int | None = None,
    signed_at: datetime = NOW,
    expires: datetime = LATER,
    roots: Mapping[int, bytes] | None = None,
) -> MetadataFiles:
    """Return what a kit of release ``1.<number>.0`` says; versions of the desk are ``desk_number``."""
    targets = make_targets(
        version=number,
        sequence=number,
        release=f"1.{number}.0",
        signed_at=signed_at,
        expires=NOW.replace(year=2031),
    )
    version = number if desk_number is None else desk_number
    return MetadataFiles(
        roots=roots or {},
        targets=signed_by(targets, *signers).to_bytes(),
        snapshot=signed_by(make_snapshot(version=version, targets_version=number, expires=expires), desk).to_bytes(),
        timestamp=signed_by(
            make_timestamp(version=version, snapshot_version=version, expires=expires), desk
        ).to_bytes(),
    )


@dataclass(frozen=True)
class SmallSite:
    """A site that pinned root 1."""

    folder: Path

    @property
    def store(self) -> TrustStore:
        """Its trust store, opened anew as every command does it."""
        return TrustStore(self.folder / "trust")

    def pin(self) -> SmallSite:
        """Pin root 1, as a person does with the paper in hand."""
        content = root()
        self.store.pin(content, fingerprint_of(parse_metadata(Root, content, what="root")))
        return self

    def judge(self, files: MetadataFiles, *, now: datetime = NOW, built_at: datetime = EPOCH) -> TrustedRelease:
        """Judge a medium, and remember nothing."""
        pinned = self.store.load()
        floor = replace(pinned.floor, built_at=built_at)
        after = {number: content for number, content in files.roots.items() if number > floor.root_version}
        return verify_release(replace(files, roots=after), trusted_root=pinned.root, floor=floor, now=now)

    def install(self, files: MetadataFiles, *, now: datetime = NOW, built_at: datetime = EPOCH) -> TrustedRelease:
        """Judge a medium and accept it."""
        release = self.judge(files, now=now, built_at=built_at)
        self.store.accept(release)
        return release
