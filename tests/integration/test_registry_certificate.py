"""When the registry's certificate ends is asked of the registry itself, under the site's CA alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.clock import now_utc
from teraferry.installer.adapters.registry.certificate import certificate_expiry
from teraferry.installer.adapters.registry.settings import RegistrySettings
from tests.lab.registry import LabRegistry, free_port, make_authority


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabRegistry]:
    with LabRegistry(tmp_path_factory.mktemp("registry"), tls=True) as running:
        yield running


def test_end_of_the_certificate_is_the_one_it_was_made_with(registry: LabRegistry) -> None:
    settings = RegistrySettings(url=registry.url, ca=Path(registry.ca_file))

    expires = certificate_expiry(settings)

    assert expires is not None
    assert timedelta(hours=23) < expires - now_utc() < timedelta(hours=25)


def test_plain_http_has_no_certificate() -> None:
    assert certificate_expiry(RegistrySettings(url=f"http://127.0.0.1:{free_port()}")) is None


def test_certificate_of_a_stranger_is_not_believed(registry: LabRegistry, tmp_path: Path) -> None:
    settings = RegistrySettings(url=registry.url, ca=make_authority("Stranger").write(tmp_path / "ca.pem"))

    with pytest.raises(RefusedError) as caught:
        certificate_expiry(settings)
    assert (caught.value.exit_status, caught.value.reference) == (44, "registry-unreachable")


def test_registry_that_does_not_listen_is_told(registry: LabRegistry) -> None:
    settings = RegistrySettings(url=f"https://127.0.0.1:{free_port()}", ca=Path(registry.ca_file))

    with pytest.raises(RefusedError) as caught:
        certificate_expiry(settings)
    assert caught.value.reference == "registry-unreachable"
