"""What site.toml says of the registry is checked before anything is sent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from teraferry.bundles.errors import UsageError
from teraferry.installer.adapters.registry.settings import (
    MAX_PASSWORD_FILE_BYTES,
    RegistrySettings,
    load_credentials,
    load_tls_context,
    parse_endpoint,
)

CA = Path("/etc/ssl/site-ca.pem")


def settings_with(path: Path) -> RegistrySettings:
    return RegistrySettings(url="https://registry.site.local", ca=CA, user="loader", password_file=path)


def refusal_of_password(path: Path) -> UsageError:
    with pytest.raises(UsageError) as refused:
        load_credentials(settings_with(path))
    assert (refused.value.reference, refused.value.exit_status) == ("registry-password-file", 2)
    return refused.value


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "registry.password"
    path.write_text("s3cret-word\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://registry.site.local:5000", ("https", "registry.site.local", 5000)),
        ("https://registry.site.local", ("https", "registry.site.local", 443)),
        ("https://[2001:db8::1]:5000/", ("https", "2001:db8::1", 5000)),
        ("http://127.0.0.1:5000", ("http", "127.0.0.1", 5000)),
        ("http://[::1]:5000", ("http", "::1", 5000)),
    ],
)
def test_endpoint_is_read_from_the_url(url: str, expected: tuple[str, str, int]) -> None:
    endpoint = parse_endpoint(RegistrySettings(url=url, ca=CA))

    assert (endpoint.scheme, endpoint.host, endpoint.port) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "registry:5000",
        "ftp://registry",
        "https://",
        "https://registry/v2",
        "https://registry:99999",
        "https://r?x=1",
    ],
)
def test_endpoint_refuses_what_is_no_registry_address(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_endpoint(RegistrySettings(url=url, ca=CA))

    assert (refused.value.reference, refused.value.exit_status) == ("registry-url-malformed", 2)


def test_endpoint_refuses_a_password_in_the_url_without_repeating_it() -> None:
    with pytest.raises(UsageError) as refused:
        parse_endpoint(RegistrySettings(url="https://loader:hunter2@registry.site.local", ca=CA))

    assert refused.value.reference == "registry-url-malformed"
    assert "hunter2" not in refused.value.message + refused.value.hint + repr(refused.value.facts)


@pytest.mark.parametrize("host", ["registry.site.local", "10.0.0.5", "127.0.0.1.example.org"])
def test_endpoint_refuses_plain_http_to_another_machine(host: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_endpoint(RegistrySettings(url=f"http://{host}:5000"))

    assert (refused.value.reference, refused.value.exit_status) == ("registry-plain-http", 2)


def test_endpoint_takes_plain_http_to_another_machine_when_spelled_out() -> None:
    assert parse_endpoint(RegistrySettings(url="http://10.0.0.5:5000", plain_http=True)).scheme == "http"


def test_endpoint_refuses_https_without_the_sites_ca() -> None:
    with pytest.raises(UsageError) as refused:
        parse_endpoint(RegistrySettings(url="https://registry.site.local"))

    assert (refused.value.reference, refused.value.exit_status) == ("registry-ca-missing", 2)


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_tls_context_refuses_a_ca_file_without_a_certificate(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(UsageError) as refused:
        load_tls_context(RegistrySettings(url="https://registry.site.local", ca=path))

    assert (refused.value.reference, refused.value.exit_status) == ("registry-ca-unreadable", 2)


def test_password_is_the_files_one_line(password_file: Path) -> None:
    credentials = load_credentials(settings_with(password_file))

    assert credentials is not None
    assert (credentials.user, credentials.password) == ("loader", "s3cret-word")


def test_password_is_in_no_repr(password_file: Path) -> None:
    assert "s3cret" not in repr(load_credentials(settings_with(password_file)))


def test_registry_without_a_password_has_no_credentials() -> None:
    assert load_credentials(RegistrySettings(url="https://registry.site.local", ca=CA)) is None


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o602, 0o644, 0o666, 0o601])
def test_password_file_open_to_others_is_refused(password_file: Path, mode: int) -> None:
    password_file.chmod(mode)

    assert f"{mode:04o}" in refusal_of_password(password_file).message


def test_password_file_of_another_owner_is_refused(password_file: Path) -> None:
    os.chown(password_file, 1000, 0)

    assert "1000" in refusal_of_password(password_file).message


def test_password_file_that_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)

    refusal_of_password(tmp_path)
    refusal_of_password(tmp_path / "fifo")
    refusal_of_password(tmp_path / "absent")


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"\xff\xfe", b"nul\0byte"])
def test_password_that_is_not_one_line_of_text_is_refused_and_not_shown(password_file: Path, content: bytes) -> None:
    password_file.write_bytes(content)

    assert "lines" not in refusal_of_password(password_file).message


def test_password_of_the_largest_size_is_taken_and_one_above_refused(password_file: Path) -> None:
    password_file.write_bytes(b"x" * MAX_PASSWORD_FILE_BYTES)
    assert load_credentials(settings_with(password_file)) is not None

    password_file.write_bytes(b"x" * (MAX_PASSWORD_FILE_BYTES + 1))
    refusal_of_password(password_file)


@pytest.mark.parametrize("user", ["", "with:colon"])
def test_user_that_basic_authentication_cannot_carry_is_refused(password_file: Path, user: str) -> None:
    settings = RegistrySettings(url="https://registry.site.local", ca=CA, user=user, password_file=password_file)

    with pytest.raises(UsageError) as refused:
        load_credentials(settings)

    assert refused.value.reference == "registry-password-file"
