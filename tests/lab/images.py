"""Real images without a network: OCI layouts, and archives as two ages of ``docker save`` write them.

The bytes depend on the arguments alone, so two tests that ask for the same image get the same digest.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from teraferry.builder.sources.image import ResolvedImage

OCI = "application/vnd.oci.image"
Json = dict[str, Any]


def random_bytes(count_bytes: int, *, seed: int) -> bytes:
    """Bytes no compressor gains on, like a layer full of packed binaries."""
    return random.Random(seed).randbytes(count_bytes)


def compressible_bytes(count_bytes: int, *, seed: int) -> bytes:
    """Bytes that compress to about a half, like a binary: random ones written in hexadecimal."""
    return random_bytes(count_bytes // 2 + 1, seed=seed).hex().encode()[:count_bytes]


def layer_tar(files: Mapping[str, bytes]) -> bytes:
    """A layer: a plain tar archive of ``files``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def simple_layers(count: int = 2, *, seed: int = 1, size_bytes: int = 100_000) -> list[bytes]:
    """``count`` layers, random and compressible by turns."""
    makers = (random_bytes, compressible_bytes)
    return [layer_tar({f"opt/part-{n}": makers[n % 2](size_bytes, seed=seed * 1000 + n)}) for n in range(count)]


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def image_config(layers: Sequence[bytes], *, platform: str = "linux/amd64") -> bytes:
    os_name, architecture, *variant = platform.split("/")
    config: Json = {
        "architecture": architecture,
        "os": os_name,
        "created": "1970-01-01T00:00:00Z",
        "config": {"Cmd": ["/opt/part-0"]},
        "rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in layers]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "lab"} for _ in layers],
    }
    if variant:
        config["variant"] = variant[0]
    return json.dumps(config).encode()


def make_oci_layout(
    folder: Path,
    tag: str,
    layers: Sequence[bytes] | None = None,
    *,
    platforms: Sequence[str] = ("linux/amd64",),
    compression: Literal["gzip", "none"] = "gzip",
    attestation: bool = False,
) -> str:
    """Add an image to the layout in ``folder`` (made if need be) and return the digest of its top document.

    Args:
        tag: Its ``org.opencontainers.image.ref.name``; replaces the one that had it.
        layers: Plain tar archives; ``simple_layers()`` by default. With several platforms each has a layer of its own.
        platforms: Several make an image index.
        attestation: Add a manifest of platform unknown/unknown to the index, as build tools do.
    """
    chosen = simple_layers() if layers is None else list(layers)
    rows: list[Json] = []
    for platform in platforms:
        own = [layer_tar({"platform": platform.encode()})] if len(platforms) > 1 else []
        rows.append(
            _add_platform(folder, [*chosen, *own], platform, compression=compression, name_it=len(platforms) > 1)
        )
    if attestation:
        statement = [layer_tar({"attestation": b"{}"})]
        rows.append(_add_platform(folder, statement, "unknown/unknown", compression="none", name_it=True))
    top = rows[0]
    if len(rows) > 1:
        index = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": rows}
        top = _add(folder, json.dumps(index).encode(), f"{OCI}.index.v1+json")
    _name(folder, tag, top)
    return str(top["digest"])


def make_docker_archive(
    path: Path,
    names: Sequence[str],
    layers: Sequence[bytes] | None = None,
    *,
    form: Literal["old", "docker-25"] = "old",
    linked_layer: bool = False,
) -> str:
    """Write what ``docker save`` writes for one image and return the image ID.

    Args:
        names: Its names, such as ``terachat/api:4.2.0``.
        form: ``old`` has ``<id>/layer.tar`` members; ``docker-25`` an OCI layout beside the docker manifest.
        linked_layer: Old form only: the last layer is a symbolic link to the first, as docker writes a shared one.
    """
    chosen = simple_layers() if layers is None else list(layers)
    if linked_layer:
        chosen = [*chosen, chosen[0]]
    config = image_config(chosen)
    members = (
        _old_members(names, chosen, config, linked_layer=linked_layer)
        if form == "old"
        else _new_members(names, chosen, config)
    )
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return sha256(config)


def every_blob_is_itself(image: ResolvedImage) -> bool:
    """Tell whether each blob of a resolved image has the bytes its digest and length promise."""
    for digest, blob in image.blobs.items():
        with blob.open() as file:
            content = file.read()
        if sha256(content) != digest or len(content) != blob.length_bytes:
            return False
    return True


def _old_members(
    names: Sequence[str], layers: Sequence[bytes], config: bytes, *, linked_layer: bool
) -> dict[str, bytes | str]:
    members: dict[str, bytes | str] = {}
    files: list[str] = []
    for number, layer in enumerate(layers):
        folder = hashlib.sha256(f"{number}".encode() + layer).hexdigest()
        files.append(f"{folder}/layer.tar")
        is_link = linked_layer and number == len(layers) - 1
        members[files[-1]] = f"../{files[0]}" if is_link else layer
        members[f"{folder}/VERSION"] = b"1.0"
        members[f"{folder}/json"] = b"{}"
    config_name = sha256(config).removeprefix("sha256:") + ".json"
    members[config_name] = config
    members["manifest.json"] = json.dumps([{"Config": config_name, "RepoTags": list(names), "Layers": files}]).encode()
    return members


def _new_members(names: Sequence[str], layers: Sequence[bytes], config: bytes) -> dict[str, bytes | str]:
    blobs = {sha256(content): content for content in (*layers, config)}
    layer_rows = [_row(layer, f"{OCI}.layer.v1.tar") for layer in layers]
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": _row(config, f"{OCI}.config.v1+json"),
            "layers": layer_rows,
        }
    ).encode()
    blobs[sha256(manifest)] = manifest
    top = _row(manifest, f"{OCI}.manifest.v1+json")
    rows = [
        top
        | {
            "annotations": {
                "io.containerd.image.name": f"docker.io/{name}",
                "org.opencontainers.image.ref.name": name.rpartition(":")[2],
            }
        }
        for name in names
    ]
    members: dict[str, bytes | str] = {_path(digest): content for digest, content in sorted(blobs.items())}
    members["index.json"] = json.dumps(
        {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": rows}
    ).encode()
    docker = {
        "Config": _path(sha256(config)),
        "RepoTags": list(names),
        "Layers": [_path(sha256(layer)) for layer in layers],
    }
    members["manifest.json"] = json.dumps([docker]).encode()
    members["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    return members


def _add_platform(folder: Path, layers: Sequence[bytes], platform: str, *, compression: str, name_it: bool) -> Json:
    suffix = "+gzip" if compression == "gzip" else ""
    packed = [gzip.compress(layer, 1, mtime=0) if suffix else layer for layer in layers]
    manifest: Json = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": _add(folder, image_config(layers, platform=platform), f"{OCI}.config.v1+json"),
        "layers": [_add(folder, layer, f"{OCI}.layer.v1.tar{suffix}") for layer in packed],
    }
    row = _add(folder, json.dumps(manifest).encode(), f"{OCI}.manifest.v1+json")
    if name_it:
        os_name, architecture, *variant = platform.split("/")
        row["platform"] = {"os": os_name, "architecture": architecture} | ({"variant": variant[0]} if variant else {})
    return row


def _add(folder: Path, content: bytes, media_type: str) -> Json:
    path = folder / _path(sha256(content))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return _row(content, media_type)


def _row(content: bytes, media_type: str) -> Json:
    return {"mediaType": media_type, "digest": sha256(content), "size": len(content)}


def _path(digest: str) -> str:
    return "blobs/sha256/" + digest.removeprefix("sha256:")


def _name(folder: Path, tag: str, top: Json) -> None:
    (folder / "oci-layout").write_bytes(b'{"imageLayoutVersion": "1.0.0"}')
    path = folder / "index.json"
    rows: list[Json] = json.loads(path.read_bytes())["manifests"] if path.exists() else []
    rows = [row for row in rows if row["annotations"]["org.opencontainers.image.ref.name"] != tag]
    rows.append(top | {"annotations": {"org.opencontainers.image.ref.name": tag}})
    path.write_bytes(json.dumps({"schemaVersion": 2, "manifests": rows}).encode())
