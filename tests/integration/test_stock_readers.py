"""Tools that are not ours read the bundle, and what they write is a source: tar, gzip, skopeo, podman."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from teraferry.builder.describe import describe_bundle
from teraferry.builder.sources.docker_archive import resolve_archive
from teraferry.builder.sources.oci_layout import resolve_layout
from teraferry.bundles.manifest import Manifest
from tests.lab.builds import full_project, locked, teraferry
from tests.lab.images import every_blob_is_itself, make_docker_archive, make_oci_layout

NAMES = ("api", "arm", "multi", "new", "web")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with an image of every kind and two files; read only."""
    folder = tmp_path_factory.mktemp("stock")
    answer = teraferry("build", locked(full_project(folder / "project")), "-o", folder / "kit")
    if answer.status:
        raise AssertionError(answer.stderr)
    return Path(answer.result["bundle"])


@pytest.fixture(scope="module")
def manifest(bundle: Path) -> Manifest:
    return describe_bundle(bundle).manifest


class Podman:
    """A podman with a store of its own."""

    def __init__(self, folder: Path, *, run_root: Path) -> None:
        # Its locks would lie in the machine's shared memory otherwise.
        (folder / "containers.conf").write_text('[engine]\nlock_type = "file"\n')
        self._environment = {**os.environ, "CONTAINERS_CONF": str(folder / "containers.conf")}
        # Without cgroups or overlay, as in a container of a test machine; images only, nothing is run.
        self._argv = [
            "podman",
            f"--root={folder / 'store'}",
            f"--runroot={run_root}",
            f"--tmpdir={folder / 'tmp'}",
            "--storage-driver=vfs",
        ]

    def run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        return run(*self._argv, *arguments, stdin=stdin, environment=self._environment)


def run(*argv: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> bytes:
    done = subprocess.run(argv, input=stdin, capture_output=True, env=environment, timeout=120)
    if done.returncode:
        raise AssertionError(f"{argv}: {done.returncode}\n{done.stderr.decode(errors='replace')}")
    return done.stdout


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Podman]:
    # podman takes no runroot longer than 50 characters, and a test's own folder often is.
    with tempfile.TemporaryDirectory(prefix="podman") as short:
        stock = Podman(tmp_path, run_root=Path(short))
        yield stock
        stock.run("rmi", "--all", "--force")


def copied_manifest(folder: Path) -> tuple[dict[str, Any], bytes]:
    content = (folder / "manifest.json").read_bytes()
    return json.loads(content), content


def test_gzip_finds_no_fault(bundle: Path) -> None:
    run("gzip", "-t", str(bundle))


def test_tar_lists_every_entry(bundle: Path) -> None:
    names = run("tar", "tzf", str(bundle)).decode().splitlines()

    assert names[:4] == ["oci-layout", "index.json", "manifest.json", "bundle.json"]
    assert names[-1] == "bundle.index.json"
    assert len(names) == len(set(names))


def test_tar_unpacks_every_file_to_its_digest(bundle: Path, tmp_path: Path) -> None:
    run("tar", "xzf", str(bundle), "-C", str(tmp_path))

    sums = "".join(f"{path.name}  {path}\n" for path in sorted((tmp_path / "blobs/sha256").iterdir()))
    run("sha256sum", "--check", "--strict", "--quiet", "-", stdin=sums.encode())


@pytest.mark.parametrize("name", NAMES)
def test_skopeo_copies_each_image_by_name(bundle: Path, manifest: Manifest, tmp_path: Path, name: str) -> None:
    run("skopeo", "copy", "--quiet", f"oci-archive:{bundle}:terachat/{name}:4.2.0", f"dir:{tmp_path / 'out'}")

    image = next(image for image in manifest.images if image.name == f"terachat/{name}")
    copied, _ = copied_manifest(tmp_path / "out")
    assert copied["config"]["digest"] in {platform.config for platform in image.platforms}


def test_skopeo_copies_every_platform_with_the_signed_digest(bundle: Path, manifest: Manifest, tmp_path: Path) -> None:
    reference = f"oci-archive:{bundle}:terachat/multi:4.2.0"
    run("skopeo", "copy", "--quiet", "--all", "--preserve-digests", reference, f"dir:{tmp_path / 'out'}")

    image = next(image for image in manifest.images if image.name == "terachat/multi")
    _, content = copied_manifest(tmp_path / "out")
    (tmp_path / "top.json").write_bytes(content)
    assert run("skopeo", "manifest-digest", str(tmp_path / "top.json")).decode().strip() == image.digest


def test_skopeo_inspects_an_image_and_sees_its_layers(bundle: Path, manifest: Manifest) -> None:
    shown = json.loads(run("skopeo", "inspect", f"oci-archive:{bundle}:terachat/web:4.2.0"))

    image = next(image for image in manifest.images if image.name == "terachat/web")
    assert shown["Digest"] == image.digest
    assert shown["Layers"] == list(image.platforms[0].layers)


def test_skopeo_reads_the_docker_manifest_once_gunzipped(bundle: Path, manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "plain.tar").write_bytes(gzip.decompress(bundle.read_bytes()))

    shown = run("skopeo", "inspect", "--config", "--raw", f"docker-archive:{tmp_path / 'plain.tar'}:terachat/web:4.2.0")

    image = next(image for image in manifest.images if image.name == "terachat/web")
    (tmp_path / "config.json").write_bytes(shown)
    assert run("sha256sum", str(tmp_path / "config.json")).split()[0].decode() in image.platforms[0].config


def test_podman_loads_every_image_under_its_name(bundle: Path, manifest: Manifest, podman: Podman) -> None:
    podman.run("load", stdin=gzip.decompress(bundle.read_bytes()))

    listed = json.loads(podman.run("images", "--format=json"))
    loaded = {name.removeprefix("localhost/"): f"sha256:{row['Id']}" for row in listed for name in row["Names"]}
    assert set(loaded) == {f"terachat/{name}:4.2.0" for name in NAMES}
    for image in manifest.images:
        assert loaded[f"{image.name}:4.2.0"] in {platform.config for platform in image.platforms}


def test_archive_that_skopeo_writes_is_a_source_with_the_same_image_id(tmp_path: Path) -> None:
    make_oci_layout(tmp_path / "images", "api")
    run("skopeo", "copy", "--quiet", f"oci:{tmp_path / 'images'}:api", f"docker-archive:{tmp_path / 'api.tar'}:api:1")

    image = resolve_archive(tmp_path / "api.tar", "api:1", platforms=(), what="image api")

    assert every_blob_is_itself(image)
    with tarfile.open(tmp_path / "api.tar") as tar:
        config = json.loads(tar.extractfile("manifest.json").read())[0]["Config"]  # type: ignore[union-attr]
    assert image.platforms[0].manifest.config.digest == "sha256:" + config.removesuffix(".json")


def test_layout_that_skopeo_writes_is_a_source_with_the_same_digest(tmp_path: Path) -> None:
    digest = make_oci_layout(tmp_path / "images", "multi", platforms=("linux/amd64", "linux/arm64"))
    source, copy = f"oci:{tmp_path / 'images'}:multi", f"oci:{tmp_path / 'copy'}:terachat/api:1"
    run("skopeo", "copy", "--quiet", "--all", "--preserve-digests", source, copy)

    image = resolve_layout(tmp_path / "copy", "terachat/api:1", platforms=(), what="image api")

    assert (image.top.digest, every_blob_is_itself(image)) == (digest, True)


def test_archive_that_podman_saves_is_a_source(tmp_path: Path, podman: Podman) -> None:
    make_docker_archive(tmp_path / "a.tar", ["saved:1"])
    podman.run("load", stdin=(tmp_path / "a.tar").read_bytes())
    for kind in ("docker-archive", "oci-archive"):
        podman.run("save", "--quiet", f"--format={kind}", f"--output={tmp_path / kind}", "localhost/saved:1")

    images = [
        resolve_archive(tmp_path / kind, "", platforms=("linux/amd64",), what="image saved")
        for kind in ("docker-archive", "oci-archive")
    ]

    assert [every_blob_is_itself(image) for image in images] == [True, True]
