"""A manifest is believed only about what the bundle holds."""

from __future__ import annotations

import msgspec
import pytest

from teraferry.bundles.errors import BundleError
from teraferry.bundles.manifest import Chart, File, Manifest
from teraferry.bundles.manifest_check import require_held
from tests.fakes.memory_bundle import MemoryBundle, make_bundle, noise

PROGRAM = b"a program"


def bundle_with(kind: str, *, length_bytes: int = len(PROGRAM)) -> MemoryBundle:
    """Return a bundle of one image and one file or chart."""
    bundle = make_bundle({"terachat/api": [noise(1000, seed=1)]})
    digest = bundle.reader.add(PROGRAM)
    held: dict[str, tuple[File | Chart, ...]] = {
        "files": (File(name="bin/weed", mode="0755", digest=digest, length_bytes=length_bytes),),
        "charts": (Chart(name="web.tgz", digest=digest, length_bytes=length_bytes),),
    }
    bundle.manifest = msgspec.structs.replace(bundle.manifest, **{kind: held[kind]})
    return bundle


def refusal(manifest: Manifest, bundle: MemoryBundle) -> BundleError:
    with pytest.raises(BundleError) as caught:
        require_held(manifest, bundle.reader, file="demo.tar.gz")
    assert caught.value.exit_status == 10
    return caught.value


@pytest.mark.parametrize("kind", ["files", "charts"])
def test_manifest_that_names_what_is_there_passes(kind: str) -> None:
    bundle = bundle_with(kind)

    require_held(bundle.manifest, bundle.reader, file="demo.tar.gz")


@pytest.mark.parametrize("kind", ["files", "charts"])
def test_manifest_that_names_an_absent_blob_is_refused(kind: str) -> None:
    bundle = bundle_with(kind)
    del bundle.reader.blobs[getattr(bundle.manifest, kind)[0].digest]

    assert refusal(bundle.manifest, bundle).reference == "entry-missing"


@pytest.mark.parametrize("kind", ["files", "charts"])
@pytest.mark.parametrize("difference", [-1, 1])
def test_manifest_that_gives_another_length_is_refused(kind: str, difference: int) -> None:
    bundle = bundle_with(kind, length_bytes=len(PROGRAM) + difference)

    assert refusal(bundle.manifest, bundle).reference == "manifest-disagrees"


def test_manifest_whose_image_lacks_a_layer_is_refused() -> None:
    bundle = bundle_with("files")
    del bundle.reader.blobs[bundle.manifest.images[0].platforms[0].layers[0]]

    assert refusal(bundle.manifest, bundle).reference == "blob-missing-in-bundle"
