"""``rollout`` relies on what is in the registry: every manifest and blob of every image, and nothing by its tag."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.image_plan import plan_images
from teraferry.bundles.progress import Silent
from teraferry.installer.images.load import load_images
from teraferry.installer.images.loaded import require_loaded
from tests.fakes.memory_bundle import MemoryBundle, make_bundle, noise
from tests.fakes.registry import FakeRegistry

LAYERS: dict[str, Iterable[bytes]] = {
    "terachat/api": [noise(1000, seed=1)],
    "terachat/web": [noise(1000, seed=1), noise(500, seed=2)],
}


@pytest.fixture
def bundle() -> MemoryBundle:
    return make_bundle(LAYERS, platforms=("linux/amd64", "linux/arm64"))


@pytest.fixture
def registry(bundle: MemoryBundle) -> FakeRegistry:
    made = FakeRegistry()
    load_images(bundle, made, jobs=1, progress=Silent())
    return made


def test_everything_that_is_there_is_what_a_load_would_skip(bundle: MemoryBundle, registry: FakeRegistry) -> None:
    found = require_loaded(bundle, registry)

    assert found == load_images(bundle, registry, jobs=1, progress=Silent())
    assert found.loaded_bytes == 0


def test_nothing_is_written_by_looking(bundle: MemoryBundle, registry: FakeRegistry) -> None:
    registry.calls.clear()

    require_loaded(bundle, registry)

    assert {call[0] for call in registry.calls} == {"get_manifest", "has_blob"}


def test_bundle_without_images_needs_nothing() -> None:
    assert require_loaded(make_bundle({}), FakeRegistry()).tags == ()


def test_every_part_that_is_missing_or_another_refuses(bundle: MemoryBundle, registry: FakeRegistry) -> None:
    images = plan_images(bundle.manifest, bundle.reader)
    for image in images:
        for document in image.documents:
            place = (image.repository, document.digest)
            content = registry.manifests.pop(place)
            require_refusal(bundle, registry, image.repository)
            registry.manifests[place] = content + b" "
            require_refusal(bundle, registry, image.repository)
            registry.manifests[place] = content
        for digest in image.blobs:
            registry.links.remove((image.repository, digest))
            require_refusal(bundle, registry, image.repository)
            registry.links.add((image.repository, digest))
            content = registry.content[digest]
            registry.content[digest] = content[:-1]
            require_refusal(bundle, registry, *(each.repository for each in images if digest in each.blobs))
            registry.content[digest] = content
    require_loaded(bundle, registry)


def require_refusal(bundle: MemoryBundle, registry: FakeRegistry, *images: str) -> None:
    with pytest.raises(RefusedError) as refused:
        require_loaded(bundle, registry)
    assert (refused.value.reference, refused.value.exit_status) == ("images-not-loaded", 40)
    assert refused.value.facts["images"] == sorted(images)
