"""A signer who signs whatever lies in the kit: real keys, real metadata, a hostile bundle.

``builder sign`` looks before it signs and refuses these bundles. A site must not count on that, so
the same release keys sign the bare facts here.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, MetaFile, Snapshot, Timestamp

from teraferry.builder.kit import locate_kit
from teraferry.builder.signed_kit import compose_targets, whole_seconds
from teraferry.bundles import layout
from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import TeraFerryError
from teraferry.bundles.manifest import File, Manifest, Release
from teraferry.keys.signers import KeyRing
from teraferry.keys.trusted import SignedFile
from teraferry.keys.tuf_metadata import T, signed_bytes
from tests.fakes.hostile_archive import HostileEntry, hostile_bundle
from tests.fakes.small_bundle import documents
from tests.lab.house import House, no_pin

INSTALLER = b"#!/bin/sh\nexit 1\n"


def honest(program: bytes) -> list[HostileEntry]:
    """Return the documents of a bundle whose one file, ``bin/weed``, is the blob of ``program``."""
    file = File(name="bin/weed", mode="0755", digest=digest_of(program), length_bytes=len(program))
    manifest = Manifest(format=1, release=Release(product="demo", version="1.0.0"), files=(file,))
    return [HostileEntry(name=name, content=content) for name, content in documents(manifest).items()]


def hostile_kit(
    house: House, folder: Path, entries: Sequence[HostileEntry], *, now: datetime, **changes: Callable[..., Any]
) -> Path:
    """Write a kit around a hostile bundle, signed by two release keys and the desk key."""
    folder.mkdir(parents=True)
    (folder / layout.INSTALLER).write_bytes(INSTALLER)
    _, facts = hostile_bundle(folder, entries, with_documents=False, **changes)
    bundle = replace(facts, signed_at=whole_seconds(now))
    metadata = folder / layout.METADATA_DIR
    metadata.mkdir()
    shutil.copyfile(house.folder / "trust" / "1.root.json", metadata / "1.root.json")
    files = {layout.INSTALLER: SignedFile(len(INSTALLER), digest_of(INSTALLER))}
    expires = whole_seconds(now + timedelta(days=30))
    targets = Metadata(compose_targets(files, bundle, version=1, expires=expires))
    snapshot = Metadata(Snapshot(version=1, expires=expires, meta={layout.TARGETS: MetaFile(1)}))
    timestamp = Metadata(Timestamp(version=1, expires=expires, snapshot_meta=MetaFile(1)))
    sign(house, targets, "release-1", "release-2")
    sign(house, snapshot, "desk")
    sign(house, timestamp, "desk")
    for name, document in ((layout.TARGETS, targets), (layout.SNAPSHOT, snapshot), (layout.TIMESTAMP, timestamp)):
        (metadata / name).write_bytes(document.to_bytes())
    return folder


def sign(house: House, document: Metadata[T], *names: str) -> None:
    """Sign a metadata document with the named keys, whatever it says."""
    with KeyRing(no_pin) as ring:
        for name in names:
            signature = ring.open(house.uris[name]).sign_metadata(signed_bytes(document))
            document.signatures[signature.keyid] = signature


def refusal_of_builder(house: House, kit: Path, *, now: datetime) -> TeraFerryError | None:
    """Let ``builder sign`` sign a copy of the kit, and return why it refused, or None."""
    copy = kit.with_name(f"{kit.name}-for-builder")
    copy.mkdir()
    for name in (layout.bundle_name("demo", "1.0.0"), layout.INSTALLER):
        shutil.copyfile(kit / name, copy / name)
    try:
        house.sign(locate_kit(copy), "release-1", "release-2", now=now)
    except TeraFerryError as error:
        return error
    return None
