"""Peak memory does not grow with the bundle: VmHWM of the whole process tree, small and large.

The large size needs twice itself on disk for a while. All of it is removed again, whatever happened: ``/tmp`` may
be memory, and a test that fails for want of room must not take the room of the next one.

``TERAFERRY_MEMORY_BYTES`` sets the large size. ``scripts/prove`` measures 4 GiB and an entry above 8 GiB.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from teraferry.bundles.digest import digest_of, hex_of
from teraferry.bundles.system.clock import now_utc
from tests.e2e.tree_memory import Measured, run_measured
from tests.lab.house import House
from tests.lab.registry import LabRegistry

pytestmark = [pytest.mark.real, pytest.mark.timeout(3600)]

SMALL_BYTES = 64 * 1024**2
LARGE_BYTES = int(os.environ.get("TERAFERRY_MEMORY_BYTES", str(1024**3)))
MAY_DIFFER_BYTES = 20 * 1024**2
PIECE_BYTES = 4 * 1024**2

BUILDER = (sys.executable, "-m", "teraferry.builder.cli")
INSTALLER = (sys.executable, "-m", "teraferry.installer.cli")

SITE = """\
[site]
name = "memory"
tier = "1"

[registry]
url = "{url}"
ca = "{ca}"
credentials = {{ user = "{user}", password_file = "{password}" }}

[cluster]
engine = "seaweedfs"
masters = ["127.0.0.1:9333"]

[[node]]
name = "master-1"
role = "master"
address = "127.0.0.1:9333"
transport = {{ local = true }}

[[node]]
name = "vol-1"
role = "volume"
address = "127.0.0.1:8080"
transport = {{ local = true }}
"""


def write_noise(path: Path, length_bytes: int) -> None:
    """Write bytes that do not compress and do not repeat: one random piece, with a number on each copy."""
    piece = os.urandom(PIECE_BYTES - 8)
    with path.open("wb") as sink:
        for number in range(length_bytes // PIECE_BYTES):
            sink.write(number.to_bytes(8, "big") + piece)


def write_layout(folder: Path, length_bytes: int) -> None:
    """Write an OCI layout whose one layer has ``length_bytes``; the bytes claim to be compressed already."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    write_noise(blobs / "layer", length_bytes)
    with (blobs / "layer").open("rb") as layer_file:
        digits = hashlib.file_digest(layer_file, "sha256").hexdigest()
    (blobs / "layer").rename(blobs / digits)

    def add(document: dict[str, object], kind: str) -> dict[str, object]:
        content = json.dumps(document).encode()
        digest = digest_of(content)
        (blobs / hex_of(digest)).write_bytes(content)
        return {
            "mediaType": f"application/vnd.oci.image.{kind}+json",
            "digest": digest,
            "size": len(content),
        }

    layer = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": f"sha256:{digits}",
        "size": length_bytes,
    }
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{digits}"]}
    config = add({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}, "config.v1")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}
    top = add({**manifest, "config": config, "layers": [layer]}, "manifest.v1")
    top["annotations"] = {"org.opencontainers.image.ref.name": "big"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


@dataclass
class Peaks:
    """What each command took at one size."""

    taken: dict[str, Measured] = field(default_factory=dict)


def measure(folder: Path, length_bytes: int) -> Peaks:
    """Build, sign, verify and load a kit of ``length_bytes``, each command measured; leaves nothing."""
    folder.mkdir()
    try:
        return measure_in(folder, length_bytes)
    finally:
        shutil.rmtree(folder)


def measure_in(folder: Path, length_bytes: int) -> Peaks:
    peaks = Peaks()
    project, kit, state = folder / "project", folder / "kit", folder / "state"
    project.mkdir()
    write_layout(project / "images", length_bytes)
    (project / "release.toml").write_text(
        '[release]\nproduct = "demo"\nversion = "1.0.0"\n[[image]]\nname = "demo/big"\nsource = "oci:images:big"\n'
    )
    (project / "teraferry-installer").write_bytes(b"#!/bin/sh\n")
    run_measured([*BUILDER, "lock", str(project)])
    build = [*BUILDER, "build", str(project), "-o", str(kit), "--installer", str(project / "teraferry-installer")]
    peaks.taken["build"] = run_measured(build)
    shutil.rmtree(project / "images")
    house = House(folder / "house").open(now=now_utc())
    from teraferry.builder.kit import locate_kit

    house.sign(locate_kit(kit), "release-1", "release-2", now=now_utc())
    fingerprint = house.judge(locate_kit(kit), now=now_utc()).fingerprint
    with LabRegistry(folder / "registry") as registry:
        site = folder / "site.toml"
        site.write_text(
            SITE.format(url=registry.url, ca=registry.ca_file, user=registry.user, password=registry.password_file)
        )
        site.chmod(0o600)
        installer = [*INSTALLER, "--site", str(site), "--state", str(state)]
        root = str(kit / "metadata" / "1.root.json")
        run_measured([*installer, "trust", "pin", root, "--fingerprint", fingerprint])
        peaks.taken["verify"] = run_measured([*installer, "verify", str(kit)])
        peaks.taken["load"] = run_measured([*installer, "load", str(kit)], environment={"DEPLOYMENT_TIER": "1"})
    return peaks


@pytest.fixture(scope="module")
def peaks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Peaks, Peaks]:
    folder = tmp_path_factory.mktemp("memory")
    return measure(folder / "small", SMALL_BYTES), measure(folder / "large", LARGE_BYTES)


@pytest.mark.parametrize("command", ["build", "verify", "load"])
def test_peak_memory_does_not_grow_with_the_bundle(peaks: tuple[Peaks, Peaks], command: str) -> None:
    small, large = (size.taken[command] for size in peaks)
    print(f"{command}: {small} at {SMALL_BYTES >> 20} MiB, {large} at {LARGE_BYTES >> 20} MiB")

    assert abs(large.peak_bytes - small.peak_bytes) < MAY_DIFFER_BYTES
    assert large.peak_bytes <= 150 * 1024**2
