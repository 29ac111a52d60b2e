"""One flipped bit anywhere in a kit's metadata: refused, and never a traceback."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from teraferry.bundles.errors import TrustError
from teraferry.keys.metadata import read_metadata
from teraferry.keys.trust import verify_release
from teraferry.keys.trusted import Floor, MetadataFiles
from tests.lab.house import NOW, House

FLIPS = 300


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house"), release_kinds=("p256", "p384")).open()


@pytest.fixture(scope="module")
def files(house: House) -> MetadataFiles:
    return read_metadata(house.kit().folder, after_root=1)


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("name", ["targets", "snapshot", "timestamp"])
def test_a_flipped_bit_is_refused(house: House, files: MetadataFiles, name: str) -> None:
    content: bytes = getattr(files, name)
    for bit in random.Random(7).sample(range(len(content) * 8), FLIPS):
        with pytest.raises(TrustError):
            changes: dict[str, Any] = {name: flipped(content, bit)}
            verify_release(replace(files, **changes), trusted_root=house.root, floor=Floor(), now=NOW)


@pytest.mark.parametrize(("written", "flipped_to"), [(b"T", b"t"), (b"Z", b"z")])
@pytest.mark.parametrize("name", ["targets", "snapshot", "timestamp"])
def test_a_date_that_is_read_alike_but_was_not_signed_so_is_refused(
    house: House, files: MetadataFiles, name: str, written: bytes, flipped_to: bytes
) -> None:
    content: bytes = getattr(files, name)
    at = content.index(b'"expires":"') + 11
    date = content[at : at + 20]
    changes: dict[str, Any] = {name: content.replace(date, date.replace(written, flipped_to))}

    with pytest.raises(TrustError) as caught:
        verify_release(replace(files, **changes), trusted_root=house.root, floor=Floor(), now=NOW)

    assert (caught.value.reference, caught.value.exit_status) == ("metadata-unreadable", 24)


def test_a_signature_in_capitals_is_refused(house: House, files: MetadataFiles) -> None:
    content = files.timestamp or b""
    at = content.index(b'"sig":"') + 7
    signature = content[at : content.index(b'"', at)]

    with pytest.raises(TrustError) as caught:
        changed = content.replace(signature, signature.upper())
        verify_release(replace(files, timestamp=changed), trusted_root=house.root, floor=Floor(), now=NOW)

    assert caught.value.exit_status == 20


def test_a_wrong_signature_is_refused_though_enough_others_are_right(tmp_path: Path) -> None:
    house = House(tmp_path).open()
    kit = house.kit()
    house.sign(kit, "release-3")
    files = read_metadata(kit.folder, after_root=1)
    content = files.targets or b""
    at = content.index(b'"sig":"') + 27
    changed = content[:at] + (b"0" if content[at : at + 1] != b"0" else b"1") + content[at + 1 :]

    with pytest.raises(TrustError) as caught:
        verify_release(replace(files, targets=changed), trusted_root=house.root, floor=Floor(), now=NOW)

    assert (caught.value.exit_status, caught.value.reference) == (20, "signature-invalid")
