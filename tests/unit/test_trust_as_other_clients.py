"""What another TUF client would refuse or read elsewhere, a site refuses too: nothing here is ever made by us."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tuf.api.metadata import MetaFile

from teraferry.bundles.errors import TrustError
from teraferry.keys.trust import verify_release
from teraferry.keys.trusted import Floor, MetadataFiles, TrustedRelease
from tests.fakes.small_repository import NOW, make_root, make_snapshot, make_targets, make_timestamp, signed_by


def root(version: int, *, desk: Sequence[str] = ("desk",), **changes: Any) -> bytes:
    roles = {"root": (["root"], 1), "targets": (["release"], 1), "snapshot": (desk, 1), "timestamp": (desk, 1)}
    return signed_by(make_root(roles, version=version, **changes), "root").to_bytes()


FILES = MetadataFiles(
    roots={},
    targets=signed_by(make_targets(), "release").to_bytes(),
    snapshot=signed_by(make_snapshot(), "desk").to_bytes(),
    timestamp=signed_by(make_timestamp(), "desk").to_bytes(),
)


def judge(files: MetadataFiles, *, floor: Floor | None = None) -> TrustedRelease:
    return verify_release(files, trusted_root=root(1), floor=floor or Floor(), now=NOW)


def refusal(files: MetadataFiles, *, floor: Floor | None = None) -> TrustError:
    with pytest.raises(TrustError) as caught:
        judge(files, floor=floor)
    return caught.value


def test_a_root_with_consistent_snapshots_is_refused_since_others_would_read_other_files() -> None:
    assert judge(replace(FILES, roots={2: root(2)})).root_version == 2

    error = refusal(replace(FILES, roots={2: root(2, consistent_snapshot=True)}))

    assert (error.exit_status, error.reference, error.facts["file"]) == (24, "metadata-disagrees", "2.root.json")


def test_a_snapshot_that_names_more_than_the_targets_is_refused() -> None:
    snapshot = make_snapshot()
    snapshot.meta["role1.json"] = MetaFile(1)

    error = refusal(replace(FILES, snapshot=signed_by(snapshot, "desk").to_bytes()))

    assert (error.exit_status, error.reference, error.facts["file"]) == (24, "metadata-disagrees", "snapshot.json")


@pytest.mark.parametrize("desk", [["desk", "joined"], ["joined", "desk"], ["desk"]])
def test_a_desk_key_that_joins_makes_no_old_kit_new(desk: list[str]) -> None:
    seen = Floor(root_version=1, timestamp_version=7, snapshot_version=7, targets_version=1, sequence=1)

    assert refusal(replace(FILES, roots={2: root(2, desk=desk)}), floor=seen).reference == "older-than-installed"


def test_a_desk_key_that_leaves_takes_its_versions_with_it() -> None:
    seen = Floor(root_version=1, timestamp_version=7, snapshot_version=7, targets_version=1, sequence=1)
    snapshot = signed_by(make_snapshot(version=2), "joined").to_bytes()
    timestamp = signed_by(make_timestamp(version=2, snapshot_version=2), "joined").to_bytes()
    files = replace(FILES, roots={2: root(2, desk=["joined"])}, snapshot=snapshot, timestamp=timestamp)

    assert judge(files, floor=seen).floor.timestamp_version == 2
