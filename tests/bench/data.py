"""What the bench works on: images of layers that are compressed already, real plain files, kits signed for both.

Made anew for every run from seeds, so that nothing but the machine's own files differs between machines.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deflate

from teraferry.builder.kit import locate_kit
from tests.bench.measure import MIB, run_command
from tests.lab.house import House
from tests.lab.images import OCI, layer_tar, sha256

PRODUCT = "terachat"
BIN = Path(sys.executable).parent
LAYERS = 8  # in two images


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    layer_bytes: int
    plain_bytes: int
    many_pairs: int  # of what takes a second, and budgets near to what is measured
    pairs: int
    slow_pairs: int  # of what takes half a minute


FULL = Sizes(layer_bytes=64 * MIB, plain_bytes=160 * MIB, many_pairs=7, pairs=5, slow_pairs=3)
QUICK = Sizes(layer_bytes=4 * MIB, plain_bytes=16 * MIB, many_pairs=3, pairs=3, slow_pairs=1)


@dataclass(frozen=True, slots=True)
class SignedKit:
    """A kit and what of it the other tools are given."""

    folder: Path
    bundle: Path
    version: str
    images: tuple[str, ...]
    blobs: tuple[tuple[str, Path], ...]  # digest and file of every layer and config, for the raw push


class Workshop:
    """Makes layouts, projects and kits in one folder."""

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        self.folder = folder
        self.sizes = sizes
        self.house = House(folder / "keys", product=PRODUCT)

    def open(self) -> Workshop:
        """Found the trust and make the installer file that kits carry."""
        self.house.open()
        self.installer = self.folder / "teraferry-installer"
        root = self.house.folder / "trust" / "1.root.json"
        run_command([BIN / "teraferry", "freeze", "-o", self.installer, "--root", root])
        self.root = root
        # The installer is copied into the kit as well; the tools it is compared with pack images alone.
        self.tiny_installer.write_bytes(b"#!/bin/sh\n")
        return self

    def layout(self, name: str, *, changed: int = 0, layer_bytes: int | None = None, layers: int = LAYERS) -> Path:
        """Write an OCI layout of two images of gzip layers; ``changed`` gives the last layer other bytes."""
        folder = self.folder / f"layout-{name}"
        size = layer_bytes or self.sizes.layer_bytes
        half = max(1, layers // 2)
        for number, image in enumerate(("api", "web")[: 1 if layers == 1 else 2]):
            seeds = [number * half + at for at in range(half)]
            if changed and number:
                seeds[-1] += 1000 * changed
            write_image(folder, image, (layer_tar({"opt/part": _noise(size, seed)}) for seed in seeds))
        return folder

    def project(self, version: str, *, layout: Path | None = None, files: Sequence[tuple[str, Path]] = ()) -> Path:
        """Write and lock a project."""
        folder = self.folder / f"project-{version}"
        folder.mkdir()
        text = f'[release]\nproduct = "{PRODUCT}"\nversion = "{version}"\n'
        for tag in image_tags(layout) if layout else ():
            text += f'[[image]]\nname = "{PRODUCT}/{tag}"\nsource = "oci:{layout}:{tag}"\n'
        for name, path in files:
            text += f'[[file]]\nname = "{name}"\nsource = "{path}"\nmode = "0755"\n'
        (folder / "release.toml").write_text(text)
        run_command([BIN / "teraferry", "lock", folder])
        return folder

    @property
    def tiny_installer(self) -> Path:
        """A file in the installer's place."""
        return self.folder / "tiny-installer"

    def build_argv(self, project: Path, kit: Path) -> list[str | Path]:
        """Return the command line that builds ``project`` into ``kit``."""
        return [BIN / "teraferry", "build", project, "-o", kit, "--installer", self.tiny_installer, "--quiet"]

    def signed_kit(self, version: str, layout: Path) -> SignedKit:
        """Build and sign a kit of the images in ``layout``."""
        kit = self.folder / f"{PRODUCT}-{version}"
        project = self.project(version, layout=layout)
        run_command([BIN / "teraferry", "build", project, "-o", kit, "--installer", self.installer, "--quiet"])
        self.house.sign(locate_kit(kit), "release-1", "release-2")
        tags = image_tags(layout)
        blobs = tuple((digest, layout / "blobs/sha256" / digest[7:]) for digest in blobs_of(layout))
        return SignedKit(
            kit, kit / f"{PRODUCT}-{version}.tar.gz", version, tuple(f"{PRODUCT}/{tag}" for tag in tags), blobs
        )

    def plain_files(self) -> list[tuple[str, Path]]:
        """Return real files, one program and one plain tar of a program's library, cut to the wanted size."""
        wanted = self.sizes.plain_bytes
        library = self.folder / "library.tar"
        source = Path(sys.base_prefix) / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
        subprocess.run(["tar", "--sort=name", "-cf", library, "-C", source, "."], check=True)
        from tests.lab.weed import weed_binary

        program = self.folder / "program"
        shutil.copyfile(weed_binary("4.48"), program)
        for path, share in ((library, 0.35), (program, 0.65)):
            with path.open("r+b") as file:
                file.truncate(min(path.stat().st_size, int(wanted * share)))
        return [("bin/program", program), ("share/library.tar", library)]


def write_image(folder: Path, tag: str, layers: Iterable[bytes]) -> None:
    """Add one image to a layout; its layers are compressed as a container tool would have left them.

    One layer is held in memory at a time, so that a layout of many GiB can be made.
    """
    rows, plain = [], []
    for layer in layers:
        plain.append(sha256(layer))
        rows.append(_add(folder, deflate.gzip_compress(layer, 1), f"{OCI}.layer.v1.tar+gzip"))
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": plain}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": _add(folder, json.dumps(config).encode(), f"{OCI}.config.v1+json"),
        "layers": rows,
    }
    top = _add(folder, json.dumps(manifest).encode(), f"{OCI}.manifest.v1+json")
    top["annotations"] = {"org.opencontainers.image.ref.name": tag}
    index = folder / "index.json"
    standing = json.loads(index.read_bytes())["manifests"] if index.exists() else []
    index.write_text(json.dumps({"schemaVersion": 2, "manifests": [*standing, top]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def image_tags(layout: Path) -> list[str]:
    rows = json.loads((layout / "index.json").read_bytes())["manifests"]
    return [row["annotations"]["org.opencontainers.image.ref.name"] for row in rows]


def blobs_of(layout: Path) -> list[str]:
    """Return the digest of every layer and config, the largest first."""
    found: dict[str, int] = {}
    for row in json.loads((layout / "index.json").read_bytes())["manifests"]:
        manifest = json.loads((layout / "blobs/sha256" / row["digest"][7:]).read_bytes())
        for blob in (manifest["config"], *manifest["layers"]):
            found[blob["digest"]] = blob["size"]
    return sorted(found, key=lambda digest: -found[digest])


def _noise(count_bytes: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(count_bytes)


def _add(folder: Path, content: bytes | bytearray, media_type: str) -> dict[str, Any]:
    digest = sha256(bytes(content))
    path = folder / "blobs/sha256" / digest[7:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}
