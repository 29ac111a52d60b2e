"""What ``[registry.service]`` of site.toml may say, and what the registry program and systemd are told of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from teraferry.bundles.errors import UsageError
from teraferry.installer.kit_registry.documents import encode_configuration, encode_unit, listen_address
from teraferry.installer.site.load import parse_site
from teraferry.installer.site.registry_table import RegistryTable, ServiceTable
from tests.fakes.site_toml import SITE

SERVICE = '[registry.service]\nfile = "bin/registry"\n'


def with_service(more: str = "", *, site: str = SITE) -> str:
    return site.replace("[cluster]", f"{SERVICE}{more}\n[cluster]", 1)


def table(more: str = "", *, url: str = "https://registry.site.local:5000") -> tuple[RegistryTable, ServiceTable]:
    site = SITE.replace("https://registry.site.local:5000", url)
    registry = parse_site(with_service(more, site=site).encode(), name="site.toml").registry
    assert registry.service is not None
    return registry, registry.service


def refused(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse_site(text.encode(), name="site.toml")
    assert caught.value.exit_status == 2
    return caught.value


def test_service_needs_nothing_but_the_name_of_its_file() -> None:
    _, service = table()

    assert (service.unit_name, service.start_argv) == (
        "teraferry-registry",
        ("systemctl", "start", "teraferry-registry.service"),
    )


def test_ca_that_is_made_for_the_registry_is_no_ca_of_the_site() -> None:
    registry, _ = table()

    assert (registry.ca, registry.site_ca) == ("/etc/ssl/site-ca.pem", None)
    assert parse_site(SITE.encode(), name="site.toml").registry.site_ca == "/etc/ssl/site-ca.pem"


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("https://registry.site.local", "http://127.0.0.1", "[registry], url"),
        ('ca = "/etc/ssl/site-ca.pem"\n', "", "[registry], ca"),
        ("credentials =", "# credentials =", "[registry], credentials"),
        ('user = "loader"', 'user = "load:er"', "[registry], credentials.user"),
        ('user = "loader"', 'user = "#loader"', "[registry], credentials.user"),
    ],
)
def test_registry_that_anybody_could_read_or_fill_is_refused(old: str, new: str, field: str) -> None:
    assert SITE.count(old) == 1

    assert refused(with_service(site=SITE.replace(old, new))).facts["field"] == field


@pytest.mark.parametrize("path", ["relative", "/", "/a/../b", "/a b", "/a%h", "/a'b", "/a$b", '/a\\"b', "/a{b}"])
@pytest.mark.parametrize("field", ["path", "data", "settings"])
def test_place_that_would_need_quotes_somewhere_is_refused(field: str, path: str) -> None:
    assert refused(with_service(f'{field} = "{path}"')).facts["field"] == f"[registry], service.{field}"


@pytest.mark.parametrize(
    "more",
    [
        'data = "/srv/registry"\nsettings = "/srv/registry"',
        'data = "/srv/registry"\nsettings = "/srv/registry/settings"',
        'settings = "/srv/registry"\ndata = "/srv/registry/data"',
        'path = "/srv/registry/bin"\ndata = "/srv/registry"',
        'data = "/etc/teraferry"',
        'path = "/opt/seaweedfs/bin/weed"',
        'start = ["a"]',
        'start = ["a"]\nstop = [""]',
        'unit = "a"\nstart = ["a"]\nstop = ["b"]',
        'listen = "5000"',
        'node = "vol-1"',
    ],
)
def test_fields_that_do_not_go_together_are_refused(more: str) -> None:
    refused(with_service(more))


@pytest.mark.parametrize(
    ("url", "more", "expected"),
    [
        ("https://registry.site.local:5000", "", ":5000"),
        ("https://10.0.0.5:5000", "", "10.0.0.5:5000"),
        ("https://[fd00::5]:5000", "", "[fd00::5]:5000"),
        ("https://registry.site.local", "", ":443"),
        ("https://registry.site.local", 'listen = "10.0.0.5:5443"', "10.0.0.5:5443"),
    ],
)
def test_registry_listens_where_its_name_leads(url: str, more: str, expected: str) -> None:
    registry, service = table(more, url=url)

    assert listen_address(registry, service) == expected
    assert f"addr: '{expected}'".encode() in encode_configuration(registry, service)


def test_configuration_asks_for_tls_and_a_password_and_deletes_nothing() -> None:
    text = encode_configuration(*table()).decode()

    assert "delete: {enabled: false}" in text
    assert "htpasswd: {realm: registry, path: /etc/teraferry/registry/htpasswd}" in text
    assert "certificate: /etc/teraferry/registry/server.pem" in text


def test_unit_is_one_that_systemd_understands(tmp_path: Path) -> None:
    program = tmp_path / "registry"
    program.symlink_to("/bin/true")
    _, service = table(f'path = "{program}"\ndata = "{tmp_path}/data"')
    unit = tmp_path / "teraferry-registry.service"
    unit.write_bytes(encode_unit(service))

    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False)

    told = [line for line in done.stderr.splitlines() if "teraferry-registry" in line]
    assert (done.returncode, told) == (0, []), done.stderr


def test_unit_sees_neither_the_key_of_its_ca_nor_the_state() -> None:
    lines = encode_unit(table()[1]).decode().splitlines()

    assert "InaccessiblePaths=-/etc/teraferry/registry/ca.key -/var/lib/teraferry" in lines
    assert {"ProtectSystem=strict", "ReadWritePaths=/var/lib/teraferry-registry"} <= set(lines)
    assert (
        "RequiresMountsFor=/var/lib/teraferry-registry /etc/teraferry/registry /opt/teraferry-registry/registry"
        in lines
    )
