"""``teraferry verify``: every file of a kit matters."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from teraferry.builder.kit import locate_kit
from teraferry.bundles.errors import BundleError, TeraFerryError
from tests.lab.house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path).open()


def flip(name: str, at: int) -> Callable[[Path], None]:
    def apply(kit: Path) -> None:
        path = kit / name
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)

    return apply


def remove(name: str) -> Callable[[Path], None]:
    return lambda kit: (kit / name).unlink()


def extend(name: str) -> Callable[[Path], None]:
    def apply(kit: Path) -> None:
        with (kit / name).open("ab") as file:
            file.write(b"\0")

    return apply


def link(name: str) -> Callable[[Path], None]:
    def apply(kit: Path) -> None:
        (kit / name).rename(kit / "elsewhere")
        (kit / name).symlink_to(kit / "elsewhere")

    return apply


def any_signature(kit: Path) -> Path:
    return sorted(kit.glob("SHA256SUMS.*.sig"))[0]


BUNDLE = "demo-1.0.0.tar.gz"

CASES: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "a flipped byte in the bundle": (flip(BUNDLE, 600), 10, ""),
    "a flipped byte in the index": (flip(BUNDLE, -40), 10, ""),
    "an extended bundle": (extend(BUNDLE), 10, ""),
    "another installer": (extend("teraferry-installer"), 10, "file-differs"),
    "no installer": (remove("teraferry-installer"), 10, "kit-incomplete"),
    "another page": (flip("START-HERE.html", 300), 10, "file-differs"),
    "another line in SHA256SUMS": (flip("SHA256SUMS", 3), 10, "checksums-differ"),
    "no SHA256SUMS": (remove("SHA256SUMS"), 10, "checksums-differ"),
    "a flipped byte in a signature": (lambda kit: flip(any_signature(kit).name, 20)(kit), 20, "checksums-not-signed"),
    "a missing signature": (lambda kit: any_signature(kit).unlink(), 20, "checksums-not-signed"),
    "a link in the metadata": (link("metadata/targets.json"), 24, "metadata-not-a-file"),
    "metadata that is too large": (
        lambda kit: (kit / "metadata/targets.json").write_bytes(b" " * (4 * 1024 * 1024 + 1)),
        24,
        "metadata-too-large",
    ),
}


def test_a_good_kit_is_verified_with_its_facts(house: House) -> None:
    kit = house.kit()

    result = house.verify(kit)

    assert (result["product"], result["version"], result["chunks"]) == ("demo", "1.0.0", 1)
    assert len(str(result["sha256"])) == 64
    assert len(result["signers"]) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("case", CASES)
def test_a_changed_kit_is_refused(house: House, case: str) -> None:
    change, status, reference = CASES[case]
    kit = house.kit()
    change(kit.folder)

    with pytest.raises(TeraFerryError) as caught:
        house.verify(kit)

    assert caught.value.exit_status == status
    assert reference in ("", caught.value.reference)


def test_a_flipped_byte_that_no_document_lies_in_is_found(house: House) -> None:
    kit = house.build(blobs=(random.Random(1).randbytes(6 * 1024 * 1024),))
    house.sign(kit, "release-1", "release-2")
    flip(BUNDLE, 5 * 1024 * 1024)(kit.folder)

    with pytest.raises(TeraFerryError) as caught:
        house.verify(kit)

    assert caught.value.exit_status == 10


def test_the_bundle_file_of_a_kit_is_taken_for_the_kit(house: House) -> None:
    kit = house.kit()

    assert house.verify(locate_kit(kit.bundle)) == house.verify(kit)


def test_another_file_of_a_kit_is_not_verified_in_its_name(house: House) -> None:
    kit = house.kit()
    other = kit.folder / "another.tar.gz"
    shutil.copyfile(kit.bundle, other)

    with pytest.raises(BundleError) as caught:
        house.verify(locate_kit(other))

    assert (caught.value.exit_status, caught.value.reference) == (10, "bundle-not-signed")
