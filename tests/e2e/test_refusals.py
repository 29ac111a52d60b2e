"""Every bad kit, typed at a real site: status, reference, hint, and nothing changed. And what is never built."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from teraferry.bundles.system.clock import now_utc
from tests.e2e.room import Room, bundle_of, flip, index_offset, require_refusal, rewrite
from tests.lab.house import House
from tests.lab.secops import Answer, Secops
from tests.lab.site import STATE

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("site")]

Change = Callable[[Path], object]


def install_of(room: Room, change: Change, status: int, reference: str | set[str]) -> Answer:
    """Type ``install`` of the newest kit, changed on the stick; it must be refused."""
    with room.carried(room.kit, change=change) as there:
        return room.refuses(status, reference, lambda: room.type("install", there, "--yes"))


# ---- the bundle


@pytest.mark.parametrize(
    ("where", "reference"),
    [
        pytest.param(lambda kit: 0, "chunk-digest-mismatch", id="first"),
        pytest.param(lambda kit: 5_000_000, "chunk-digest-mismatch", id="in-the-second-chunk"),
        pytest.param(lambda kit: index_offset(kit) - 1, "chunk-digest-mismatch", id="last-before-the-index"),
        pytest.param(lambda kit: index_offset(kit), "index-digest-mismatch", id="first-of-the-index"),
        pytest.param(lambda kit: index_offset(kit) + 600, "index-digest-mismatch", id="in-the-index"),
        pytest.param(lambda kit: -1, "index-digest-mismatch", id="last"),
    ],
)
def test_flipped_byte_of_the_bundle_is_refused(room: Room, where: Callable[[Path], int], reference: str) -> None:
    answer = install_of(room, lambda kit: flip(bundle_of(kit), where(room.kit)), 10, reference)

    assert bundle_of(room.kit).name in str(answer.result["file"])
    assert answer.result["found"] != answer.result["expected"]


@pytest.mark.parametrize(
    ("change", "reference"),
    [
        pytest.param(lambda content: content[:-1], "bundle-truncated", id="one-byte-short"),
        pytest.param(lambda content: content[: len(content) // 2], "bundle-truncated", id="half"),
        pytest.param(lambda content: b"", "bundle-truncated", id="empty"),
        pytest.param(lambda content: content + b"\0", "bundle-extended", id="one-byte-more"),
        pytest.param(lambda content: content + content, "bundle-extended", id="twice"),
    ],
)
def test_bundle_of_another_length_is_refused(room: Room, change: Callable[[bytes], bytes], reference: str) -> None:
    install_of(room, lambda kit: rewrite(bundle_of(kit), change), 10, reference)


def test_another_kits_bundle_under_the_name_is_refused(room: Room) -> None:
    other = bundle_of(room.older).read_bytes()

    install_of(room, lambda kit: rewrite(bundle_of(kit), lambda _: other), 10, "bundle-truncated")


def test_another_bundle_of_the_same_length_is_refused(room: Room) -> None:
    install_of(room, lambda kit: rewrite(bundle_of(kit), lambda content: content[::-1]), 10, "index-digest-mismatch")


def test_kit_without_its_bundle_is_refused(room: Room) -> None:
    install_of(room, lambda kit: bundle_of(kit).unlink(), 10, "bundle-missing")


def test_bundle_that_is_a_link_is_refused(room: Room) -> None:
    def change(kit: Path) -> None:
        bundle = bundle_of(kit)
        bundle.rename(kit / "elsewhere")
        bundle.symlink_to("elsewhere")

    install_of(room, change, 10, "bundle-not-regular")


# ---- the metadata


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json"])
@pytest.mark.parametrize(
    ("word", "status", "reference"),
    [
        pytest.param(b'"expires": "', 20, "threshold-not-met", id="in-what-is-signed"),
        pytest.param(b'"sig": "', 20, "threshold-not-met", id="in-a-signature"),
        pytest.param(b"", 24, "metadata-unreadable", id="first"),
    ],
)
def test_flipped_byte_of_the_metadata_is_refused(
    room: Room, name: str, word: bytes, status: int, reference: str
) -> None:
    def change(kit: Path) -> None:
        path = kit / "metadata" / name
        content = path.read_bytes()
        compact = word if word in content else word.replace(b": ", b":")
        flip(path, content.index(compact) + len(compact))

    install_of(room, change, status, reference)


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
        answer = room.refuses(20, "threshold-not-met", lambda: room.type("install", there, "--yes"))

    assert answer.result["have"] == 0


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


# ---- the connected side


def test_reference_to_a_public_registry_stops_lock_and_build(secops: Secops, room: Room) -> None:
    compose = room.folder / "compose.yml"
    compose.write_text("services:\n  api:\n    image: ${REGISTRY}/terachat/api:5.0.0\n  cache:\n    image: redis:7\n")
    project = secops.project("5.0.0", images=room.images, files={"compose.yml": compose})
    target = room.folder / "never-built"

    locked = secops.teraferry("lock", str(project), check=False)
    built = secops.teraferry("build", str(project), "-o", str(target), "--installer", str(secops.freeze()), check=False)

    require_refusal(locked, 30, "reference-leaves-site")
    assert str(locked.result["message"]).startswith(f"{compose}:5: redis:7: ")
    require_refusal(built, 30, "lock-missing")
    assert not target.exists()
