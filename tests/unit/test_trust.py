"""The offline verifier, clause by clause: what it trusts, and each refusal with its status."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from teraferry.bundles.errors import TrustError
from teraferry.keys.metadata import read_metadata
from teraferry.keys.trust import verify_release
from teraferry.keys.trusted import Floor, MetadataFiles
from tests.lab.house import NOW, House

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house")).open()


@pytest.fixture(scope="module")
def files(house: House) -> MetadataFiles:
    return read_metadata(house.kit().folder, after_root=1)


def refused(
    house: House, files: MetadataFiles, *, floor: Floor | None = None, now: datetime = NOW, root: bytes | None = None
) -> TrustError:
    with pytest.raises(TrustError) as caught:
        verify_release(files, trusted_root=root or house.root, floor=floor or Floor(), now=now)
    return caught.value


def changed(content: bytes | None, change: Callable[[dict[str, Any]], None]) -> bytes:
    document = json.loads(content or b"")
    change(document)
    return json.dumps(document).encode()


def with_file(files: MetadataFiles, role: str, content: bytes | None) -> MetadataFiles:
    changes: dict[str, Any] = {role: content}
    return replace(files, **changes)


def floor_with(name: str, value: int | datetime) -> Floor:
    changes: dict[str, Any] = {name: value}
    return Floor(**changes)


def test_a_signed_release_is_trusted_with_its_facts(house: House, files: MetadataFiles) -> None:
    release = verify_release(files, trusted_root=house.root, floor=Floor(), now=NOW)

    assert (release.bundle.product, release.bundle.version, release.bundle.sequence) == ("demo", "1.0.0", 1)
    assert len(release.signers) == 2
    assert set(release.targets) == {"START-HERE.html", "teraferry-installer", "demo-1.0.0.tar.gz"}
    assert release.floor == Floor(1, 1, 1, 1, 1, newest_signed_at=NOW)
    assert release.notices == ()


def test_the_same_release_is_accepted_again(house: House, files: MetadataFiles) -> None:
    first = verify_release(files, trusted_root=house.root, floor=Floor(), now=NOW)

    again = verify_release(files, trusted_root=first.root, floor=first.floor, now=NOW + DAY)

    assert again.floor == first.floor


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_a_missing_file_counts_as_signed_by_nobody(house: House, files: MetadataFiles, role: str) -> None:
    error = refused(house, with_file(files, role, None))

    assert (error.exit_status, error.reference) == (20, "threshold-not-met")
    assert (error.facts["role"], error.facts["have"]) == (role, 0)


@pytest.mark.parametrize(
    ("role", "below"),
    [("targets", "targets_version"), ("snapshot", "snapshot_version"), ("timestamp", "timestamp_version")],
)
def test_a_version_below_the_floor_is_older_than_installed(
    house: House, files: MetadataFiles, role: str, below: str
) -> None:
    error = refused(house, files, floor=floor_with(below, 2))

    assert (error.exit_status, error.reference, error.facts["what"]) == (22, "older-than-installed", role)


def test_a_lower_sequence_is_older_than_installed(house: House, files: MetadataFiles) -> None:
    error = refused(house, files, floor=Floor(sequence=2))

    assert (error.exit_status, error.facts["what"]) == (22, "sequence")


def test_the_unrenewed_copy_is_refused_with_the_hint_to_use_the_renewed_one(house: House, files: MetadataFiles) -> None:
    error = refused(house, files, floor=Floor(sequence=1, timestamp_version=2, snapshot_version=2))

    assert error.exit_status == 22
    assert "renewed copy" in error.hint


def test_a_pinned_root_below_the_newest_used_one_is_refused(house: House, files: MetadataFiles) -> None:
    error = refused(house, files, floor=Floor(root_version=2))

    assert (error.exit_status, error.facts["what"]) == (22, "root")


@pytest.mark.parametrize(("days", "role"), [(365, "timestamp"), (4000, "root")])
def test_expired_metadata_is_refused(house: House, files: MetadataFiles, days: int, role: str) -> None:
    error = refused(house, files, now=NOW + days * DAY)

    assert (error.exit_status, error.reference, error.facts["role"]) == (21, "metadata-expired", role)


def test_metadata_is_good_until_the_second_before_it_expires(house: House, files: MetadataFiles) -> None:
    last = NOW + 365 * DAY - timedelta(seconds=1)

    assert verify_release(files, trusted_root=house.root, floor=Floor(), now=last).bundle.version == "1.0.0"


@pytest.mark.parametrize("known", ["newest_signed_at", "built_at"])
def test_a_clock_set_back_does_not_revive_an_expired_kit(house: House, files: MetadataFiles, known: str) -> None:
    floor = floor_with(known, NOW + 400 * DAY)

    error = refused(house, files, floor=floor, now=datetime(1970, 1, 1, tzinfo=UTC))

    assert error.exit_status == 21


def test_a_clock_behind_the_floor_is_said(house: House, files: MetadataFiles) -> None:
    floor = Floor(newest_signed_at=NOW)

    release = verify_release(files, trusted_root=house.root, floor=floor, now=NOW - 100 * DAY)

    assert [notice.reference for notice in release.notices] == ["clock-behind"]


def test_a_signed_date_ahead_of_the_clock_is_said_and_not_remembered(house: House, files: MetadataFiles) -> None:
    release = verify_release(files, trusted_root=house.root, floor=Floor(), now=NOW - 2 * DAY)

    assert [notice.reference for notice in release.notices] == ["signed-in-the-future"]
    assert release.floor.newest_signed_at == Floor().newest_signed_at


@pytest.mark.parametrize(("ahead", "is_said"), [(DAY, False), (DAY + timedelta(seconds=1), True)])
def test_a_signed_date_up_to_a_day_ahead_raises_the_floor_and_a_second_more_does_not(
    house: House, files: MetadataFiles, ahead: timedelta, *, is_said: bool
) -> None:
    release = verify_release(files, trusted_root=house.root, floor=Floor(), now=NOW - ahead)

    assert [notice.reference for notice in release.notices] == (["signed-in-the-future"] if is_said else [])
    assert release.floor.newest_signed_at == (Floor().newest_signed_at if is_said else NOW)


def test_no_date_of_the_desk_key_raises_the_floor(house: House, files: MetadataFiles) -> None:
    """Snapshot and timestamp may say any date of expiry; the floor is the release keys' word alone."""
    release = verify_release(files, trusted_root=house.root, floor=Floor(), now=NOW)

    assert release.expires["timestamp"] > NOW
    assert release.floor.newest_signed_at == release.bundle.signed_at == NOW


def test_a_clock_behind_by_a_second_is_said_and_the_floor_used(house: House, files: MetadataFiles) -> None:
    on_time = verify_release(files, trusted_root=house.root, floor=Floor(newest_signed_at=NOW), now=NOW)
    behind = verify_release(
        files, trusted_root=house.root, floor=Floor(newest_signed_at=NOW), now=NOW - timedelta(seconds=1)
    )

    assert [notice.reference for notice in (*on_time.notices, *behind.notices)] == ["clock-behind"]


def test_files_of_two_kits_do_not_agree(house: House, files: MetadataFiles) -> None:
    other = read_metadata(house.kit("1.0.1").folder, after_root=1)

    for mixed in (replace(files, targets=other.targets), replace(files, snapshot=other.snapshot)):
        error = refused(house, mixed)
        assert (error.exit_status, error.reference) == (24, "metadata-disagrees")


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_a_changed_signed_part_has_no_valid_signature(house: House, files: MetadataFiles, role: str) -> None:
    def raise_version(document: dict[str, Any]) -> None:
        document["signed"]["version"] += 1

    error = refused(house, with_file(files, role, changed(getattr(files, role), raise_version)))

    assert (error.exit_status, error.reference) == (20, "threshold-not-met")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b'{"signed": {}}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a": ' * 40 + b"1" + b"}" * 40,
        b'{"signatures": [], "signed": {"_type": "targets", "version": 1.5}}',
        b'{"signatures": [], "signed": {"_type": "targets", "version": NaN}}',
        b'{"signatures": [], "signatures": [], "signed": {}}',
        b'{"signatures": [], "signed": {"_type": "targets", "version": ' + b"9" * 5000 + b"}}",
        b'{"signatures": [], "signed": {"_type": "targets", "x": "\\ud800"}}',
    ],
)
def test_what_is_not_strict_json_is_unreadable(house: House, files: MetadataFiles, content: bytes) -> None:
    error = refused(house, replace(files, targets=content))

    assert (error.exit_status, error.reference) == (24, "metadata-unreadable")


def test_a_doubled_member_is_unreadable_though_both_readings_could_be_signed(
    house: House, files: MetadataFiles
) -> None:
    doubled = (files.timestamp or b"").replace(b'"version":1', b'"version":1,"version":1', 1)

    assert refused(house, replace(files, timestamp=doubled)).reference == "metadata-unreadable"


def test_true_is_not_one(house: House, files: MetadataFiles) -> None:
    def lie(document: dict[str, Any]) -> None:
        document["signed"]["version"] = True

    assert refused(house, replace(files, targets=changed(files.targets, lie))).reference == "metadata-unreadable"


def test_unsigned_members_beside_the_signed_part_are_refused(house: House, files: MetadataFiles) -> None:
    def smuggle(document: dict[str, Any]) -> None:
        document["note"] = "trust me"

    assert refused(house, replace(files, targets=changed(files.targets, smuggle))).reference == "metadata-unreadable"


def test_a_document_of_another_role_is_unreadable(house: House, files: MetadataFiles) -> None:
    assert refused(house, replace(files, snapshot=files.timestamp)).reference == "metadata-unreadable"


def test_signatures_that_are_no_hex_do_not_count(house: House, files: MetadataFiles) -> None:
    def spoil(document: dict[str, Any]) -> None:
        document["signatures"][0]["sig"] = "not hex"

    error = refused(house, replace(files, targets=changed(files.targets, spoil)))

    assert (error.exit_status, error.facts["have"]) == (20, 1)


def test_metadata_of_another_product_is_refused(tmp_path: Path, house: House, files: MetadataFiles) -> None:
    root = house.next_root()
    root.unrecognized_fields["teraferry"]["product"] = "other"
    other = house.sign_root(root, "root-1", "root-2")

    error = refused(house, files, root=other)

    assert (error.exit_status, error.reference) == (24, "product-differs")
