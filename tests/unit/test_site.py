"""What site.toml may say, and what is refused with its line, field and suggestion."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teraferry.bundles.errors import UsageError
from teraferry.installer.site.addresses import is_loopback, parse_address, registry_endpoint
from teraferry.installer.site.load import decide_strategy, load_site, load_site_tier, load_site_trust, parse_site
from teraferry.installer.site.model import Site
from teraferry.installer.site.strategy import Kind
from tests.fakes.site_toml import SITE

TIER_2 = """
[[node]]
name = "green-1"
role = "volume"
address = "10.0.2.11:8080"
transport = { local = true }

[green]
nodes = ["green-1"]

[traffic]
engine = "nftables"
virtual_ip = "10.0.0.100:443"
blue = "10.0.1.10:443"
green = "10.0.2.10:443"
dead_man = "10s"

[monitor]
seconds = 300
every_seconds = 1
health = "https://{active}/health"
error_rate_max = 0.001
latency_p99_ms = 500

[replication]
engine = "seaweedfs"
writers = "two"
blue = "10.0.1.10:8888"
green = "10.0.2.10:8888"
path = "/data"

[compliance]
legal_hold = { http = "https://terachat.site.local/legal-hold", pass_when = { field = "active_holds", equals = 0 } }
audit_export = { command = ["/usr/local/bin/audit-export"], pass_when = { field = "running", equals = 0 } }
"""

HOST_KEY = "ssh-ed25519 " + "A" * 68


def parse(text: str) -> Site:
    return parse_site(text.encode(), name="site.toml")


def changed(old: str, new: str) -> str:
    assert SITE.count(old) >= 1
    return SITE.replace(old, new, 1)


def refused(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.exit_status == 2
    return caught.value


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def written(folder: Path, text: str) -> Path:
    path = folder / "site.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


# ---- what is accepted


def test_site_file_is_read_into_its_tables(tmp_path: Path) -> None:
    site = load_site(written(tmp_path, SITE), kit=None)

    assert (site.name, site.tier, site.registry.url) == ("hanoi-dc1", "1", "https://registry.site.local:5000")
    assert [node.name for node in site.nodes_of("volume")] == ["vol-1"]
    assert [node.name for node in site.master_nodes] == ["master-1"]
    assert site.nodes[1].transport.command == ("nsenter", "--net=/run/netns/vol-1")


def test_fields_left_out_take_the_safe_value() -> None:
    cluster = parse(SITE).cluster

    assert cluster is not None
    assert (cluster.mode, cluster.on_failure, cluster.stalled_after_seconds, cluster.weed) == (
        "safe",
        "stop",
        300,
        "weed",
    )


def test_tables_of_tier_2_are_read() -> None:
    site = parse(SITE + TIER_2)

    assert site.traffic is not None
    assert site.compliance is not None
    assert (site.traffic.dead_man, site.compliance.legal_hold.pass_when.equals) == ("10s", 0)


def test_site_of_tier_2_needs_no_cluster() -> None:
    text = changed('tier = "1"', 'tier = "gov"')
    text = text[: text.index("[cluster]")] + TIER_2

    assert parse(text).cluster is None


def test_unit_stands_for_systemctl() -> None:
    deploy = parse(SITE).deploys[0]

    assert deploy.stop_argv == ("systemctl", "stop", "weed-volume")
    assert deploy.start_argv == ("systemctl", "start", "weed-volume")


def test_stop_and_start_commands_are_taken_as_they_are() -> None:
    deploy = parse(changed('unit = "weed-volume"', 'stop = ["rc", "stop"]\nstart = ["rc", "go"]')).deploys[0]

    assert (deploy.stop_argv, deploy.start_argv) == (("rc", "stop"), ("rc", "go"))


def test_only_named_endpoints_and_the_grpc_ports_of_the_storage_may_be_connected_to() -> None:
    assert parse(SITE).allowed_endpoints() == {
        ("registry.site.local", 5000),
        ("10.0.0.10", 9333),
        ("10.0.0.10", 19333),
        ("10.0.0.11", 8080),
        ("10.0.0.11", 18080),
    }


@pytest.mark.parametrize("url", ["http://127.0.0.1:5000", "http://localhost:5000", "http://[::1]:5000"])
def test_plain_http_to_this_machine_needs_no_word(url: str) -> None:
    assert parse(changed("https://registry.site.local:5000", url)).registry.url == url


def test_plain_http_elsewhere_is_accepted_when_spelled_out() -> None:
    text = changed('url = "https://registry.site.local:5000"', 'url = "http://10.0.0.5:5000"\nplain_http = true')

    assert parse(text).registry.plain_http


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("64MiB", 2**26), ("700MB", 7 * 10**8), ("1KiB", 1024), ("2GB", 2 * 10**9)]
)
def test_nodes_fetch_files_from_the_registry_that_are_as_large_as_said(text: str, size_bytes: int) -> None:
    registry = parse(changed('ca = "/etc', f'nodes_pull_above = "{text}"\nca = "/etc')).registry

    assert [registry.is_pulled(size_bytes), registry.is_pulled(size_bytes - 1)] == [True, False]
    assert not parse(SITE).registry.is_pulled(2**40)


# ---- unknown and missing


@pytest.mark.parametrize(
    ("old", "new", "field", "suggestion"),
    [
        ("soak_seconds", "soak_second", "soak_second", "soak_seconds"),
        ("[registry]", "[registri]", "registri", "registry"),
        ("local = true", "locall = true", "locall", "local"),
        ('unit = "weed', 'units = "weed', "units", "unit"),
        ("user = ", "usr = ", "usr", "user"),
        ('tier = "1"', 'zzz = "1"', "zzz", None),
    ],
)
def test_unknown_field_is_refused_with_its_line_and_a_suggestion(
    old: str, new: str, field: str, suggestion: str | None
) -> None:
    text = changed(old, new)

    error = refused(text)

    assert error.reference == "site-unknown-field"
    assert (error.facts["field"], error.facts["suggestion"]) == (field, suggestion)
    assert (error.facts["file"], error.facts["line"]) == ("site.toml", line_of(text, new))


@pytest.mark.parametrize(
    ("without", "field", "near"),
    [
        ('role = "volume"\naddress', "role", '[[node]]\nname = "vol-1"'),
        ('engine = "seaweedfs"\n', "engine", "[cluster]"),
        ('url = "https://registry.site.local:5000"\n', "url", "[registry]"),
        ('workload = "binary"\n', "workload", "[[deploy]]"),
    ],
)
def test_missing_field_is_refused_with_the_line_of_its_table(without: str, field: str, near: str) -> None:
    text = changed(without, "address" if without.endswith("address") else "")

    error = refused(text)

    assert (error.reference, error.facts["field"]) == ("site-missing-field", field)
    assert error.facts["line"] == line_of(text, near)


@pytest.mark.parametrize("table", ["site", "registry", "cluster"])
def test_missing_table_is_refused(table: str) -> None:
    text = re.sub(rf"\[{table}\]\n(?:\w.*\n)+", "", SITE)

    assert refused(text).reference == "site-missing-field"


def test_empty_file_is_refused() -> None:
    assert refused("").reference == "site-missing-field"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"[site]\nname = hanoi\n", 2),
        (b'[site]\nname = "a"\nname = "b"\n', 3),
        (b"[site]\n\xff\n", 2),
        (b"[site]\nname = [" + b"[" * 100_000, 1),
        (b'[site]\nname = "a', 2),
        (b"[site]\nname = " + b"9" * 5000, 1),
    ],
)
def test_text_that_is_not_toml_is_refused_with_its_line(content: bytes, line: int) -> None:
    with pytest.raises(UsageError) as caught:
        parse_site(content, name="site.toml")

    assert (caught.value.reference, caught.value.facts["line"]) == ("site-syntax", line)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_site_or_a_usage_error(content: bytes) -> None:
    with pytest.raises(UsageError):
        parse_site(content, name="site.toml")


# ---- values without sense


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "hanoi-dc1"', 'name = "../hanoi"'),
        ('name = "hanoi-dc1"', 'name = ""'),
        ("soak_seconds = 5", "soak_seconds = -1"),
        ("soak_seconds = 5", "soak_seconds = 86401"),
        ("soak_seconds = 5", 'soak_seconds = "5"'),
        ("soak_seconds = 5", "stalled_after_seconds = 0"),
        ("soak_seconds = 5", 'mode = "fast"'),
        ("soak_seconds = 5", 'on_failure = "ignore"'),
        ("soak_seconds = 5", 'weed = "bin/weed"'),
        ("https://registry.site.local:5000", "http://registry.site.local:5000"),
        ("https://registry.site.local:5000", "ftp://registry.site.local"),
        ("https://registry.site.local:5000", "https://user:pw@registry.site.local"),
        ("https://registry.site.local:5000", "https://registry.site.local/v2"),
        ("https://registry.site.local:5000", "https://registry.site.local:0"),
        ('ca = "/etc', 'plain_http = true\nca = "/etc'),
        ('ca = "/etc', 'nodes_pull_above = "64"\nca = "/etc'),
        ('ca = "/etc', 'nodes_pull_above = "0MiB"\nca = "/etc'),
        ('ca = "/etc', 'nodes_pull_above = "-1MiB"\nca = "/etc'),
        ('url = "https://registry.site.local:5000"', 'url = "http://127.0.0.1:5000"\nnodes_pull_above = "64MiB"'),
        ('ca = "/etc', 'ca = "etc'),
        ('"/etc/teraferry/registry.password"', '"../registry.password"'),
        ('masters = ["10.0.0.10:9333"]', "masters = []"),
        ('masters = ["10.0.0.10:9333"]', 'masters = ["10.0.0.11:8080"]'),
        ('masters = ["10.0.0.10:9333"]', 'masters = ["10.0.0.10:9333", "10.0.0.10:9333"]'),
        ('masters = ["10.0.0.10:9333"]', 'masters = ["10.0.0.10:60000"]'),
        ('name = "vol-1"', 'name = "master-1"'),
        ('address = "10.0.0.11:8080"', 'address = "10.0.0.10:9333"'),
        ('address = "10.0.0.11:8080"', 'address = "10.0.0.11"'),
        ('address = "10.0.0.11:8080"', 'address = "10.0.0.999:8080"'),
        ('role = "volume"', 'role = "storage"'),
        ("local = true", "local = false"),
        ("local = true", 'local = true, command = ["x"]'),
        ("local = true", 'local = true, identity = "/x"'),
        ("{ local = true }", "{}"),
        ('["nsenter", "--net=/run/netns/vol-1"]', "[]"),
        ('["nsenter", "--net=/run/netns/vol-1"]', '[""]'),
        ('file = "bin/weed"', 'file = "bin/weed"\nimage = "x"'),
        ('file = "bin/weed"\n', ""),
        ('file = "bin/weed"', 'image = "terachat/api"'),
        ('role = "volume"\nworkload', 'role = "filer"\nworkload'),
        ('path = "/opt', 'path = "opt'),
        ('path = "/opt', 'path = "/opt/../etc'),
        ('path = "/opt', 'path = "//opt'),
        ('/bin/weed"\nunit', '/bin/"\nunit'),
        ('path = "/opt/seaweedfs/bin/weed"', 'path = "/"'),
        ('unit = "weed-volume"', 'unit = "--no-block"'),
        ('unit = "weed-volume"', 'unit = "a b"'),
        ('unit = "weed-volume"\n', ""),
        ('unit = "weed-volume"', 'stop = ["a"]'),
        ('unit = "weed-volume"', 'unit = "x"\nstop = ["a"]\nstart = ["b"]'),
    ],
)
def test_value_without_sense_is_refused(old: str, new: str) -> None:
    error = refused(changed(old, new))

    assert error.reference == "site-bad-value"
    assert error.facts["line"] != 1
    assert "expected" in error.message


def test_binary_without_a_path_is_refused() -> None:
    assert refused(changed('path = "/opt/seaweedfs/bin/weed"\n', "")).reference == "site-missing-field"


def test_two_deploys_of_one_path_on_one_node_are_refused() -> None:
    again = SITE[SITE.index("[[deploy]]") :].replace("bin/weed", "bin/other", 1)

    assert refused(f"{SITE}\n{again}").reference == "site-bad-value"


def test_two_nodes_of_one_machine_may_not_share_a_path() -> None:
    twin = SITE[SITE.index('[[node]]\nname = "vol-1"') : SITE.index("[[deploy]]")]
    twin = twin.replace("vol-1", "vol-2", 1).replace("8080", "8081")

    assert refused(SITE + twin).reference == "site-bad-value"


def test_one_path_on_two_machines_is_accepted() -> None:
    twin = SITE[SITE.index('[[node]]\nname = "vol-1"') : SITE.index("[[deploy]]")]

    assert len(parse(SITE + twin.replace("vol-1", "vol-2").replace("8080", "8081")).nodes) == 3


def test_wrong_word_is_answered_with_the_right_ones() -> None:
    assert "safe, quick" in refused(changed("soak_seconds = 5", 'mode = "fast"')).message


def test_unknown_tier_of_the_file_is_refused() -> None:
    assert refused(changed('tier = "1"', 'tier = "3"')).reference == "tier-unknown"


# ---- a demanded OpenPGP signature


FINGERPRINT = "0B12724D" * 5


def trust(*lines: str) -> str:
    return SITE + "\n[trust]\n" + "\n".join(lines) + "\n"


def test_demanded_openpgp_key_lies_beside_the_site_file_unless_it_is_named() -> None:
    table = parse(trust(f'require_openpgp = "{FINGERPRINT}"')).trust
    named = parse(trust(f'require_openpgp = "{FINGERPRINT}"', 'openpgp_key = "/etc/keys/release.gpg"')).trust

    assert (table.openpgp_key_file, named.openpgp_key_file) == ("/etc/teraferry/openpgp.asc", "/etc/keys/release.gpg")


@pytest.mark.parametrize(
    "lines",
    [
        ['require_openpgp = "15EAD025"'],
        ['require_openpgp = ""'],
        [f'require_openpgp = "{FINGERPRINT}"', 'openpgp_key = "release.gpg"'],
        ['openpgp_key = "/etc/keys/release.gpg"'],
    ],
)
def test_openpgp_demand_that_could_pin_nothing_is_refused(lines: list[str]) -> None:
    error = refused(trust(*lines))

    assert (error.reference, error.exit_status) == ("site-bad-value", 2)
    assert "[trust]" in str(error.facts["field"])


def test_trust_is_read_alone_and_as_strictly(tmp_path: Path) -> None:
    other_faults = f'[site]\nnonsense = 1\n[trust]\nrequire_openpgp = "{FINGERPRINT}"\n'
    assert load_site_trust(written(tmp_path, other_faults), kit=None).require_openpgp == FINGERPRINT

    for wrong, reference in (
        ("require_openpgg = 'A'", "site-unknown-field"),
        ("require_openpgp = 1", "site-bad-value"),
        ("require_openpgp = 'A'", "site-bad-value"),
    ):
        with pytest.raises(UsageError) as caught:
            load_site_trust(written(tmp_path, f"[trust]\n{wrong}\n"), kit=None)
        assert (caught.value.reference, caught.value.facts["line"]) == (reference, 2)


def test_site_without_a_file_demands_nothing_and_one_that_cannot_be_read_refuses(tmp_path: Path) -> None:
    assert load_site_trust(tmp_path / "none.toml", kit=None).require_openpgp is None

    with pytest.raises(UsageError) as caught:
        load_site_trust(written(tmp_path, "[trust"), kit=None)
    assert caught.value.reference == "site-syntax"


# ---- ssh


def by_ssh(ssh: str = "deploy@10.0.0.10", identity: str = "/etc/teraferry/id", host_key: str = HOST_KEY) -> str:
    fields = {"ssh": ssh, "identity": identity, "host_key": host_key}
    return changed("local = true", ", ".join(f'{name} = "{value}"' for name, value in fields.items() if value))


def test_node_by_ssh_may_be_connected_to_at_its_own_port() -> None:
    assert ("10.0.0.10", 2222) in parse(by_ssh("deploy@10.0.0.10:2222")).allowed_endpoints()
    assert ("10.0.0.10", 22) in parse(by_ssh()).allowed_endpoints()


@pytest.mark.parametrize("missing", ["identity", "host_key"])
def test_ssh_without_a_pinned_key_or_an_identity_is_refused(missing: str) -> None:
    error = refused(by_ssh(**{missing: ""}))

    assert error.reference == "site-missing-field"


@pytest.mark.parametrize("ssh", ["10.0.0.10", "deploy@", "@10.0.0.10", "-oProxyCommand=x@10.0.0.10", "a b@10.0.0.10"])
def test_ssh_that_is_no_user_at_a_host_is_refused(ssh: str) -> None:
    assert refused(by_ssh(ssh)).reference == "site-bad-value"


@pytest.mark.parametrize("host_key", ["ssh-ed25519 AAAA", "10.0.0.10 ssh-ed25519 " + "A" * 68, "ssh-dss " + "A" * 68])
def test_host_key_that_is_none_is_refused(host_key: str) -> None:
    assert refused(by_ssh(host_key=host_key)).exit_status == 2


# ---- compliance


def with_probe(probe: str) -> str:
    passes = 'pass_when = { field = "running", equals = 0 }'
    audit = f'audit_export = {{ command = ["/bin/audit"], {passes} }}'
    return SITE + f"\n[compliance]\nlegal_hold = {{ {probe}{passes} }}\n{audit}\n"


def test_probe_by_http_may_be_connected_to() -> None:
    site = parse(with_probe('http = "https://hold.site.local/legal-hold", '))

    assert ("hold.site.local", 443) in site.allowed_endpoints()


@pytest.mark.parametrize(
    "probe",
    [
        "",
        'http = "https://hold.site.local/", command = ["/bin/hold"], ',
        'http = "http://hold.site.local/legal-hold", ',
        'http = "https://user:secret@hold.site.local/", ',
        'http = "ftp://hold.site.local/", ',
        'file = "/run/hold.json", ',
        'command = ["/bin/hold"], max_age_seconds = 5, ',
        'file = "hold.json", max_age_seconds = 5, ',
    ],
)
def test_probe_that_could_be_answered_by_anybody_or_nobody_is_refused(probe: str) -> None:
    assert refused(with_probe(probe)).reference == "site-bad-value"


# ---- tier before everything else


def test_tier_is_decided_before_the_rest_of_the_file_is_judged(tmp_path: Path) -> None:
    path = written(tmp_path, '[site]\ntier = "gov"\nnonsense = 1\n')

    assert decide_strategy({}, path, kit=None).kind is Kind.BLUE_GREEN


def test_tier_of_the_environment_is_judged_before_the_file_is_opened(tmp_path: Path) -> None:
    path = written(tmp_path, SITE)
    path.chmod(0o666)

    with pytest.raises(UsageError) as caught:
        decide_strategy({"DEPLOYMENT_TIER": "x"}, path, kit=None)

    assert caught.value.reference == "tier-unknown"


def test_tier_is_missing_when_there_is_neither_variable_nor_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        decide_strategy({}, tmp_path / "absent.toml", kit=None)

    assert caught.value.reference == "tier-missing"


def test_tier_of_a_file_that_may_not_be_read_is_not_used(tmp_path: Path) -> None:
    path = written(tmp_path, SITE)
    path.chmod(0o666)

    with pytest.raises(UsageError) as caught:
        decide_strategy({"DEPLOYMENT_TIER": "1"}, path, kit=None)

    assert caught.value.reference == "site-writable"


def test_tier_that_is_a_number_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_site_tier(written(tmp_path, "[site]\ntier = 1\n"), kit=None)

    assert (caught.value.reference, caught.value.facts["line"]) == ("site-bad-value", 2)


@pytest.mark.parametrize("text", ["", "site = 3\n", "[site]\n"])
def test_file_without_a_tier_names_none(tmp_path: Path, text: str) -> None:
    assert load_site_tier(written(tmp_path, text), kit=None) is None


# ---- addresses


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [("10.0.0.1:80", ("10.0.0.1", 80)), ("[fd00::1]:65535", ("fd00::1", 65535)), ("a-b.c:1", ("a-b.c", 1))],
)
def test_address_is_host_and_port(text: str, endpoint: tuple[str, int]) -> None:
    assert parse_address(text) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        ":80",
        "a:",
        "a:0",
        "a:080",
        "a:65536",
        "a:-1",
        "a: 80",
        "a b:80",
        "fd00::1:80",
        "[x]:80",
        "-a:80",
        "1.2:80",
    ],
)
def test_anything_else_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_address(text)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://r.local", ("https", "r.local", 443)),
        ("http://127.0.0.1/", ("http", "127.0.0.1", 80)),
        ("https://[fd00::1]", ("https", "fd00::1", 443)),
        ("https://[fd00::1]:5000", ("https", "fd00::1", 5000)),
    ],
)
def test_registry_url_without_a_port_has_the_port_of_its_scheme(url: str, endpoint: tuple[str, str, int]) -> None:
    assert registry_endpoint(url) == endpoint


def test_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(ValueError, match=r"a user in it") as caught:
        registry_endpoint("https://loader:secret@r.local")

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1.example", "registry", "10.0.0.1", "::2"])
def test_other_hosts_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)
