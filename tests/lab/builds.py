"""Projects that build, for tests of the connected side; commands run as a person would type them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.lab.images import compressible_bytes, make_docker_archive, make_oci_layout, simple_layers
from tests.lab.secops import Answer, parse_answer

RELEASE = '[release]\nproduct = "terachat"\nversion = "4.2.0"\n'


def teraferry(
    *arguments: str | Path, environment: Mapping[str, str] | None = None, folder: Path | None = None, umask: int = -1
) -> Answer:
    """Run ``teraferry ... --json`` and return what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "teraferry.builder.cli", *map(str, arguments), "--json"],
        capture_output=True,
        env={**os.environ, **(environment or {})},
        cwd=folder,
        umask=umask,
        timeout=120,
    )
    return parse_answer(done)


def write_recipe(folder: Path, text: str) -> Path:
    """Write a ``release.toml`` and an installer into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "release.toml").write_text(text)
    (folder / "teraferry-installer").write_bytes(b"#!/bin/sh\n")
    return folder


def image_table(name: str, source: str, *platforms: str) -> str:
    """One [[image]] of a recipe."""
    chosen = f"platforms = {list(platforms)!r}\n" if platforms else ""
    return f'[[image]]\nname = "{name}"\nsource = "{source}"\n{chosen}'


def file_table(name: str, source: str, mode: str = "0644") -> str:
    """One [[file]] of a recipe."""
    return f'[[file]]\nname = "{name}"\nsource = "{source}"\nmode = "{mode}"\n'


def full_project(folder: Path) -> Path:
    """Write a project with an image of every kind and two files."""
    write_recipe(
        folder,
        RELEASE
        + image_table("terachat/api", "oci:images:api")
        + image_table("terachat/multi", "oci:images:multi")
        + image_table("terachat/arm", "oci:images:multi", "linux/arm64/v8")
        + image_table("terachat/web", "docker-archive:old.tar")
        + image_table("terachat/new", "docker-archive:new.tar:terachat/new:1")
        + file_table("bin/weed", "weed", "0755")
        + file_table("compose.yml", "compose.yml"),
    )
    make_oci_layout(folder / "images", "api")
    platforms = ("linux/amd64", "linux/arm64/v8")
    make_oci_layout(folder / "images", "multi", simple_layers(3, seed=5), platforms=platforms, attestation=True)
    make_docker_archive(folder / "old.tar", ["terachat/web:1"], linked_layer=True)
    make_docker_archive(folder / "new.tar", ["terachat/new:1"], simple_layers(2, seed=9), form="docker-25")
    # Longer than one member, so that several jobs have something to share.
    (folder / "weed").write_bytes(compressible_bytes(9_000_000, seed=3))
    (folder / "compose.yml").write_text("services:\n  api:\n    image: ${REGISTRY}/terachat/api:4.2.0\n")
    return folder


def file_project(folder: Path, content: bytes = b"hello") -> Path:
    """Write a project with one small file."""
    write_recipe(folder, RELEASE + file_table("hello.bin", "hello.bin"))
    (folder / "hello.bin").write_bytes(content)
    return folder


def locked(folder: Path) -> Path:
    """Lock a project that must be lockable."""
    answer = teraferry("lock", folder)
    if answer.status:
        raise AssertionError(answer.stderr)
    return folder


def full_kit(folder: Path) -> Path:
    """Build and return a kit with an image of every kind and two files."""
    answer = teraferry("build", locked(full_project(folder / "project")), "-o", folder / "kit")
    if answer.status:
        raise AssertionError(answer.stderr)
    return folder / "kit"
