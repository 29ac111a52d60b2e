"""One piece of product work in a process of its own, timed from inside: without the start of the interpreter.

``python -m tests.bench.work verify|chunks|load|raw|build|digests ... [--profile]`` prints one JSON line. The start
is measured elsewhere, by the whole commands; here lies what grows with the bundle.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from teraferry.builder.pack import build_kit
from teraferry.bundles import layout
from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.digest import digest_of
from teraferry.bundles.limits import CHUNK_BYTES, MAX_MANIFEST_BYTES
from teraferry.bundles.manifest import parse_manifest
from teraferry.bundles.progress import Silent
from teraferry.bundles.system.clock import now_utc
from teraferry.installer.adapters.registry.distribution import open_registry
from teraferry.installer.adapters.registry.settings import RegistrySettings
from teraferry.installer.cli_wiring import LOAD_CONNECTIONS
from teraferry.installer.images.load import load_images
from teraferry.installer.verify import VerifiedBundle
from teraferry.keys.metadata import read_metadata
from teraferry.keys.trust import verify_release
from teraferry.keys.trusted import Floor, TrustedRelease
from tests.bench.measure import peak_bytes
from tests.bench.profile import Phases, Sampler
from tests.lab.raw_push import push_files

Work = Callable[[Silent], Any]


def trusted(kit: Path, root: Path) -> TrustedRelease:
    """Judge a kit's metadata as a site that pinned ``root`` does."""
    files = read_metadata(kit, after_root=1)
    return verify_release(files, trusted_root=root.read_bytes(), floor=Floor(), now=now_utc())


def verify(kit: Path, root: Path, *, chunks_only: bool = False) -> Work:
    """Return the work of ``verify``: metadata, index, every byte, manifest."""

    def work(progress: Silent) -> None:
        release = trusted(kit, root)
        with BundleReader(kit / release.bundle.name, release.bundle) as reader:
            progress.start("read and compare every byte")
            if chunks_only:
                reader.verify_chunks(progress, jobs=os.cpu_count() or 1)
            else:
                reader.verify_whole(progress)
            progress.start("manifest")
            parse_manifest(reader.read_entry(layout.MANIFEST, limit_bytes=MAX_MANIFEST_BYTES))

    return work


def load(kit: Path, root: Path, url: str) -> Work:
    """Return the loading of a kit that was verified before, as ``install`` does it."""
    release = trusted(kit, root)
    path = kit / release.bundle.name
    reader = BundleReader(path, release.bundle)
    reader.open()
    manifest = parse_manifest(reader.read_entry(layout.MANIFEST, limit_bytes=MAX_MANIFEST_BYTES))
    bundle = VerifiedBundle(release=release, manifest=manifest, reader=reader, path=path, whole=False)

    def work(progress: Silent) -> int:
        registry = open_registry(RegistrySettings(url=url), connections=LOAD_CONNECTIONS)
        try:
            return load_images(bundle, registry, jobs=LOAD_CONNECTIONS, progress=progress).loaded_bytes
        finally:
            registry.close()

    return work


def raw(folder: Path, url: str) -> Work:
    """Return the raw push of every layer and config of an OCI layout."""
    from tests.bench.data import blobs_of

    blobs = [(digest, folder / "blobs/sha256" / digest[7:]) for digest in blobs_of(folder)]
    return lambda _: push_files(url, "bench", blobs, jobs=LOAD_CONNECTIONS)


def build(project: Path, kit: Path, installer: Path, jobs: int) -> Work:
    """Return the work of ``build``."""

    def work(progress: Silent) -> None:
        build_kit(project, kit, installer=installer, jobs=jobs, mtime=0, progress=progress)

    return work


def digests(count_bytes: int, passes: int) -> Work:
    """Return nothing but SHA-256 over so many bytes so many times, on every core: what no digesting can undercut."""
    piece = memoryview(bytearray(CHUNK_BYTES))

    def work(_: Silent) -> None:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for _digest in pool.map(digest_of, [piece] * (passes * count_bytes // len(piece))):
                continue

    return work


def chosen_work(arguments: argparse.Namespace) -> Work:
    words = arguments.words
    if arguments.work in ("verify", "chunks"):
        return verify(Path(words[0]), Path(words[1]), chunks_only=arguments.work == "chunks")
    if arguments.work == "load":
        return load(Path(words[0]), Path(words[1]), words[2])
    if arguments.work == "raw":
        return raw(Path(words[0]), words[1])
    if arguments.work == "digests":
        return digests(int(words[0]), int(words[1]))
    return build(Path(words[0]), Path(words[1]), Path(words[2]), int(words[3]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=("verify", "chunks", "load", "raw", "build", "digests"))
    parser.add_argument("words", nargs="*")
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    work = chosen_work(arguments)
    if arguments.profile:
        phases = Phases()
        with Sampler() as sampler:
            work(phases)
        print(json.dumps({"profile": phases.lines() + sampler.lines()}))
        return
    before = time.process_time()
    began = time.perf_counter()
    work(Silent())
    seconds = time.perf_counter() - began
    print(
        json.dumps({"seconds": seconds, "cpu_seconds": time.process_time() - before, "peak_bytes": peak_bytes("self")})
    )


if __name__ == "__main__":
    main()
