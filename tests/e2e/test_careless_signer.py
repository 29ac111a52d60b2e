"""Hostile bundles under real signatures of the site's own release keys: refused all the same, and nothing changed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from teraferry.bundles import layout
from teraferry.bundles.digest import digest_of
from teraferry.bundles.gzip_member import GZIP_HEADER, trailer
from teraferry.bundles.system.clock import now_utc
from tests.e2e.careless import honest, hostile_kit, refusal_of_builder
from tests.e2e.room import Room
from tests.fakes.hostile_archive import HostileEntry, blob_entry, deflated_member, tar_block
from tests.lab.house import House

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("site")]

STORE = Path("/var/lib/careless")
PROGRAM = b"a program, or what the manifest says is one"
NAME = layout.blob_name(digest_of(PROGRAM))
BOMB_BYTES = 64 * 1024**2


def bomb() -> bytes:
    """A member that inflates to a thousand times its length."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    stream = deflater.compress(bytes(BOMB_BYTES)) + deflater.flush()
    return GZIP_HEADER + stream + trailer(crc32=0, plain_bytes=BOMB_BYTES)


def program(*, header: bytes | None = None, name: str = NAME, **changes: object) -> HostileEntry:
    return HostileEntry(name=name, content=PROGRAM, header=header, **changes)  # type: ignore[arg-type]


def other_type(flag: bytes, link: str = "") -> HostileEntry:
    return program(header=tar_block(NAME, size_bytes=len(PROGRAM), type_flag=flag, link=link))


@dataclass(frozen=True)
class Attack:
    """One bundle, and how it must be refused."""

    reference: str
    entries: Sequence[HostileEntry]
    changes: dict[str, Callable[..., object]] = field(default_factory=dict)


FAKE = HostileEntry(name=NAME, content=PROGRAM[::-1], claimed_digest=digest_of(PROGRAM))
ATTACKS = {
    "name-with-dots": Attack("entry-name-unsafe", [program(name="../../etc/cron.d/x", header=tar_block(NAME))]),
    "absolute-name": Attack("entry-name-unsafe", [program(name="/etc/cron.d/x", header=tar_block(NAME))]),
    "dots-in-the-header-only": Attack(
        "entry-header-disagrees", [program(header=tar_block("../../etc/passwd", size_bytes=len(PROGRAM)))]
    ),
    "absolute-name-in-the-header-only": Attack(
        "entry-header-disagrees", [program(header=tar_block("/etc/passwd", size_bytes=len(PROGRAM)))]
    ),
    "hard-link": Attack("entry-not-regular", [other_type(b"1", "oci-layout")]),
    "symbolic-link": Attack("entry-not-regular", [other_type(b"2", "/etc/passwd")]),
    "character-device": Attack("entry-not-regular", [other_type(b"3")]),
    "block-device": Attack("entry-not-regular", [other_type(b"4")]),
    "folder": Attack("entry-not-regular", [other_type(b"5")]),
    "pipe": Attack("entry-not-regular", [other_type(b"6")]),
    "same-name-twice": Attack("entry-duplicate", [program(), program()]),
    "claim-of-a-tebibyte": Attack(
        "entry-size-impossible",
        [program(encoding="deflated", members=[deflated_member(PROGRAM.ljust(512, b"\0"))], claimed_bytes=1024**4)],
    ),
    "bomb-in-a-program": Attack("member-too-large", [program(encoding="deflated", members=[bomb()])]),
    "program-that-is-not-its-digest": Attack("entry-digest-mismatch", [FAKE]),
    "name-that-is-another-digest": Attack("entry-name-disagrees", [HostileEntry(name=NAME, content=b"something else")]),
    "index-bomb": Attack(
        "member-too-large", [program()], {"change_tail": lambda raw: raw[:535] + bomb() + raw[-1047:]}
    ),
    "bytes-after-the-end": Attack("member-malformed", [program()], {"change_tail": lambda raw: raw + b"\0" * 512}),
    "program-that-is-not-there": Attack("entry-missing", [blob_entry(b"another blob")]),
}


@pytest.fixture(scope="module")
def careless(room: Room, tmp_path_factory: pytest.TempPathFactory) -> House:
    """Release keys that the site trusts, in careless hands."""
    house = House(tmp_path_factory.mktemp("careless")).open(now=now_utc())
    root = house.folder / "trust" / "1.root.json"
    fingerprint = house.judge(house.kit("0.9.0", now=now_utc()), now=now_utc()).fingerprint
    room.pin(STORE, root, fingerprint)
    return house


@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_bundle_under_real_signatures_is_refused(
    room: Room, careless: House, tmp_path: Path, name: str
) -> None:
    attack = ATTACKS[name]
    entries = [*honest(PROGRAM), *attack.entries]
    kit = hostile_kit(careless, tmp_path / name, entries, now=now_utc(), **attack.changes)

    with room.carried(kit) as there:
        room.refuses(10, attack.reference, lambda: room.type("--state", STORE, "install", there, "--yes"))


@pytest.mark.parametrize("name", ATTACKS)
def test_builder_does_not_sign_a_hostile_bundle(careless: House, tmp_path: Path, name: str) -> None:
    attack = ATTACKS[name]
    entries = [*honest(PROGRAM), *attack.entries]
    kit = hostile_kit(careless, tmp_path / name, entries, now=now_utc(), **attack.changes)

    refused = refusal_of_builder(careless, kit, now=now_utc())

    assert refused is not None
    assert (refused.exit_status, refused.reference) == (10, attack.reference)


def test_honest_bundle_of_the_same_making_is_accepted(room: Room, careless: House, tmp_path: Path) -> None:
    kit = hostile_kit(careless, tmp_path / "honest", [*honest(PROGRAM), program()], now=now_utc())

    with room.carried(kit) as there:
        answer = room.type("--state", STORE, "verify", there)

    assert answer.status == 0, answer.stderr
