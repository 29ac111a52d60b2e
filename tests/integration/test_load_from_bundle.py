"""A bundle file as the builder writes it, read by the real reader, into a real registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from teraferry.bundles import layout
from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.archive_writer import write_archive
from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import BundleError
from teraferry.bundles.index import SignedBundle
from teraferry.bundles.manifest import encode_manifest
from teraferry.bundles.progress import Silent
from teraferry.installer.adapters.registry.distribution import open_registry
from teraferry.installer.adapters.registry.settings import RegistrySettings
from teraferry.installer.images.load import LoadReport, load_images
from tests.fakes.hostile_archive import HostileEntry, hostile_bundle
from tests.fakes.memory_bundle import MemoryBundle, ReadBundle, make_bundle, noise
from tests.fakes.small_bundle import signed_facts, sources_of
from tests.lab.registry import LabRegistry

LAYERS = [noise(11_000_000, seed=1), b"plain text, deflated in the bundle\n" * 40_000]


def write_bundle(path: Path, bundle: MemoryBundle) -> SignedBundle:
    documents = {layout.MANIFEST: encode_manifest(bundle.manifest)}
    with path.open("w+b") as file:
        sources = sources_of(bundle.reader.blobs.values(), documents)
        return signed_facts(write_archive(file, sources, jobs=2, mtime=0, progress=Silent()))


def load(path: Path, signed: SignedBundle, bundle: MemoryBundle, lab: LabRegistry) -> LoadReport:
    registry = open_registry(
        RegistrySettings(url=lab.url, ca=lab.ca_file, user=lab.user, password_file=lab.password_file), connections=3
    )
    try:
        with BundleReader(path, signed) as reader:
            return load_images(ReadBundle(bundle.manifest, reader), registry, jobs=3, progress=Silent())
    finally:
        registry.close()


def test_load_from_a_bundle_file_brings_its_layers_to_the_byte(tmp_path: Path) -> None:
    bundle = make_bundle({"terachat/api": LAYERS, "terachat/web": LAYERS[:1]})
    signed = write_bundle(tmp_path / "bundle.tar.gz", bundle)
    with LabRegistry(tmp_path / "registry") as lab:
        report = load(tmp_path / "bundle.tar.gz", signed, bundle, lab)

        assert report.tags == ("terachat/api:4.2.0", "terachat/web:4.2.0")
        for layer in LAYERS:
            assert lab.blob_file(digest_of(layer)).read_bytes() == layer


def test_load_from_a_bundle_damaged_after_it_was_verified_tags_nothing(tmp_path: Path) -> None:
    bundle = make_bundle({"terachat/api": LAYERS})
    path = tmp_path / "bundle.tar.gz"
    signed = write_bundle(path, bundle)
    content = bytearray(path.read_bytes())
    content[content.index(LAYERS[0][6_000_000:6_000_100])] ^= 1
    path.write_bytes(content)
    with LabRegistry(tmp_path / "registry") as lab:
        with pytest.raises(BundleError) as bad:
            load(path, signed, bundle, lab)

        assert (bad.value.reference, bad.value.exit_status) == ("chunk-digest-mismatch", 10)
        assert not lab.blob_file(digest_of(LAYERS[0])).exists()
        assert list((lab.folder / "storage").rglob("_manifests/tags/*")) == []


def test_load_of_a_signed_blob_that_is_not_its_digest_blames_the_bundle_and_tags_nothing(tmp_path: Path) -> None:
    bundle = make_bundle({"terachat/api": LAYERS})
    swapped = digest_of(LAYERS[0])
    contents = bundle.reader.blobs | {swapped: noise(len(LAYERS[0]), seed=2)}
    entries = [
        HostileEntry(name=layout.blob_name(digest), content=contents[digest], claimed_digest=digest)
        for digest in sorted(contents)
    ]
    path, signed = hostile_bundle(tmp_path, entries)
    with LabRegistry(tmp_path / "registry") as lab:
        with pytest.raises(BundleError) as bad:
            load(path, signed, bundle, lab)

        assert (bad.value.reference, bad.value.exit_status) == ("entry-digest-mismatch", 10)
        assert not lab.blob_file(swapped).exists()
        assert list((lab.folder / "storage").rglob("_manifests/tags/*")) == []
