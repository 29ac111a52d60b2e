"""What an image needs in the registry is worked out from its own documents."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest

from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.errors import BundleError
from teraferry.bundles.image_plan import MAX_DOCUMENT_DEPTH, ImagePlan, plan_image
from teraferry.bundles.manifest import Image
from tests.fakes.memory_bundle import INDEX_TYPE, MANIFEST_TYPE, MemoryReader, make_bundle, noise

LAYERS = [noise(1000, seed=1), noise(2000, seed=2)]


def plan(image: Image, reader: MemoryReader, read: Callable[[Digest], bytes] | None = None) -> ImagePlan:
    lengths = {digest: len(content) for digest, content in reader.blobs.items()}
    return plan_image(image, tag="4.2.0", lengths=lengths, read_document=read or reader.blobs.__getitem__)


def one_image(platforms: tuple[str, ...] = ("linux/amd64",)) -> tuple[Image, MemoryReader]:
    bundle = make_bundle({"terachat/api": LAYERS}, platforms=platforms)
    return bundle.manifest.images[0], bundle.reader


def refusal(image: Image, reader: MemoryReader, read: Callable[[Digest], bytes] | None = None) -> BundleError:
    with pytest.raises(BundleError) as bad:
        plan(image, reader, read)
    assert bad.value.exit_status == 10
    assert bad.value.facts["image"] == "terachat/api"
    return bad.value


def wrap(reader: MemoryReader, image: Image, document: dict[str, object]) -> Image:
    """Return ``image`` with another top document."""
    return msgspec.structs.replace(image, digest=reader.add(json.dumps(document).encode()), platforms=())


def test_plan_of_an_image_names_config_and_layers_with_their_lengths() -> None:
    image, reader = one_image()
    platform = image.platforms[0]

    found = plan(image, reader)

    assert found.blobs == {digest: len(reader.blobs[digest]) for digest in (platform.config, *platform.layers)}
    assert (found.repository, found.tag, found.top.digest) == ("terachat/api", "4.2.0", image.digest)


def test_plan_of_an_index_pushes_children_before_it() -> None:
    image, reader = one_image(("linux/amd64", "linux/arm64"))

    documents = plan(image, reader).documents

    assert [document.digest for document in documents] == [
        *[platform.manifest for platform in image.platforms],
        image.digest,
    ]
    assert [document.media_type for document in documents] == [MANIFEST_TYPE, MANIFEST_TYPE, INDEX_TYPE]


def test_plan_refuses_a_layer_that_the_bundle_does_not_hold() -> None:
    image, reader = one_image()
    del reader.blobs[digest_of(LAYERS[1])]

    bad = refusal(image, reader)

    assert bad.reference == "blob-missing-in-bundle"
    assert digest_of(LAYERS[1]) in str(bad.facts["found"])


def test_plan_refuses_a_manifest_that_the_bundle_does_not_hold() -> None:
    image, reader = one_image(("linux/amd64", "linux/arm64"))
    del reader.blobs[image.platforms[1].manifest]

    assert refusal(image, reader).reference == "blob-missing-in-bundle"


def test_plan_refuses_a_document_that_is_not_its_digest() -> None:
    image, reader = one_image()

    bad = refusal(image, reader, lambda digest: reader.blobs[digest] + b" ")

    assert bad.reference == "blob-digest-wrong"


def test_plan_refuses_a_size_that_is_not_the_blobs() -> None:
    image, reader = one_image()
    document = json.loads(reader.blobs[image.digest])
    document["layers"][0]["size"] += 1

    assert refusal(wrap(reader, image, document), reader).reference == "image-disagrees"


@pytest.mark.parametrize("field", ["config", "manifest", "layers"])
def test_plan_refuses_an_image_whose_bundle_manifest_names_what_its_documents_do_not(field: str) -> None:
    image, reader = one_image()
    stranger = reader.add(b"stranger")
    platform = msgspec.structs.replace(image.platforms[0], **{field: (stranger,) if field == "layers" else stranger})

    assert refusal(msgspec.structs.replace(image, platforms=(platform,)), reader).reference == "image-disagrees"


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"\xff", b'{"config": 3}', b'{"manifests": [{"digest": "sha256:xyz", "size": 3}]}'],
)
def test_plan_refuses_a_document_that_is_no_image(content: bytes) -> None:
    image, reader = one_image()
    broken = msgspec.structs.replace(image, digest=reader.add(content), platforms=())

    assert refusal(broken, reader).reference == "image-malformed"


@pytest.mark.parametrize("extra", [0, 1])
def test_plan_follows_indexes_to_its_depth_and_no_further(extra: int) -> None:
    image, reader = one_image()
    for _ in range(MAX_DOCUMENT_DEPTH - 1 + extra):
        child = {"mediaType": MANIFEST_TYPE, "digest": image.digest, "size": len(reader.blobs[image.digest])}
        image = wrap(reader, image, {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [child]})

    if extra:
        assert refusal(image, reader).reference == "image-malformed"
    else:
        assert len(plan(image, reader).documents) == MAX_DOCUMENT_DEPTH


def test_plan_pushes_a_manifest_that_two_index_rows_name_once() -> None:
    image, reader = one_image()
    child = {"mediaType": MANIFEST_TYPE, "digest": image.digest, "size": len(reader.blobs[image.digest])}
    doubled = wrap(reader, image, {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [child, child]})

    assert len(plan(doubled, reader).documents) == 2
