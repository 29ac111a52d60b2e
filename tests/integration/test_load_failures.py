"""Every way a load fails has its own reference, leaves nothing tagged, and can be typed again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.errors import BundleError, RefusedError
from teraferry.bundles.progress import Silent
from teraferry.installer.adapters.registry.distribution import open_registry
from teraferry.installer.adapters.registry.settings import RegistrySettings
from teraferry.installer.images.load import LoadReport, load_images
from tests.fakes.memory_bundle import MemoryBundle, MemoryReader, make_bundle, noise
from tests.lab.lying_proxy import Exchange, LyingProxy
from tests.lab.registry import LabRegistry, free_port, make_authority, tiny_disk

SMALL = noise(70_000, seed=1)
BIG = noise(40_000_000, seed=2)


def bundle_of_two() -> MemoryBundle:
    return make_bundle({"terachat/api": [SMALL], "terachat/web": [BIG]})


def load(settings: RegistrySettings, bundle: MemoryBundle | None = None, *, jobs: int = 3) -> LoadReport:
    registry = open_registry(settings, connections=jobs)
    try:
        return load_images(bundle or bundle_of_two(), registry, jobs=jobs, progress=Silent())
    finally:
        registry.close()


def refusal_of(settings: RegistrySettings, bundle: MemoryBundle | None = None) -> RefusedError:
    with pytest.raises(RefusedError) as refused:
        load(settings, bundle)
    assert refused.value.exit_status == 44
    assert refused.value.hint
    return refused.value


def site_of(lab: LabRegistry, **changes: object) -> RegistrySettings:
    values: dict[str, object] = {"url": lab.url, "ca": lab.ca_file, "user": lab.user}
    return RegistrySettings(**{**values, "password_file": lab.password_file, **changes})  # type: ignore[arg-type]


def plain(url: str) -> RegistrySettings:
    return RegistrySettings(url=url)


def tags_in(lab: LabRegistry) -> list[str]:
    assert lab.storage is not None
    return sorted(str(path) for path in lab.storage.rglob("_manifests/tags/*"))


@pytest.fixture(scope="module")
def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabRegistry]:
    with LabRegistry(tmp_path_factory.mktemp("registry")) as started:
        yield started


@pytest.fixture
def plain_lab(tmp_path: Path) -> Iterator[LabRegistry]:
    with LabRegistry(tmp_path / "registry", tls=False, with_password=False) as started:
        yield started


def write_password(path: Path, password: str) -> Path:
    path.write_text(password)
    path.chmod(0o600)
    return path


def test_load_with_a_wrong_password_is_registry_password(shared_lab: LabRegistry, tmp_path: Path) -> None:
    wrong = write_password(tmp_path / "password", "wrong-and-secret")

    refused = refusal_of(site_of(shared_lab, password_file=wrong))

    assert refused.reference == "registry-password"
    assert refused.facts["http_status"] == 401
    assert tags_in(shared_lab) == []


def test_load_without_a_password_where_one_is_needed_is_registry_password(shared_lab: LabRegistry) -> None:
    assert refusal_of(site_of(shared_lab, user="", password_file=None)).reference == "registry-password"


def test_load_from_a_registry_of_another_ca_is_registry_certificate(shared_lab: LabRegistry, tmp_path: Path) -> None:
    other = make_authority("Another CA").write(tmp_path / "other.pem")

    assert refusal_of(site_of(shared_lab, ca=other)).reference == "registry-certificate"


def test_environment_cannot_add_a_ca_a_proxy_or_a_key_log(
    shared_lab: LabRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_authority("Another CA").write(tmp_path / "other.pem")
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(shared_lab.ca_file))
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys.log"))

    assert refusal_of(site_of(shared_lab, ca=other)).reference == "registry-certificate"
    registry = open_registry(site_of(shared_lab), connections=1)
    registry.require_ready()
    registry.close()
    assert not (tmp_path / "keys.log").exists()


@pytest.mark.parametrize(
    ("hosts", "days"), [(("registry.other.local",), 1), (("127.0.0.1",), -1)], ids=["another-name", "expired"]
)
def test_load_from_a_registry_with_a_wrong_certificate_is_registry_certificate(
    tmp_path: Path, hosts: tuple[str, ...], days: int
) -> None:
    with LabRegistry(tmp_path / "registry", certificate_hosts=hosts, certificate_days=days) as lab:
        assert refusal_of(site_of(lab)).reference == "registry-certificate"
        assert tags_in(lab) == []


def test_load_by_https_from_a_registry_without_tls_is_registry_certificate(
    plain_lab: LabRegistry, tmp_path: Path
) -> None:
    settings = RegistrySettings(
        url=plain_lab.url.replace("http:", "https:"), ca=make_authority().write(tmp_path / "ca.pem")
    )

    assert refusal_of(settings).reference == "registry-certificate"


def test_load_from_a_registry_that_is_down_is_registry_unreachable() -> None:
    refused = refusal_of(plain(f"http://127.0.0.1:{free_port()}"))

    assert refused.reference == "registry-unreachable"
    assert "connection refused" in refused.message


def test_load_from_a_name_nobody_knows_is_registry_unreachable(tmp_path: Path) -> None:
    settings = RegistrySettings(url="https://registry.invalid:5000", ca=make_authority().write(tmp_path / "ca.pem"))

    assert refusal_of(settings).reference == "registry-unreachable"


def test_load_into_a_read_only_registry_is_registry_refused(tmp_path: Path) -> None:
    with LabRegistry(tmp_path / "registry", read_only=True) as lab:
        refused = refusal_of(site_of(lab))

        assert (refused.reference, refused.facts["http_status"]) == ("registry-refused", 405)
        assert tags_in(lab) == []


@pytest.mark.parametrize("tls", [False, True])
def test_load_into_a_full_registry_is_registry_full(tmp_path: Path, tls: bool) -> None:
    with (
        tiny_disk(tmp_path / "disk", size_bytes=8_000_000) as disk,
        LabRegistry(tmp_path / "registry", storage=disk, tls=tls, with_password=tls) as lab,
    ):
        refused = refusal_of(site_of(lab) if tls else plain(lab.url))

        assert refused.reference == "registry-full"
        assert tags_in(lab) == []


def test_load_into_a_registry_that_was_full_completes_once_there_is_room(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", size_bytes=8_000_000) as disk:
        lab = LabRegistry(tmp_path / "registry", storage=disk)
        with lab:
            assert refusal_of(site_of(lab)).reference == "registry-full"
        lab.storage = tmp_path / "larger"
        with lab:
            assert len(load(site_of(lab)).tags) == 2


@dataclass
class InterruptedReader(MemoryReader):
    """Calls ``interrupt`` once, in the middle of the largest blob."""

    interrupt: Callable[[], None] = field(default=lambda: None)
    done: bool = False

    def stream_blob(self, digest: Digest, *, receiver_digests: bool = False) -> Iterator[memoryview]:
        for number, piece in enumerate(super().stream_blob(digest)):
            if len(self.blobs[digest]) == len(BIG) and number == 300 and not self.done:
                self.done = True
                self.interrupt()
            yield piece


def interrupted_bundle(interrupt: Callable[[], None]) -> MemoryBundle:
    bundle = bundle_of_two()
    bundle.reader = InterruptedReader(blobs=bundle.reader.blobs, interrupt=interrupt)
    return bundle


def test_load_again_completes_after_the_registry_died_in_the_middle(tmp_path: Path) -> None:
    lab = LabRegistry(tmp_path / "registry")
    with lab:
        # One connection, the small blob first: the large one is what dies.
        with pytest.raises(RefusedError) as refused:
            load(site_of(lab), interrupted_bundle(lab.kill), jobs=1)
        assert (refused.value.reference, tags_in(lab)) == ("registry-unreachable", [])
        lab.start()

        report = load(site_of(lab))

        assert len(report.tags) == 2
        assert lab.blob_file(digest_of(BIG)).read_bytes() == BIG


def test_load_outlives_a_registry_that_restarts_in_the_middle(tmp_path: Path) -> None:
    with LabRegistry(tmp_path / "registry") as lab:

        def restart() -> None:
            lab.kill()
            lab.start()

        report = load(site_of(lab), interrupted_bundle(restart))

        assert report.loaded_bytes >= len(BIG)
        assert lab.blob_file(digest_of(BIG)).read_bytes() == BIG


def test_load_that_meets_a_damaged_blob_leaves_neither_blob_nor_tag(plain_lab: LabRegistry) -> None:
    bundle = bundle_of_two()
    damage = BundleError("chunk-damaged", "chunk 7: digest differs", hint="Re-cut the medium.")
    bundle.reader.fail_after[digest_of(BIG)] = (20_000_000, damage)

    with pytest.raises(BundleError) as bad:
        load(plain(plain_lab.url), bundle)

    assert bad.value is damage
    assert not plain_lab.blob_file(digest_of(BIG)).exists()
    assert tags_in(plain_lab) == []


def test_load_asks_the_registry_to_drop_an_upload_that_broke_off(plain_lab: LabRegistry) -> None:
    bundle = bundle_of_two()
    damage = BundleError("chunk-damaged", "chunk 7: digest differs", hint="Re-cut the medium.")
    bundle.reader.fail_after[digest_of(BIG)] = (20_000_000, damage)

    with LyingProxy(plain_lab.port) as proxy:
        with pytest.raises(BundleError):
            load(plain(proxy.url), bundle, jobs=1)

        assert [exchange.path for exchange in proxy.seen if exchange.method == "DELETE"] != []


def test_load_stops_its_other_uploads_when_one_fails(plain_lab: LabRegistry) -> None:
    other = noise(len(BIG) + 1, seed=4)  # larger, so it is under way when BIG fails
    bundle = make_bundle({"terachat/api": [other], "terachat/web": [BIG]})
    failing = threading.Event()

    class Reader(MemoryReader):
        def stream_blob(self, digest: Digest, *, receiver_digests: bool = False) -> Iterator[memoryview]:
            if digest == digest_of(BIG):
                failing.set()
                raise BundleError("chunk-damaged", "chunk 1: digest differs", hint="Re-cut the medium.")
            pieces = super().stream_blob(digest)
            if len(self.blobs[digest]) == len(other):
                yield next(pieces)
                failing.wait(timeout=30)
            yield from pieces

    bundle.reader = Reader(blobs=bundle.reader.blobs)

    with pytest.raises(BundleError):
        load(plain(plain_lab.url), bundle)

    assert not plain_lab.blob_file(digest_of(other)).exists()


def test_load_refuses_a_registry_that_serves_another_manifest_by_tag(plain_lab: LabRegistry) -> None:
    def change(exchange: Exchange, body: bytes) -> bytes:
        return body.replace(b"schemaVersion", b"schemaVersioN") if exchange.path.endswith("/manifests/4.2.0") else body

    with LyingProxy(plain_lab.port, change=change) as proxy:
        assert refusal_of(plain(proxy.url)).reference == "registry-answer-wrong"


def test_load_refuses_a_registry_that_serves_another_manifest_by_digest_and_tags_nothing(
    plain_lab: LabRegistry,
) -> None:
    def change(exchange: Exchange, body: bytes) -> bytes:
        return body[:-1] + b" " if exchange.method == "GET" and "/manifests/sha256" in exchange.path else body

    with LyingProxy(plain_lab.port, change=change) as proxy:
        refused = refusal_of(plain(proxy.url))

    assert refused.reference == "registry-answer-wrong"
    assert tags_in(plain_lab) == []


def test_load_retries_a_cut_connection_and_a_server_error(plain_lab: LabRegistry) -> None:
    failed: set[str] = set()

    def before(exchange: Exchange) -> str | int | None:
        kind = f"{exchange.method} {exchange.path.split('/')[4] if exchange.path.count('/') > 3 else '/'}"
        if kind in failed:
            return None
        failed.add(kind)
        return "cut" if len(failed) % 2 else 503

    with LyingProxy(plain_lab.port, before=before) as proxy:
        report = load(plain(proxy.url))

    assert {"GET /", "HEAD blobs", "POST blobs", "PUT blobs", "PUT manifests", "GET manifests"} <= failed
    assert len(report.tags) == 2


def test_load_gives_up_on_server_errors_after_three_attempts(plain_lab: LabRegistry) -> None:
    with LyingProxy(plain_lab.port, before=lambda exchange: 503) as proxy:
        refused = refusal_of(plain(proxy.url))

        assert (refused.reference, refused.facts["http_status"]) == ("registry-failing", 503)
        assert len(proxy.seen) == 3


@pytest.mark.parametrize("status", [400, 403, 404, 413, 429])
def test_load_never_repeats_what_the_registry_refused(plain_lab: LabRegistry, status: int) -> None:
    with LyingProxy(plain_lab.port, before=lambda exchange: status) as proxy:
        refusal_of(plain(proxy.url))

        assert len(proxy.seen) == 1


def test_load_never_shows_the_password_that_a_proxy_echoes(plain_lab: LabRegistry, tmp_path: Path) -> None:
    password = write_password(tmp_path / "password", "correct horse battery staple")
    with LyingProxy(plain_lab.port, before=lambda exchange: 418) as proxy:
        refused = refusal_of(RegistrySettings(url=proxy.url, user="loader", password_file=password))

    assert "Authorization: Basic [secret]" in refused.message
    assert "staple" not in repr(refused.facts) + refused.message + refused.hint


def test_load_does_not_follow_a_redirect(plain_lab: LabRegistry) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.3)
        address = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/v2/"
        with LyingProxy(plain_lab.port, before=lambda exchange: 307, redirect_to=address) as proxy:
            refused = refusal_of(plain(proxy.url))

        assert (refused.reference, refused.facts["http_status"]) == ("registry-refused", 307)
        with pytest.raises(TimeoutError):
            elsewhere.accept()
