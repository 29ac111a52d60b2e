"""Images in an OCI layout are kept byte for byte and refused when they are not whole; files are taken as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from teraferry.builder.sources.file import read_digest
from teraferry.builder.sources.image import ResolvedImage
from teraferry.builder.sources.oci_layout import resolve_layout
from teraferry.bundles import oci
from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import BuildError
from tests.lab.images import every_blob_is_itself, make_oci_layout, simple_layers

PLATFORMS = ("linux/amd64", "linux/arm64/v8")


def from_layout(folder: Path, tag: str = "", *platforms: str) -> ResolvedImage:
    return resolve_layout(folder, tag, platforms=platforms, what="image test")


def refused_layout(folder: Path, tag: str = "", *platforms: str) -> BuildError:
    with pytest.raises(BuildError) as caught:
        from_layout(folder, tag, *platforms)
    assert caught.value.exit_status == 30
    return caught.value


def test_layout_image_keeps_its_digest_and_hands_out_every_blob(tmp_path: Path) -> None:
    digest = make_oci_layout(tmp_path, "api")

    image = from_layout(tmp_path, "api")

    assert image.top.digest == digest
    assert [found.platform for found in image.platforms] == ["linux/amd64"]
    assert len(image.blobs) == 4  # manifest, config, two layers
    assert every_blob_is_itself(image)


def test_layout_with_one_image_needs_no_tag(tmp_path: Path) -> None:
    digest = make_oci_layout(tmp_path, "api")

    assert from_layout(tmp_path).top.digest == digest


def test_layout_with_two_images_and_no_tag_is_refused_and_names_both(tmp_path: Path) -> None:
    make_oci_layout(tmp_path, "api")
    make_oci_layout(tmp_path, "web", simple_layers(1, seed=7))

    error = refused_layout(tmp_path)

    assert (error.reference, error.facts["found"]) == ("source-tag-unknown", ["api", "web"])


def test_layout_without_the_tag_is_refused_and_names_what_there_is(tmp_path: Path) -> None:
    make_oci_layout(tmp_path, "api")

    error = refused_layout(tmp_path, "apy")

    assert (error.reference, error.facts["found"]) == ("source-tag-unknown", ["api"])


def test_folder_that_is_no_layout_is_refused(tmp_path: Path) -> None:
    assert refused_layout(tmp_path / "none").reference == "source-not-found"


def test_index_that_is_kept_whole_keeps_its_bytes_and_its_attestation(tmp_path: Path) -> None:
    digest = make_oci_layout(tmp_path, "multi", platforms=PLATFORMS, attestation=True)

    image = from_layout(tmp_path, "multi")

    assert image.top.digest == digest
    assert [found.platform for found in image.platforms] == [*PLATFORMS, "unknown/unknown"]
    assert every_blob_is_itself(image)


def test_index_narrowed_to_one_platform_gives_way_to_its_manifest(tmp_path: Path) -> None:
    whole = from_layout(tmp_path, "multi") if make_oci_layout(tmp_path, "multi", platforms=PLATFORMS) else None

    image = from_layout(tmp_path, "multi", "linux/arm64/v8")

    assert whole is not None
    assert image.top.digest == whole.platforms[1].descriptor.digest
    assert [found.platform for found in image.platforms] == ["linux/arm64/v8"]
    assert whole.top.digest not in image.blobs


def test_index_narrowed_to_several_platforms_lists_just_those(tmp_path: Path) -> None:
    make_oci_layout(tmp_path, "multi", platforms=PLATFORMS, attestation=True)

    image = from_layout(tmp_path, "multi", *PLATFORMS)

    with image.blobs[image.top.digest].open() as file:
        index = oci.parse_document(file.read(), oci.ImageIndex, what="index")
    assert [row.platform.text() for row in index.manifests if row.platform] == list(PLATFORMS)
    assert {row.digest for row in index.manifests} == {found.descriptor.digest for found in image.platforms}
    assert every_blob_is_itself(image)


def test_platform_that_is_not_there_is_refused_and_names_those_that_are(tmp_path: Path) -> None:
    make_oci_layout(tmp_path, "multi", platforms=PLATFORMS, attestation=True)

    error = refused_layout(tmp_path, "multi", "linux/amd64", "linux/s390x")

    assert error.reference == "source-platform-missing"
    assert (error.facts["missing"], error.facts["found"]) == (["linux/s390x"], list(PLATFORMS))


def test_platform_of_a_single_manifest_is_read_from_its_config(tmp_path: Path) -> None:
    make_oci_layout(tmp_path, "arm", platforms=["linux/arm64"])

    assert refused_layout(tmp_path, "arm", "linux/amd64").facts["found"] == ["linux/arm64"]


def test_layout_without_a_layer_is_refused(tmp_path: Path) -> None:
    make_oci_layout(tmp_path, "api")
    layer = from_layout(tmp_path).platforms[0].manifest.layers[0].digest
    (tmp_path / "blobs/sha256" / layer.removeprefix("sha256:")).unlink()

    error = refused_layout(tmp_path)

    assert (error.reference, error.facts["blob"]) == ("source-blob-missing", layer)


def test_layout_without_a_layer_of_another_platform_is_fine(tmp_path: Path) -> None:
    make_oci_layout(tmp_path, "multi", platforms=PLATFORMS)
    layer = from_layout(tmp_path).platforms[1].manifest.layers[-1].digest
    (tmp_path / "blobs/sha256" / layer.removeprefix("sha256:")).unlink()

    assert from_layout(tmp_path, "multi", "linux/amd64").platforms[0].platform == "linux/amd64"


def test_layout_with_a_shortened_layer_is_refused(tmp_path: Path) -> None:
    make_oci_layout(tmp_path, "api")
    layer = from_layout(tmp_path).platforms[0].manifest.layers[0].digest
    path = tmp_path / "blobs/sha256" / layer.removeprefix("sha256:")
    path.write_bytes(path.read_bytes()[:-1])

    assert refused_layout(tmp_path).reference == "source-blob-damaged"


def test_layout_with_a_changed_manifest_is_refused(tmp_path: Path) -> None:
    digest = make_oci_layout(tmp_path, "api")
    path = tmp_path / "blobs/sha256" / digest.removeprefix("sha256:")
    path.write_bytes(path.read_bytes().replace(b"2", b"3", 1))

    assert refused_layout(tmp_path).reference == "source-blob-damaged"


@pytest.mark.parametrize("content", [b"[]", b"{}", b"\xff", b'{"schemaVersion": 1, "manifests": []}'])
def test_layout_with_an_index_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    make_oci_layout(tmp_path, "api")
    (tmp_path / "index.json").write_bytes(content)

    assert refused_layout(tmp_path).reference == "source-malformed"


def test_layout_whose_index_names_a_path_instead_of_a_digest_is_refused(tmp_path: Path) -> None:
    make_oci_layout(tmp_path, "api")
    index = json.loads((tmp_path / "index.json").read_bytes())
    index["manifests"][0]["digest"] = "sha256:../../../etc/passwd"
    (tmp_path / "index.json").write_text(json.dumps(index))

    assert refused_layout(tmp_path).reference == "source-malformed"


def test_file_is_named_by_its_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello")

    blob = read_digest(tmp_path / "a", what="file a")

    assert (blob.digest, blob.length_bytes) == (digest_of(b"hello"), 5)


def test_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught:
        read_digest(tmp_path, what="file a")

    assert caught.value.reference == "source-not-found"
