"""What a site must refuse whatever kit lies there: its file, tier, cluster, registry, lock and journal."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.room import Room, tags_in
from tests.lab.registry import LabRegistry, make_authority
from tests.lab.secops import Answer
from tests.lab.site import SITE_FILE

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("site")]

# ---- site.toml


def test_site_file_named_on_the_medium_is_refused(room: Room) -> None:
    def change(kit: Path) -> None:
        (kit / "site.toml").write_text(room.site.site_toml())

    with room.carried(room.kit, change=change) as there:
        room.refuses(
            2, "site-file-on-medium", lambda: room.type("--site", there / "site.toml", "install", there, "--yes")
        )


def test_site_file_on_the_medium_is_not_looked_for(room: Room) -> None:
    def change(kit: Path) -> None:
        for folder in (kit, kit.parent):
            (folder / "site.toml").write_text(room.site.site_toml())

    (room.site.etc / "site.toml").rename(room.site.etc / "away.toml")
    try:
        with room.carried(room.kit, change=change) as there:
            room.refuses(2, "site-missing", lambda: room.type("install", there, "--yes"))
    finally:
        (room.site.etc / "away.toml").rename(room.site.etc / "site.toml")
        (room.stick() / "site.toml").unlink(missing_ok=True)


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_site_file_that_others_can_write_is_refused(room: Room, mode: int) -> None:
    (room.site.etc / "site.toml").chmod(mode)
    try:
        with room.carried(room.kit) as there:
            answer = room.refuses(2, "site-writable", lambda: room.type("install", there, "--yes"))
    finally:
        (room.site.etc / "site.toml").chmod(0o644)

    assert "chmod" in answer.result["hint"]


def test_site_file_that_is_a_link_is_refused(room: Room) -> None:
    link = room.site.etc / "link.toml"
    link.symlink_to("site.toml")
    try:
        with room.carried(room.kit) as there:
            site = SITE_FILE.parent / link.name
            room.refuses(2, "site-link", lambda: room.type("--site", site, "install", there, "--yes"))
    finally:
        link.unlink()


# ---- DEPLOYMENT_TIER


def without_tier(text: str) -> str:
    return text.replace('tier = "1"\n', "")


def with_tier(word: str) -> Callable[[str], str]:
    return lambda text: text.replace('tier = "1"', f'tier = "{word}"')


@pytest.mark.parametrize("command", ["plan", "load", "install"])
@pytest.mark.parametrize(
    ("tier", "change", "status", "reference"),
    [
        pytest.param(None, without_tier, 2, "tier-missing", id="missing"),
        pytest.param("3", without_tier, 2, "tier-unknown", id="unknown-word"),
        pytest.param("", with_tier("1"), 2, "tier-unknown", id="empty-word"),
        pytest.param(None, with_tier("one"), 2, "tier-unknown", id="unknown-in-the-file"),
        pytest.param("2", with_tier("1"), 2, "tier-conflict", id="conflict"),
        pytest.param("sme", with_tier("gov"), 2, "tier-conflict", id="conflict-of-words"),
        pytest.param("2", with_tier("2"), 2, "site-missing-field", id="tier-2-in-both"),
        pytest.param("enterprise", with_tier("gov"), 2, "site-missing-field", id="tier-2-in-words"),
    ],
)
def test_tier_that_is_not_one_known_word_in_both_places_is_refused(
    room: Room, command: str, tier: str | None, change: Callable[[str], str], status: int, reference: str
) -> None:
    site = room.write_site_file("tier.toml", change)
    yes = ["--yes"] if command == "install" else []

    with room.carried(room.kit) as there:
        answer = room.refuses(status, reference, lambda: site_command(room, site, command, there, *yes, tier=tier))

    assert reference == "site-missing-field" or "sudo DEPLOYMENT_TIER=" in answer.result["hint"]


def site_command(room: Room, site: Path, *arguments: str | Path, tier: str | None = "1") -> Answer:
    if tier == "":
        return room.site.type("env", "DEPLOYMENT_TIER=", *room.installer, "--site", str(site), *map(str, arguments))
    return room.type("--site", site, *arguments, tier=tier)


# ---- the cluster


def test_degraded_cluster_is_refused_before_the_start(room: Room) -> None:
    room.site.cluster.volumes["vol-4"].stop()
    try:
        with room.carried(room.kit) as there:
            answer = room.refuses(40, "cluster-degraded", lambda: room.type("install", there, "--yes"))
    finally:
        room.site.cluster.volumes["vol-4"].start()

    assert str(answer.result["message"]).startswith("ABORT_DEPLOY")


# ---- the registry


@pytest.fixture
def registry_tags(room: Room) -> Iterator[None]:
    """Nothing may be tagged that was not tagged before."""
    storage = room.site.registry.storage
    assert storage is not None
    before = tags_in(storage)
    yield
    assert tags_in(storage) == before


@pytest.mark.parametrize("command", [("load",), ("install", "--yes")], ids=["load", "install"])
def test_registry_that_is_down_is_refused(room: Room, registry_tags: None, command: tuple[str, ...]) -> None:
    stop_registry(room)
    try:
        with room.carried(room.kit) as there:
            room.refuses(44, "registry-unreachable", lambda: room.type(*command, there))
    finally:
        room.site.registry.start()


def stop_registry(room: Room) -> None:
    """End the registry itself: the process that the lab started waits for it, in another PID namespace."""
    pid = room.site.registry.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(child), signal.SIGTERM)
    room.site.registry.stop()


@pytest.mark.parametrize("command", [("load",), ("install", "--yes")], ids=["load", "install"])
def test_wrong_password_of_the_registry_is_refused(room: Room, registry_tags: None, command: tuple[str, ...]) -> None:
    password = room.site.etc / "wrong.password"
    password.write_text("not the password")
    password.chmod(0o600)
    site = room.write_site_file("other.toml", lambda text: text.replace("registry.password", "wrong.password"))

    with room.carried(room.kit) as there:
        answer = room.refuses(44, "registry-password", lambda: room.type("--site", site, *command, there))

    assert "not the password" not in answer.stderr + json.dumps(answer.result)


@pytest.mark.parametrize("command", [("load",), ("install", "--yes")], ids=["load", "install"])
def test_registry_of_another_authority_is_refused(room: Room, registry_tags: None, command: tuple[str, ...]) -> None:
    make_authority("Another CA").write(room.site.etc / "other-ca.pem")
    site = room.write_site_file("other.toml", lambda text: text.replace("/ca.pem", "/other-ca.pem"))

    with room.carried(room.kit) as there:
        room.refuses(44, "registry-certificate", lambda: room.type("--site", site, *command, there))


@pytest.fixture(scope="module")
def full_registry(room: Room) -> Iterator[LabRegistry]:
    """A second registry on the registry's node, on a disk of 1 MiB."""
    node = room.site.lab.node("registry")
    folder = room.site.folder / "full-registry"
    registry = LabRegistry(folder, host=node.address, port=5001, tls=True, prefix=node.prefix)
    node.sh(f"mkdir {registry.storage} && mount -t tmpfs -o size=1m tiny {registry.storage}")
    shutil.copyfile(registry.ca_file, room.site.etc / "full-ca.pem")
    shutil.copyfile(registry.password_file, room.site.etc / "full.password")
    (room.site.etc / "full.password").chmod(0o600)
    with registry:
        yield registry


def site_with(room: Room, registry: LabRegistry) -> Path:
    """Write a site file that names the second registry."""

    def other(text: str) -> str:
        text = text.replace(":5000", f":{registry.port}").replace("/ca.pem", "/full-ca.pem")
        return text.replace("registry.password", "full.password")

    return room.write_site_file("other.toml", other)


def tags_in_the_second(room: Room, registry: LabRegistry) -> list[str]:
    return tags_in(Path(f"/proc/{room.site.lab.node('registry').pid}/root{registry.storage}"))


@pytest.mark.parametrize("command", [("load",), ("install", "--yes")], ids=["load", "install"])
def test_full_registry_is_refused_before_a_tag_or_a_node_is_touched(
    room: Room, full_registry: LabRegistry, command: tuple[str, ...]
) -> None:
    state = Path(f"/var/lib/full-{command[0]}")
    room.pin(state, room.secops.root, room.secops.fingerprint)
    site = site_with(room, full_registry)

    with room.carried(room.kit) as there:
        room.refuses(44, "registry-full", lambda: room.type("--site", site, "--state", state, *command, there))

    assert tags_in_the_second(room, full_registry) == []


# ---- another installer, no answer, broken evidence


@pytest.mark.parametrize("command", [("load",), ("install", "--yes")], ids=["load", "install"])
def test_second_installer_is_refused_while_one_runs(room: Room, command: tuple[str, ...]) -> None:
    descriptor = os.open(room.site.state, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with room.carried(room.kit) as there:
            answer = room.refuses(42, "locked", lambda: room.type(*command, there))
    finally:
        os.close(descriptor)

    assert str(os.getpid()) in str(answer.result["holder"])


def test_install_without_yes_and_without_a_terminal_is_refused(room: Room) -> None:
    with room.carried(room.kit) as there:
        room.refuses(2, "confirmation-needed", lambda: room.type("install", there))


@pytest.mark.parametrize(
    "command", [("install",), ("journal", "verify"), ("status",)], ids=["install", "journal-verify", "status"]
)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda content: content.replace(b"root-pinned", b"root-pinnee", 1) + content, id="changed"),
        pytest.param(lambda content: b"not json\n" + content, id="not-an-entry"),
        pytest.param(lambda content: b"".join(content.splitlines(keepends=True)[1:]) + b"{}\n", id="first-line-gone"),
    ],
)
def test_broken_journal_needs_an_operator(
    room: Room, command: tuple[str, ...], change: Callable[[bytes], bytes]
) -> None:
    path = room.site.state / "journal.jsonl"
    honest = path.read_bytes()
    path.write_bytes(change(honest))
    try:
        with room.carried(room.kit) as there:
            arguments = (*command, there, "--yes") if command == ("install",) else command
            room.refuses(62, "journal-corrupt", lambda: room.type(*arguments))
    finally:
        path.write_bytes(honest)
