"""The registry port: Debian's docker-registry over TLS with a password, and the fake, pass the same tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count

import pytest

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import BundleError, RefusedError
from teraferry.installer.adapters.registry.distribution import open_registry
from teraferry.installer.adapters.registry.settings import RegistrySettings
from teraferry.installer.ports import Registry
from tests.fakes.memory_bundle import MANIFEST_TYPE, noise
from tests.fakes.registry import FakeRegistry
from tests.lab.registry import LabRegistry

_numbers = count()
BLOB = noise(300_000, seed=1)
DIGEST = digest_of(BLOB)


@pytest.fixture(scope="module", params=["real", "fake"])
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    if request.param == "fake":
        yield FakeRegistry()
        return
    with LabRegistry(tmp_path_factory.mktemp("registry")) as lab:
        settings = RegistrySettings(url=lab.url, ca=lab.ca_file, user=lab.user, password_file=lab.password_file)
        opened = open_registry(settings, connections=2)
        yield opened
        opened.close()


@pytest.fixture
def repository() -> str:
    return f"terachat/contract-{next(_numbers)}"


def push(registry: Registry, repository: str, content: bytes) -> str:
    digest = digest_of(content)
    registry.push_blob(repository, digest, len(content), [memoryview(content)[:100], memoryview(content)[100:]])
    return digest


def manifest_of(config: str, size: int) -> bytes:
    descriptor = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": size}
    return json.dumps(
        {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": descriptor, "layers": []}, indent=1
    ).encode()


def test_registry_is_ready(registry: Registry) -> None:
    registry.require_ready()


def test_registry_has_a_blob_once_it_was_pushed(registry: Registry, repository: str) -> None:
    assert not registry.has_blob(repository, DIGEST)

    push(registry, repository, BLOB)

    assert registry.has_blob(repository, DIGEST)
    assert registry.has_blob(repository, DIGEST, length_bytes=len(BLOB))


def test_registry_has_not_a_blob_of_another_length(registry: Registry, repository: str) -> None:
    push(registry, repository, BLOB)

    assert not registry.has_blob(repository, DIGEST, length_bytes=len(BLOB) - 1)


def test_registry_serves_the_bytes_that_were_pushed(registry: Registry, repository: str) -> None:
    push(registry, repository, BLOB)

    assert b"".join(registry.read_blob(repository, DIGEST)) == BLOB


def test_registry_takes_an_empty_blob(registry: Registry, repository: str) -> None:
    digest = push(registry, repository, b"")

    assert registry.has_blob(repository, digest, length_bytes=0)


def test_registry_takes_the_same_blob_twice(registry: Registry, repository: str) -> None:
    push(registry, repository, BLOB)
    push(registry, repository, BLOB)

    assert registry.has_blob(repository, DIGEST)


def test_registry_refuses_bytes_that_are_not_their_digest(registry: Registry, repository: str) -> None:
    wrong = digest_of(b"something else, named by this test only: " + repository.encode())

    with pytest.raises(RefusedError) as refused:
        registry.push_blob(repository, wrong, len(BLOB), [BLOB])

    assert (refused.value.reference, refused.value.exit_status) == ("registry-refused", 44)
    assert not registry.has_blob(repository, wrong)


@pytest.mark.parametrize("change", [-1, 1])
def test_registry_refuses_pieces_of_another_length_than_announced(
    registry: Registry, repository: str, change: int
) -> None:
    content = noise(200_000, seed=change)

    with pytest.raises(BundleError) as bad:
        registry.push_blob(repository, digest_of(content), len(content) + change, [content])

    assert bad.value.reference == "blob-length-wrong"
    assert not registry.has_blob(repository, digest_of(content))


@pytest.mark.parametrize("error", [BundleError("chunk-damaged", "chunk 7", hint="Ask."), OSError(5, "cable pulled")])
def test_registry_hands_on_the_error_of_a_failing_source(registry: Registry, repository: str, error: Exception) -> None:
    content = noise(6_000_000, seed=9)

    def pieces() -> Iterator[bytes]:
        yield content[:5_000_000]
        raise error

    with pytest.raises(type(error)) as raised:
        registry.push_blob(repository, digest_of(content), len(content), pieces())

    assert raised.value is error
    assert not registry.has_blob(repository, digest_of(content))


def test_registry_mounts_a_blob_that_another_repository_holds(registry: Registry, repository: str) -> None:
    push(registry, repository, BLOB)

    assert registry.mount_blob(repository + "-b", DIGEST, source=repository)
    assert registry.has_blob(repository + "-b", DIGEST)


def test_registry_does_not_mount_what_the_source_lacks(registry: Registry, repository: str) -> None:
    absent = digest_of(b"nobody holds this")

    assert not registry.mount_blob(repository, absent, source=repository + "-b")
    assert not registry.has_blob(repository, absent)


def test_registry_serves_a_manifest_by_tag_and_digest_to_the_byte(registry: Registry, repository: str) -> None:
    config = push(registry, repository, b"{}")
    content = manifest_of(config, 2)

    registry.put_manifest(repository, "4.2.0", content, MANIFEST_TYPE)

    assert registry.get_manifest(repository, "4.2.0") == content
    assert registry.get_manifest(repository, digest_of(content)) == content


def test_registry_takes_a_manifest_by_digest_without_a_tag(registry: Registry, repository: str) -> None:
    config = push(registry, repository, b"{}")
    content = manifest_of(config, 2)

    registry.put_manifest(repository, digest_of(content), content, MANIFEST_TYPE)

    assert registry.get_manifest(repository, digest_of(content)) == content
    assert registry.get_manifest(repository, "4.2.0") is None


def test_registry_moves_a_tag(registry: Registry, repository: str) -> None:
    for text in (b"{}", b'{"a": 1}'):
        config = push(registry, repository, text)
        registry.put_manifest(repository, "4.2.0", manifest_of(config, len(text)), MANIFEST_TYPE)

    assert registry.get_manifest(repository, "4.2.0") == manifest_of(digest_of(b'{"a": 1}'), 8)


def test_registry_refuses_a_manifest_whose_blobs_it_lacks(registry: Registry, repository: str) -> None:
    content = manifest_of(digest_of(b"never pushed"), 12)

    with pytest.raises(RefusedError) as refused:
        registry.put_manifest(repository, "4.2.0", content, MANIFEST_TYPE)

    assert (refused.value.reference, refused.value.exit_status) == ("registry-refused", 44)
    assert registry.get_manifest(repository, "4.2.0") is None


def test_registry_refuses_to_serve_a_blob_it_lacks(registry: Registry, repository: str) -> None:
    with pytest.raises(RefusedError) as refused:
        list(registry.read_blob(repository, digest_of(b"never pushed")))

    assert (refused.value.reference, refused.value.facts["http_status"]) == ("registry-refused", 404)
