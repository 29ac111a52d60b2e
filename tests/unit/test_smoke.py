"""Which node is asked what: the release says paths, the site says where they are, and adds its own."""

from __future__ import annotations

import pytest

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import BundleError, UsageError
from teraferry.bundles.manifest import File, Manifest, Release, Smoke, encode_manifest, parse_manifest
from teraferry.installer.rollout.conditions import Condition
from teraferry.installer.rollout.plan import plan_rolling
from teraferry.installer.rollout.smoke import SmokeTest, plan_smoke
from teraferry.installer.site.load import parse_site
from teraferry.installer.site.model import Site
from tests.fakes.site_toml import SITE

APP = """
[[node]]
name = "app-1"
role = "app"
address = "10.0.0.21:8000"
transport = { local = true }
smoke_url = "https://10.0.0.21:8443"
"""
FILE = File(name="bin/weed", mode="0755", digest=digest_of(b"weed"), length_bytes=4)
OK = 'pass_when = { field = "status", equals = "ok" }\n'


def site(*smoke: str) -> Site:
    return parse_site((SITE + APP + "".join(f"[[smoke]]\n{OK}{each}\n" for each in smoke)).encode(), name="site.toml")


def release(*tests: Smoke) -> Manifest:
    return Manifest(format=1, release=Release(product="demo", version="1.0.0"), files=(FILE,), smoke=tests)


def asked(tests: tuple[SmokeTest, ...]) -> list[str]:
    return [f"{test.node}: {test.text}" for test in tests]


def test_test_of_a_release_goes_to_every_node_at_its_own_address_or_where_the_site_says() -> None:
    tests = plan_smoke(release(Smoke(http="/health", field="status", equals="ok")), site(), ["vol-1", "app-1"])

    assert asked(tests) == [
        "vol-1: GET http://10.0.0.11:8080/health",
        "app-1: GET https://10.0.0.21:8443/health",
    ]
    assert {test.condition for test in tests} == {Condition("status", "ok")}
    assert {test.ca for test in tests} == {"/etc/ssl/site-ca.pem"}


def test_test_of_a_release_for_one_role_goes_to_no_other() -> None:
    tests = plan_smoke(release(Smoke(http="/h", field="a", equals=1, role="app")), site(), ["vol-1", "app-1"])

    assert asked(tests) == ["app-1: GET https://10.0.0.21:8443/h"]


def test_site_adds_tests_by_role_by_node_and_for_all() -> None:
    here = site(
        'http = "/all"',
        'role = "app"\nhttp = "https://chat.site.local/health"\nwithin_seconds = 7',
        'node = "vol-1"\ncommand = ["/usr/local/bin/smoke", "--json"]',
    )

    tests = plan_smoke(release(), here, ["vol-1", "app-1"])

    assert asked(tests) == [
        "vol-1: GET http://10.0.0.11:8080/all",
        "vol-1: /usr/local/bin/smoke --json",
        "app-1: GET https://10.0.0.21:8443/all",
        "app-1: GET https://chat.site.local/health",
    ]
    assert [test.within_seconds for test in tests] == [120, 120, 120, 7]


def test_installer_may_connect_to_what_smoke_tests_ask_and_to_nothing_a_release_chose() -> None:
    here = site('role = "app"\nhttp = "https://chat.site.local/health"')

    assert here.allowed_endpoints() - site().allowed_endpoints() == {("chat.site.local", 443)}
    assert ("10.0.0.21", 8443) in site().allowed_endpoints()


def test_plan_asks_each_patched_node_before_it_waits_for_the_cluster() -> None:
    plan = plan_rolling(release(Smoke(http="/health", field="status", equals="ok")), site('http = "/all"'))

    assert [step.action for step in plan.steps if step.node == "vol-1"][-3:] == [
        "rejoin_cluster",
        "run_smoke_tests",
        "wait_for_rebalance",
    ]
    (step,) = (step for step in plan.steps if step.action == "run_smoke_tests")
    assert "status = 'ok' from GET http://10.0.0.11:8080/health within 120 s" in step.text
    assert {test.node for test in plan.smoke} == {"vol-1"}


@pytest.mark.parametrize(
    "path",
    ["", "health", "//elsewhere/health", "http://elsewhere/", "@elsewhere/", "/a b", "/a\n", "/\u00e4"],
)
def test_release_cannot_choose_who_is_asked(path: str) -> None:
    content = encode_manifest(release(Smoke(http="/x", field="a", equals=1))).replace(
        b'"/x"', b'"' + path.encode("unicode_escape") + b'"'
    )

    with pytest.raises(BundleError) as caught:
        parse_manifest(content)
    assert caught.value.reference == "manifest-malformed"


@pytest.mark.parametrize(
    "fields",
    [
        "",
        'http = "/a"\ncommand = ["a"]',
        'http = "//elsewhere/a"',
        'http = "ftp://elsewhere/a"',
        'http = "https://user:word@elsewhere/a"',
        'http = "/a b"',
        'http = "/a"\nrole = "app"\nnode = "vol-1"',
        'http = "/a"\nrole = "filer"',
        'http = "/a"\nnode = "vol-9"',
        'http = "/a"\nwithin_seconds = 0',
        'command = [""]',
        'http = "/a"\nca = "ca.pem"',
    ],
)
def test_smoke_table_without_sense_is_refused(fields: str) -> None:
    with pytest.raises(UsageError) as caught:
        site(fields)
    assert (caught.value.exit_status, caught.value.reference) == (2, "site-bad-value")


def test_smoke_url_is_a_scheme_a_host_and_a_port() -> None:
    with pytest.raises(UsageError):
        parse_site((SITE + APP.replace(":8443", ":8443/app")).encode(), name="site.toml")
