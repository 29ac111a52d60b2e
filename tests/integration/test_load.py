"""Images of a bundle into Debian's docker-registry over TLS with a password."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import BundleError, Fact, RefusedError
from teraferry.bundles.progress import Silent
from teraferry.installer.adapters.registry.distribution import DistributionRegistry, open_registry
from teraferry.installer.adapters.registry.settings import RegistrySettings
from teraferry.installer.images.load import LoadReport, load_images
from tests.fakes.memory_bundle import MemoryBundle, make_bundle, noise
from tests.fakes.registry import FakeRegistry
from tests.lab.registry import LabRegistry

SHARED = noise(3_000_000, seed=1)
BIG = noise(9_000_000, seed=2)


def two_images() -> MemoryBundle:
    return make_bundle(
        {"terachat/api": [SHARED, noise(100, seed=3)], "terachat/web": [SHARED, BIG]},
        platforms=("linux/amd64", "linux/arm64"),
    )


def site_of(lab: LabRegistry) -> RegistrySettings:
    return RegistrySettings(url=lab.url, ca=lab.ca_file, user=lab.user, password_file=lab.password_file)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LabRegistry]:
    with LabRegistry(tmp_path / "registry") as started:
        yield started


@pytest.fixture
def registry(lab: LabRegistry) -> Iterator[DistributionRegistry]:
    opened = open_registry(site_of(lab), connections=3)
    yield opened
    opened.close()


class CountingProgress(Silent):
    """Adds up what was counted, and keeps what was said."""

    def __init__(self) -> None:
        self.total_bytes: int | None = None
        self.counted: list[int] = []
        self.said: list[tuple[str, dict[str, Fact]]] = []
        self._lock = threading.Lock()

    def start(self, phase: str, *, total_bytes: int | None = None, detail: str = "") -> None:
        self.total_bytes = total_bytes

    def advance(self, count_bytes: int) -> None:
        with self._lock:
            self.counted.append(count_bytes)

    def say(self, event: str, text: str, **facts: Fact) -> None:
        self.said.append((event, facts))


def distinct_bytes(bundle: MemoryBundle) -> int:
    """Return the bytes of all configs and layers, each blob once."""
    digests = {
        digest
        for image in bundle.manifest.images
        for platform in image.platforms
        for digest in (platform.config, *platform.layers)
    }
    return sum(len(bundle.reader.blobs[digest]) for digest in digests)


def test_load_brings_two_images_that_skopeo_can_pull(
    lab: LabRegistry, registry: DistributionRegistry, tmp_path: Path
) -> None:
    bundle = two_images()

    report = load_images(bundle, registry, jobs=3, progress=Silent())

    assert report.tags == ("terachat/api:4.2.0", "terachat/web:4.2.0")
    assert (report.loaded_bytes, report.skipped_bytes) == (distinct_bytes(bundle), 0)
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    (certificates / "ca.crt").write_bytes(lab.ca_file.read_bytes())
    for image in bundle.manifest.images:
        address = f"docker://127.0.0.1:{lab.port}/{image.name}:4.2.0"
        access = ["--cert-dir", str(certificates), "--creds", f"{lab.user}:{lab.password}"]
        done = subprocess.run(["skopeo", "inspect", "--raw", *access, address], capture_output=True, check=True)
        assert digest_of(done.stdout) == image.digest


def test_load_sends_a_blob_of_two_images_once(lab: LabRegistry, registry: DistributionRegistry) -> None:
    bundle = two_images()

    load_images(bundle, registry, jobs=3, progress=Silent())

    assert bundle.reader.streamed.count(digest_of(SHARED)) == 1
    assert registry.has_blob("terachat/api", digest_of(SHARED), length_bytes=len(SHARED))
    assert registry.has_blob("terachat/web", digest_of(SHARED), length_bytes=len(SHARED))


def test_load_leaves_no_upload_open(lab: LabRegistry, registry: DistributionRegistry) -> None:
    load_images(two_images(), registry, jobs=3, progress=Silent())

    assert lab.open_uploads() == []


def test_mount_that_is_not_possible_leaves_no_upload_open(lab: LabRegistry, registry: DistributionRegistry) -> None:
    assert not registry.mount_blob("terachat/api", digest_of(b"absent"), source="terachat/web")

    assert lab.open_uploads() == []


def test_load_again_streams_nothing(registry: DistributionRegistry) -> None:
    load_images(two_images(), registry, jobs=3, progress=Silent())
    again = two_images()

    report = load_images(again, registry, jobs=3, progress=Silent())

    assert again.reader.streamed == []
    assert report == LoadReport(
        loaded_bytes=0,
        skipped_bytes=distinct_bytes(again),
        blobs_loaded=0,
        blobs_skipped=5,
        tags=("terachat/api:4.2.0", "terachat/web:4.2.0"),
    )


def test_load_of_the_next_release_streams_only_what_changed(registry: DistributionRegistry) -> None:
    load_images(make_bundle({"terachat/api": [SHARED, BIG]}), registry, jobs=3, progress=Silent())
    changed = noise(50_000, seed=8)
    bundle = make_bundle({"terachat/api": [SHARED, changed]}, version="4.2.1")

    report = load_images(bundle, registry, jobs=3, progress=Silent())

    assert bundle.reader.streamed == [digest_of(changed)]
    assert report.loaded_bytes == len(changed)


def test_load_counts_every_byte_once_whether_sent_or_skipped(registry: DistributionRegistry) -> None:
    for _ in range(2):
        progress = CountingProgress()
        load_images(two_images(), registry, jobs=3, progress=progress)

        assert sum(progress.counted) == progress.total_bytes == distinct_bytes(two_images())
        assert min(progress.counted) > 0


def test_load_moves_a_tag_that_points_elsewhere_and_says_so(registry: DistributionRegistry) -> None:
    other = make_bundle({"terachat/api": [noise(10, seed=5)]})
    signed = make_bundle({"terachat/api": [noise(10, seed=6)]})
    load_images(other, registry, jobs=1, progress=Silent())
    progress = CountingProgress()

    load_images(signed, registry, jobs=1, progress=progress)

    served = registry.get_manifest("terachat/api", "4.2.0")
    assert served is not None
    assert digest_of(served) == signed.manifest.images[0].digest
    assert [(event, facts["found"]) for event, facts in progress.said] == [
        ("tag-moved", other.manifest.images[0].digest)
    ]


def test_load_of_a_release_without_images_asks_the_registry_nothing() -> None:
    registry = FakeRegistry()

    assert load_images(make_bundle({}), registry, jobs=3, progress=Silent()) == LoadReport(0, 0, 0, 0, ())
    assert registry.calls == []


def test_load_tags_only_after_all_bytes_of_all_images_are_there() -> None:
    registry = FakeRegistry()

    load_images(two_images(), registry, jobs=3, progress=Silent())

    tagged = [index for index, call in enumerate(registry.calls) if call[0] == "put_manifest" and call[2] == "4.2.0"]
    pushed = [index for index, call in enumerate(registry.calls) if call[0] == "push_blob"]
    by_digest = [index for index, call in enumerate(registry.calls) if call[0] == "put_manifest" and call[2] != "4.2.0"]
    assert max(pushed) < min(by_digest) < max(by_digest) < min(tagged)
    assert len(tagged) == 2


def test_load_reads_every_manifest_back_after_it_was_put() -> None:
    registry = FakeRegistry()

    load_images(two_images(), registry, jobs=1, progress=Silent())

    for index, call in enumerate(registry.calls):
        if call[0] == "put_manifest":
            assert ("get_manifest", *call[1:]) in registry.calls[index:]


def test_load_leaves_a_tag_that_stands_already_alone() -> None:
    registry = FakeRegistry()
    load_images(two_images(), registry, jobs=1, progress=Silent())
    registry.calls.clear()

    load_images(two_images(), registry, jobs=1, progress=Silent())

    assert registry.count("put_manifest") == registry.count("push_blob") == registry.count("mount_blob") == 0


def test_load_tags_nothing_when_the_last_check_before_tags_refuses() -> None:
    registry = FakeRegistry()

    def refuse() -> None:
        raise BundleError("bundle-damaged", "bundle: digest differs", hint="Ask for a new copy of the kit.")

    with pytest.raises(BundleError):
        load_images(two_images(), registry, jobs=3, progress=Silent(), before_tags=refuse)

    assert not [reference for _, reference in registry.manifests if reference == "4.2.0"]


def test_check_registry_finds_a_blob_that_was_damaged_on_disk(lab: LabRegistry, registry: DistributionRegistry) -> None:
    load_images(two_images(), registry, jobs=3, progress=Silent())
    file = lab.blob_file(digest_of(BIG))
    file.write_bytes(BIG[:-1] + bytes([BIG[-1] ^ 1]))

    with pytest.raises(RefusedError) as refused:
        load_images(two_images(), registry, jobs=3, progress=Silent(), check_registry=True)

    assert (refused.value.reference, refused.value.exit_status) == ("registry-blob-corrupt", 44)
    assert refused.value.facts["blob"] == digest_of(BIG)


def test_load_finds_a_blob_that_was_cut_short_on_disk(lab: LabRegistry, tmp_path: Path) -> None:
    first = open_registry(site_of(lab), connections=3)
    load_images(two_images(), first, jobs=3, progress=Silent())
    first.close()
    # A restart, since this registry remembers lengths.
    lab.stop()
    lab.blob_file(digest_of(BIG)).write_bytes(BIG[:-1])
    lab.start()
    registry = open_registry(site_of(lab), connections=3)

    with pytest.raises(RefusedError) as refused:
        load_images(two_images(), registry, jobs=3, progress=Silent())

    registry.close()
    assert (refused.value.reference, refused.value.exit_status) == ("registry-blob-corrupt", 44)


def test_hint_for_a_damaged_blob_leads_to_a_whole_registry(lab: LabRegistry) -> None:
    registry = open_registry(site_of(lab), connections=3)
    load_images(two_images(), registry, jobs=3, progress=Silent())
    lab.blob_file(digest_of(BIG)).write_bytes(b"damaged")
    with pytest.raises(RefusedError) as refused:
        load_images(two_images(), registry, jobs=3, progress=Silent(), check_registry=True)
    named = str(lab.blob_file(digest_of(BIG)).relative_to(lab.folder / "storage"))

    assert named in refused.value.hint
    lab.stop()
    lab.blob_file(digest_of(BIG)).unlink()
    lab.start()
    report = load_images(two_images(), registry, jobs=3, progress=Silent(), check_registry=True)
    registry.close()

    assert report.blobs_loaded == 1
    assert lab.blob_file(digest_of(BIG)).read_bytes() == BIG
