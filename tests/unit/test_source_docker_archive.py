"""Images from ``docker save`` are found in both of its forms, without a byte leaving the archive's bounds."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from teraferry.builder.sources.docker_archive import resolve_archive
from teraferry.builder.sources.image import ResolvedImage
from teraferry.bundles import oci
from teraferry.bundles.errors import BuildError
from tests.lab.images import every_blob_is_itself, layer_tar, make_docker_archive


def from_archive(archive: Path, reference: str = "", *platforms: str) -> ResolvedImage:
    return resolve_archive(archive, reference, platforms=platforms, what="image test")


def refused_archive(archive: Path, reference: str = "", *platforms: str) -> BuildError:
    with pytest.raises(BuildError) as caught:
        from_archive(archive, reference, *platforms)
    assert caught.value.exit_status == 30
    return caught.value


def rewrite_tar(archive: Path, members: dict[str, bytes | tarfile.TarInfo]) -> None:
    with tarfile.open(archive, "w") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def members_of(archive: Path) -> dict[str, bytes | tarfile.TarInfo]:
    found: dict[str, bytes | tarfile.TarInfo] = {}
    with tarfile.open(archive) as tar:
        for entry in tar:
            file = tar.extractfile(entry) if entry.isreg() else None
            found[entry.name] = file.read() if file else entry
    return found


def test_old_archive_keeps_the_image_id_and_its_layers_are_plain(tmp_path: Path) -> None:
    image_id = make_docker_archive(tmp_path / "a.tar", ["terachat/web:1"])

    image = from_archive(tmp_path / "a.tar")

    manifest = image.platforms[0].manifest
    assert manifest.config.digest == image_id
    assert {layer.media_type for layer in manifest.layers} == {oci.OCI_LAYER_TYPE}
    assert every_blob_is_itself(image)


def test_old_archive_gives_the_same_manifest_from_another_place(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    make_docker_archive(tmp_path / "a.tar", ["one:1"])
    make_docker_archive(tmp_path / "x" / "b.tar", ["other:2"])

    assert from_archive(tmp_path / "a.tar").top.digest == from_archive(tmp_path / "x" / "b.tar").top.digest


def test_old_archive_with_a_linked_layer_is_read_inside_the_archive(tmp_path: Path) -> None:
    make_docker_archive(tmp_path / "a.tar", ["terachat/web:1"], linked_layer=True)

    image = from_archive(tmp_path / "a.tar")

    layers = image.platforms[0].manifest.layers
    assert (len(layers), layers[0]) == (3, layers[2])
    assert every_blob_is_itself(image)


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../etc/passwd"])
def test_layer_that_links_to_a_file_outside_the_archive_is_refused(tmp_path: Path, target: str) -> None:
    archive = tmp_path / "a.tar"
    make_docker_archive(archive, ["terachat/web:1"], linked_layer=True)
    members = members_of(archive)
    for entry in members.values():
        if isinstance(entry, tarfile.TarInfo):
            entry.linkname = target
    rewrite_tar(archive, members)

    assert refused_archive(archive).reference == "source-malformed"


def test_archive_is_chosen_from_by_the_name_docker_shortens(tmp_path: Path) -> None:
    make_docker_archive(tmp_path / "a.tar", ["web:latest"])

    found = {
        from_archive(tmp_path / "a.tar", name).top.digest for name in ("web", "web:latest", "docker.io/library/web")
    }

    assert len(found) == 1
    assert refused_archive(tmp_path / "a.tar", "web:2").facts["found"] == ["web:latest"]


def test_docker_25_archive_keeps_the_digest_docker_gave(tmp_path: Path) -> None:
    image_id = make_docker_archive(tmp_path / "a.tar", ["terachat/new:1", "terachat/too:2"], form="docker-25")

    image = from_archive(tmp_path / "a.tar", "terachat/too:2")

    assert image.platforms[0].manifest.config.digest == image_id
    assert image.top.digest == from_archive(tmp_path / "a.tar").top.digest
    assert json.loads(members_of(tmp_path / "a.tar")["index.json"])["manifests"][0]["digest"] == image.top.digest  # type: ignore[arg-type]
    assert every_blob_is_itself(image)


def test_archive_with_gzipped_layers_names_them_as_they_are(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    make_docker_archive(archive, ["a:1"], [layer_tar({"a": b"x" * 5000})])
    packed = {
        name: gzip.compress(content, mtime=0) if name.endswith("layer.tar") and isinstance(content, bytes) else content
        for name, content in members_of(archive).items()
    }
    rewrite_tar(archive, packed)

    image = from_archive(archive)

    assert image.platforms[0].manifest.layers[0].media_type == oci.OCI_LAYER_TYPE + "+gzip"
    assert every_blob_is_itself(image)


def test_compressed_archive_is_refused_with_the_command_that_unpacks_it(tmp_path: Path) -> None:
    make_docker_archive(tmp_path / "a.tar", ["a:1"])
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))

    error = refused_archive(tmp_path / "a.tar.gz")

    assert (error.reference, error.facts["found"]) == ("source-compressed", "gzip")
    assert "gzip -d" in error.hint


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_archive_that_was_cut_is_refused(tmp_path: Path, kept: float) -> None:
    archive = tmp_path / "a.tar"
    make_docker_archive(archive, ["a:1"])
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * kept)])

    assert refused_archive(archive).reference == "source-malformed"


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100])
def test_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)

    assert refused_archive(tmp_path / "a.tar").reference == "source-malformed"


def test_archive_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refused_archive(tmp_path / "a.tar").reference == "source-not-found"


def test_archive_whose_config_counts_other_layers_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    make_docker_archive(archive, ["a:1"])
    members = members_of(archive)
    docker = json.loads(members["manifest.json"])  # type: ignore[arg-type]
    docker[0]["Layers"].pop()
    members["manifest.json"] = json.dumps(docker).encode()
    rewrite_tar(archive, members)

    assert refused_archive(archive).reference == "source-malformed"


def test_archive_is_held_to_the_platforms_asked_for(tmp_path: Path) -> None:
    make_docker_archive(tmp_path / "a.tar", ["a:1"])

    assert refused_archive(tmp_path / "a.tar", "", "linux/arm64").reference == "source-platform-missing"
