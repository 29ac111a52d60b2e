"""Everything a site must refuse, typed at a real site: status, reference, hint, and nothing changed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.room import STATE, Room, bundle_of, flip, index_offset, require_refusal, rewrite, tags_in
from tests.lab.house import House
from tests.lab.registry import LabRegistry, make_authority
from tests.lab.secops import Answer, Secops
from tests.lab.site import SITE_FILE
from teraferry.bundles.system.clock import now_utc

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("site")]

Change = Callable[[Path], object]


def install_of(room: Room, change: Change, status: int, reference: str | set[str]) -> Answer:
    """Type ``install`` of the newest kit, changed on the stick; it must be refused."""
    with room.carried(room.kit, change=change) as there:
        return room.refuses(status, reference, lambda: room.type("install", there, "--yes"))


# ---- the bundle


@pytest.mark.parametrize(
    "where",
    [
        pytest.param(lambda kit: 0, id="first"),
        pytest.param(lambda kit: 5_000_000, id="in-the-second-chunk"),
        pytest.param(lambda kit: index_offset(kit) - 1, id="last-before-the-index"),
        pytest.param(lambda kit: index_offset(kit), id="first-of-the-index"),
        pytest.param(lambda kit: index_offset(kit) + 600, id="in-the-index"),
        pytest.param(lambda kit: -1, id="last"),
    ],
)
def test_flipped_byte_of_the_bundle_is_refused(room: Room, where: Callable[[Path], int]) -> None:
    answer = install_of(
        room, lambda kit: flip(bundle_of(kit), where(room.kit)), 10, {"chunk-digest-differs", "index-digest-differs"}
    )

    assert bundle_of(room.kit).name in str(answer.result["message"])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda content: content[:-1], id="one-byte-short"),
        pytest.param(lambda content: content[: len(content) // 2], id="half"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: content + b"\0", id="one-byte-more"),
        pytest.param(lambda content: content + content, id="twice"),
    ],
)
def test_bundle_of_another_length_is_refused(room: Room, change: Callable[[bytes], bytes]) -> None:
    install_of(room, lambda kit: rewrite(bundle_of(kit), change), 10, "bundle-length-differs")


def test_another_kits_bundle_under_the_name_is_refused(room: Room) -> None:
    other = bundle_of(room.older).read_bytes()

    install_of(room, lambda kit: rewrite(bundle_of(kit), lambda _: other), 10, "bundle-length-differs")


def test_another_bundle_of_the_same_length_is_refused(room: Room) -> None:
    install_of(room, lambda kit: rewrite(bundle_of(kit), lambda content: content[::-1]), 10, "index-digest-differs")


def test_kit_without_its_bundle_is_refused_as_a_medium_that_cannot_be_read(room: Room) -> None:
    install_of(room, lambda kit: bundle_of(kit).unlink(), 11, "medium-unreadable")


def test_bundle_that_is_a_link_is_refused(room: Room) -> None:
    def change(kit: Path) -> None:
        bundle = bundle_of(kit)
        bundle.rename(kit / "elsewhere")
        bundle.symlink_to("elsewhere")

    install_of(room, change, 11, "medium-unreadable")


# ---- the metadata


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json"])
@pytest.mark.parametrize(
    ("word", "status"),
    [
        pytest.param(b'"version": ', 20, id="in-what-is-signed"),
        pytest.param(b'"sig": "', 20, id="in-a-signature"),
        pytest.param(b"", 24, id="first"),
    ],
)
def test_flipped_byte_of_the_metadata_is_refused(room: Room, name: str, word: bytes, status: int) -> None:
    def change(kit: Path) -> None:
        path = kit / "metadata" / name
        content = path.read_bytes()
        compact = word if word in content else word.replace(b": ", b":")
        flip(path, content.index(compact) + len(compact))

    install_of(room, change, status, {"signature-invalid", "threshold-not-met", "metadata-unreadable"})


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json"])
def test_kit_without_a_metadata_file_is_refused_as_unsigned(room: Room, name: str) -> None:
    install_of(room, lambda kit: (kit / "metadata" / name).unlink(), 20, "threshold-not-met")


def test_targets_of_another_kit_are_refused(room: Room) -> None:
    def change(kit: Path) -> None:
        path = kit / "metadata" / "targets.json"
        rewrite(path, lambda _: (room.older / "metadata" / "targets.json").read_bytes())

    install_of(room, change, 24, "metadata-disagrees")


# ---- who signed


def keep_signatures(kit: Path, count: int) -> None:
    """Leave the first ``count`` release signatures in targets.json; the desk signed versions only, so it still fits."""

    def change(content: bytes) -> bytes:
        targets: dict[str, Any] = json.loads(content)
        targets["signatures"] = targets["signatures"][:count]
        return json.dumps(targets).encode()

    rewrite(kit / "metadata" / "targets.json", change)


@pytest.mark.parametrize("have", [0, 1])
def test_kit_with_fewer_than_two_release_signatures_is_refused(room: Room, have: int) -> None:
    answer = install_of(room, lambda kit: keep_signatures(kit, have), 20, "threshold-not-met")

    assert (answer.result["have"], answer.result["need"]) == (have, 2)


def test_kit_as_it_was_built_is_refused_as_unsigned(room: Room, secops: Secops) -> None:
    bare = room.folder / "as-built" / room.kit.name
    shutil.copytree(room.kit, bare)
    for path in (*bare.glob("SHA256SUMS*"), bare / "START-HERE.html"):
        path.unlink()
    shutil.rmtree(bare / "metadata")

    with room.carried(bare) as there:
        room.refuses(20, "kit-unsigned", lambda: room.type("install", there, "--yes"))


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("strangers"), product="terachat").open(now=now_utc())


def test_kit_of_strangers_is_refused(room: Room, strangers: House) -> None:
    kit = strangers.kit("9.9.9", now=now_utc())

    with room.carried(kit.folder) as there:
        answer = room.refuses(20, "threshold-not-met", lambda: room.type("install", there, "--yes"))

    assert answer.result["have"] == 0


def test_our_bundle_signed_by_strangers_is_refused(room: Room, strangers: House, tmp_path: Path) -> None:
    kit = tmp_path / room.kit.name
    kit.mkdir()
    for name in (bundle_of(room.kit).name, "teraferry-installer"):
        shutil.copyfile(room.kit / name, kit / name)
    strangers.sign(strangers_kit(kit), "release-1", "release-2", now=now_utc())
    shutil.copyfile(room.secops.root, kit / "metadata" / "1.root.json")

    with room.carried(kit) as there:
        room.refuses(20, "threshold-not-met", lambda: room.type("install", there, "--yes"))


def strangers_kit(folder: Path) -> Any:
    from teraferry.builder.kit import locate_kit

    return locate_kit(folder)


@pytest.mark.parametrize("command", ["verify", "plan", "load", "install"])
def test_root_found_only_on_the_medium_is_never_trusted(room: Room, command: str) -> None:
    yes = ["--yes"] if command == "install" else []

    with room.carried(room.kit) as there:
        answer = room.refuses(
            24, "site-not-pinned", lambda: room.type("--state", "/var/lib/never-pinned", command, there, *yes)
        )

    assert "trust pin" in answer.result["hint"]


def test_pin_of_a_root_with_a_flipped_byte_is_refused(room: Room) -> None:
    def change(kit: Path) -> None:
        path = kit / "metadata" / "1.root.json"
        flip(path, path.read_bytes().index(b'"version"') + len(b'"version":') + 1)

    with room.carried(room.kit, change=change) as there:
        pin = ("trust", "pin", there / "metadata" / "1.root.json", "--fingerprint", room.secops.fingerprint)
        answer = room.type("--state", STATE, *pin)

    require_refusal(answer, answer.status, {"fingerprint-differs", "threshold-not-met", "metadata-unreadable"})
    assert answer.status in (20, 24)


def test_pin_with_another_fingerprint_is_refused(room: Room) -> None:
    with room.carried(room.kit) as there:
        root = there / "metadata" / "1.root.json"
        room.refuses(24, "fingerprint-differs", lambda: room.type("trust", "pin", root, "--fingerprint", "ab" * 32))


@pytest.mark.parametrize("command", ["verify", "plan", "load", "install"])
def test_older_kit_after_a_newer_one_was_accepted_is_refused(room: Room, command: str) -> None:
    state = Path("/var/lib/accepted-newer")
    if not (room.site.state.parent / state.name).exists():
        room.pin(state, room.secops.root, room.secops.fingerprint)
        with room.carried(room.kit) as there:
            assert room.type("--state", state, "load", there).status == 0
    yes = ["--yes"] if command == "install" else []

    with room.carried(room.older) as there:
        room.refuses(22, "older-than-installed", lambda: room.type("--state", state, command, there, *yes))


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
            room.refuses(2, "site-link", lambda: room.type("--site", SITE_FILE.parent / link.name, "install", there))
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
        pytest.param("2", with_tier("2"), 40, "tier-not-supported", id="tier-2-in-both"),
        pytest.param("enterprise", with_tier("gov"), 40, "tier-not-supported", id="tier-2-in-words"),
    ],
)
def test_tier_that_is_not_one_known_word_in_both_places_is_refused(
    room: Room, command: str, tier: str | None, change: Callable[[str], str], status: int, reference: str
) -> None:
    site = room.write_site_file("tier.toml", change)
    yes = ["--yes"] if command == "install" else []

    with room.carried(room.kit) as there:
        answer = room.refuses(
            status, reference, lambda: site_command(room, site, command, there, *yes, tier=tier)
        )

    assert status == 40 or "sudo DEPLOYMENT_TIER=" in answer.result["hint"]


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
    room.site.registry.stop()
    try:
        with room.carried(room.kit) as there:
            room.refuses(44, "registry-unreachable", lambda: room.type(*command, there))
    finally:
        room.site.registry.start()


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


@pytest.mark.parametrize("command", [("load",), ("install", "--yes")], ids=["load", "install"])
def test_full_registry_is_refused_and_nothing_is_tagged(
    room: Room, registry_tags: None, full_registry: LabRegistry, command: tuple[str, ...]
) -> None:
    def other(text: str) -> str:
        text = text.replace(":5000", ":5001").replace("/ca.pem", "/full-ca.pem")
        return text.replace("registry.password", "full.password")

    site = room.write_site_file("other.toml", other)
    with room.carried(room.kit) as there:
        room.refuses(44, "registry-full", lambda: room.type("--site", site, *command, there))

    storage = Path(f"/proc/{room.site.lab.node('registry').pid}/root{full_registry.storage}")
    assert tags_in(storage) == []


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


# ---- the connected side


def test_reference_to_a_public_registry_stops_the_build(secops: Secops, room: Room) -> None:
    compose = room.folder / "compose.yml"
    compose.write_text("services:\n  api:\n    image: ${REGISTRY}/terachat/api:1.0.0\n  cache:\n    image: redis:7\n")
    project = secops.project("5.0.0", images={}, files={"compose.yml": compose})
    secops.teraferry("lock", str(project), check=False)

    answer = secops.teraferry(
        "build", str(project), "-o", str(room.folder / "public"), "--installer", str(secops.freeze()), check=False
    )

    require_refusal(answer, 30, {"public-registry", "public-reference", "reference-leaves-site"})
    assert "compose.yml:5" in str(answer.result)
    assert not (room.folder / "public").exists()


_ = signal
