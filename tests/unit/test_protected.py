"""A rollout never touches what keys live in: not by a path, not by a link, not by a command."""

from __future__ import annotations

from pathlib import Path

import pytest

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.transport.local import LocalTransport
from teraferry.installer.key_places import require_untouched_on_nodes
from teraferry.installer.rollout.plan import Target
from teraferry.installer.rollout.protected import (
    Protected,
    protected_places,
    require_commands_keep_away,
    require_registry_keeps_away,
    require_untouched,
)
from teraferry.installer.site.load import parse_site
from teraferry.installer.site.model import Site
from tests.fakes.site_toml import PAIR_KEY, SITE, pair_site
from tests.fakes.transport import FakeTransport
from tests.unit.test_site_keys import TPM

BLOB = "/var/lib/terachat/company.key.wrapped"


def target(path: str, node: str = "vol-1") -> Target:
    return Target(node, "10.0.0.11:8080", "volume", path, "bin/weed", digest_of(b""), 1, 0o755)


def site_of(text: str = SITE + TPM) -> Site:
    return parse_site(text.encode(), name="site.toml")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (BLOB, BLOB),
        ("/var/lib/tpm/weed", "/var/lib/tpm"),
        ("/var/lib/terachat", BLOB),
        ("/var/lib/terachat/company", "/var/lib/terachat/company.d/key"),
        ("/var/lib/terachat/company", "/var/lib/terachat/company.d"),
    ],
)
def test_deploy_path_that_meets_a_protected_place_is_refused(path: str, place: str) -> None:
    with pytest.raises(RefusedError) as caught:
        require_untouched([target(path)], [Protected("Company_Key", "vol-1", place)])

    assert (caught.value.reference, caught.value.exit_status) == ("touches-protected-path", 40)
    assert caught.value.facts["key"] == "Company_Key"


@pytest.mark.parametrize(
    ("path", "node", "place"),
    [
        ("/opt/weed", "vol-1", BLOB),
        ("/var/lib/terachat/weed", "vol-1", BLOB),
        (BLOB, "vol-2", BLOB),
        ("/var/lib/tpm2/weed", "vol-1", "/var/lib/tpm"),
    ],
)
def test_deploy_path_beside_it_or_on_another_machine_passes(path: str, node: str, place: str) -> None:
    require_untouched([target(path, node)], [Protected("Company_Key", "vol-1", place)])


def test_places_of_a_key_are_its_blobs_its_authorization_files_and_what_the_site_declares() -> None:
    places = {place.path for place in protected_places(site_of())}

    assert places == {BLOB, "/var/lib/tpm", "/etc/terachat/tpm.auth", "/etc/terachat/twin.auth"}


def test_nodes_of_one_machine_share_what_is_protected() -> None:
    site = site_of()
    way = next(node.transport for node in site.nodes if node.name == "vol-1")
    here = {node.name for node in site.nodes if node.transport == way}

    assert {place.node for place in protected_places(site)} == here


@pytest.mark.parametrize(
    "word", ["0x81010002", "--handle=0x81010002", "0X81010003", BLOB, "/VAR/LIB/TPM/x", "01500001"]
)
def test_start_command_that_names_a_handle_or_place_is_refused(word: str) -> None:
    text = (SITE + TPM).replace('unit = "weed-volume"', f'stop = ["true"]\nstart = ["sh", "-c", "use {word}"]', 1)

    with pytest.raises(RefusedError) as caught:
        require_commands_keep_away(site_of(text))
    assert caught.value.reference == "touches-protected-path"


@pytest.mark.parametrize(
    ("table", "changes"),
    [
        ("traffic", {'"nftables"': '"command"\ncommand = ["/bin/switch", "0x81010002"]', '"10s"': '"none"'}),
        (
            "replication",
            {'"seaweedfs"': '"command"\ncommand = ["/bin/replicate", "0x81010002"]', 'path = "/data"\n': ""},
        ),
        ("replication", {'path = "/data"': 'path = "/data"\nstart = ["/bin/a", "0x81010002"]\nstop = ["/bin/b"]'}),
    ],
)
def test_program_of_tier_2_that_names_a_handle_is_refused(table: str, changes: dict[str, str]) -> None:
    text = pair_site() + TPM.replace("vol-1", "green-1")
    for old, new in changes.items():
        text = text.replace(old, new)

    with pytest.raises(RefusedError) as caught:
        require_commands_keep_away(site_of(text))
    assert (caught.value.reference, f"[{table}]" in caught.value.message) == ("touches-protected-path", True)


SERVICE = """
[registry.service]
file = "bin/registry"
"""


@pytest.mark.parametrize(
    "field", ['data = "/var/lib/tpm/images"', 'settings = "/etc/terachat"', 'path = "/var/lib/terachat/company.key"']
)
def test_registry_that_would_write_where_a_key_lives_is_refused(field: str) -> None:
    text = SITE.replace("\n[cluster]", f"{SERVICE}{field}\n\n[cluster]") + TPM.replace(BLOB, f"{BLOB[:-8]}")

    with pytest.raises(RefusedError) as caught:
        require_registry_keeps_away(site_of(text))
    assert caught.value.reference == "touches-protected-path"


def test_registry_that_keeps_away_passes() -> None:
    require_registry_keeps_away(site_of(SITE.replace("\n[cluster]", f"{SERVICE}\n[cluster]") + TPM))
    require_registry_keeps_away(site_of())


def test_commands_that_keep_away_pass() -> None:
    require_commands_keep_away(site_of())
    require_commands_keep_away(site_of(pair_site() + PAIR_KEY))


@pytest.mark.parametrize("link", ["file", "folder", "protected"])
def test_link_that_leads_to_a_key_is_refused(tmp_path: Path, link: str) -> None:
    vault, opt = tmp_path / "vault", tmp_path / "opt"
    vault.mkdir()
    place, path = vault / "key", opt / "weed"
    place.write_bytes(b"wrapped")
    if link == "file":
        opt.mkdir()
        path.symlink_to(place)
    elif link == "folder":
        opt.symlink_to(vault)
        path = opt / "key"
    else:
        opt.mkdir()
        place.unlink()
        place.symlink_to(path)
    here = LocalTransport("vol-1")
    protected = [Protected("Company_Key", "vol-1", str(place))]
    require_untouched([target(str(path))], protected)  # by its letters there is nothing wrong

    with pytest.raises(RefusedError) as caught:
        require_untouched_on_nodes([target(str(path))], protected, lambda _: here)
    assert caught.value.reference == "touches-protected-path"


def test_paths_that_keep_apart_on_the_node_pass(tmp_path: Path) -> None:
    place = tmp_path / "vault" / "key with\nnewline"
    here = LocalTransport("vol-1")
    (tmp_path / "opt").mkdir()

    require_untouched_on_nodes(
        [target(str(tmp_path / "opt" / "weed"))], [Protected("K", "vol-1", str(place))], lambda _: here
    )


def test_node_that_cannot_resolve_paths_refuses() -> None:
    with pytest.raises(RefusedError) as caught:
        require_untouched_on_nodes([target("/opt/weed")], [Protected("K", "vol-1", BLOB)], lambda _: FakeTransport())
    assert caught.value.reference == "cannot-tell"
