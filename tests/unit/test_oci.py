"""OCI documents are encoded in one way and read with what later specifications may add."""

from __future__ import annotations

import json

import pytest

from teraferry.bundles import oci
from teraferry.bundles.errors import BundleError
from teraferry.bundles.limits import MAX_IMAGE_MANIFEST_BYTES

DIGEST = "sha256:" + "1" * 64


def descriptor(media_type: str = oci.OCI_LAYER_TYPE) -> oci.Descriptor:
    return oci.Descriptor(media_type=media_type, digest=DIGEST, size=7)


def manifest(*layer_types: str, config_type: str = oci.OCI_CONFIG_TYPE) -> oci.ImageManifest:
    layers = tuple(descriptor(kind) for kind in layer_types)
    return oci.ImageManifest(schema_version=2, config=descriptor(config_type), layers=layers)


def test_manifest_with_fields_of_a_later_specification_is_read() -> None:
    content = oci.encode_image_manifest(descriptor(oci.OCI_CONFIG_TYPE), [descriptor()])
    later = json.dumps(json.loads(content) | {"subject": None, "novelty": [1]}).encode()

    parsed = oci.parse_document(later, oci.ImageManifest, what="manifest")

    assert parsed.layers == (descriptor(),)


def test_document_at_the_limit_is_read_and_one_byte_more_is_refused() -> None:
    content = oci.encode_index([])
    at_limit = content + b" " * (MAX_IMAGE_MANIFEST_BYTES - len(content))

    assert oci.parse_document(at_limit, oci.ImageIndex, what="index").manifests == ()
    with pytest.raises(BundleError) as caught:
        oci.parse_document(at_limit + b" ", oci.ImageIndex, what="index")
    assert caught.value.reference == "image-malformed"


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_document_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError) as caught:
        oci.parse_document(content, oci.ImageManifest, what="manifest")

    assert (caught.value.reference, caught.value.exit_status) == ("image-malformed", 10)


def test_artifact_has_the_empty_config_of_the_specification() -> None:
    artifact = json.loads(oci.encode_artifact(oci.FILE_ARTIFACT_TYPE, descriptor(oci.OCTETS_TYPE), title="bin/weed"))

    assert artifact["config"]["digest"] == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert artifact["artifactType"] == oci.FILE_ARTIFACT_TYPE
    assert artifact["layers"][0]["annotations"] == {oci.TITLE: "bin/weed"}


@pytest.mark.parametrize(
    ("found", "readable"),
    [
        (manifest(oci.OCI_LAYER_TYPE, oci.OCI_LAYER_TYPE + "+gzip"), True),
        (manifest("application/vnd.docker.image.rootfs.diff.tar.gzip", config_type=oci.DOCKER_CONFIG_TYPE), True),
        (manifest(oci.OCI_LAYER_TYPE + "+zstd"), False),
        (manifest("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"), False),
        (manifest(oci.OCI_LAYER_TYPE, config_type="application/vnd.cncf.helm.config.v1+json"), False),
    ],
)
def test_docker_is_shown_only_what_it_reads(found: oci.ImageManifest, readable: bool) -> None:
    assert oci.is_docker_readable(found) is readable


def test_platform_is_said_with_its_variant() -> None:
    assert oci.Platform(os="linux", architecture="arm64", variant="v8").text() == "linux/arm64/v8"
