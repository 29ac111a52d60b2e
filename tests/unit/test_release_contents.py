"""A few kB prove what gigabytes hold: each link of the chain from the targets to ``bundle.json`` is checked."""

from __future__ import annotations

from base64 import b64decode

import pytest
from tuf.api.metadata import Targets

from teraferry.builder.kit import Kit
from teraferry.builder.release_ledger import read_record
from teraferry.bundles.errors import BundleError
from teraferry.keys.release.contents import read_contents
from teraferry.keys.release.record import ReleaseRecord
from teraferry.keys.tuf_metadata import parse_metadata
from tests.lab.house import House


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house")).open()


@pytest.fixture(scope="module")
def kit(house: House) -> Kit:
    return house.kit()


def targets_of(kit: Kit) -> Targets:
    content = (kit.folder / "metadata" / "targets.json").read_bytes()
    return parse_metadata(Targets, content, what="targets.json").signed


def record_of(kit: Kit) -> ReleaseRecord:
    return read_record(
        kit, parse_metadata(Targets, (kit.folder / "metadata/targets.json").read_bytes(), what="targets")
    )


def refused(targets: Targets, record: ReleaseRecord) -> object:
    with pytest.raises(BundleError) as caught:
        read_contents(targets, index=b64decode(record.index), manifest=record.manifest.encode())
    assert caught.value.reference == "contents-not-signed"
    return caught.value.facts["what"]


def test_what_is_signed_is_read(kit: Kit) -> None:
    record = record_of(kit)

    contents = read_contents(targets_of(kit), index=b64decode(record.index), manifest=record.manifest.encode())

    assert (contents.bundle.version, contents.manifest.release.version) == ("1.0.0", "1.0.0")
    assert set(contents.files) == {"START-HERE.html", "teraferry-installer", kit.bundle.name}


def test_an_index_of_another_bundle_of_the_same_length_is_refused(house: House, kit: Kit) -> None:
    other = house.build(name="other", blobs=(b"blab",))
    house.sign(other, "release-1", "release-2")

    assert refused(targets_of(kit), record_of(other)) == "the index range"


def test_an_index_that_does_not_end_with_the_bundle_is_refused(kit: Kit) -> None:
    targets = targets_of(kit)
    targets.targets[kit.bundle.name].length += 1

    assert refused(targets, record_of(kit)) == "the end of the bundle"


def test_a_manifest_that_reads_the_same_but_was_not_packed_is_refused(kit: Kit) -> None:
    record = record_of(kit)
    spaced = ReleaseRecord(format=1, targets=record.targets, index=record.index, manifest=record.manifest + " ")

    assert refused(targets_of(kit), spaced) == "bundle.json"


@pytest.mark.parametrize(("field", "value"), [("product", "other"), ("version", "1.0.1")])
def test_a_manifest_of_another_release_is_refused(kit: Kit, field: str, value: str) -> None:
    targets = targets_of(kit)
    target = targets.targets.pop(kit.bundle.name)
    target.unrecognized_fields["custom"]["teraferry"][field] = value
    facts = target.unrecognized_fields["custom"]["teraferry"]
    targets.targets[f"{facts['product']}-{facts['version']}.tar.gz"] = target

    assert refused(targets, record_of(kit)) == f"the {field}"
