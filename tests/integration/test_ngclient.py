"""A kit's metadata is standard TUF: python-tuf's own client, with default settings, says what we say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from teraferry.bundles.errors import TeraFerryError
from teraferry.bundles.system.clock import now_utc
from tests.lab.house import House
from tests.lab.oracle import ask_ngclient


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house")).open(now=now_utc())


@pytest.fixture(scope="module")
def good(house: House) -> Path:
    return house.kit(now=now_utc()).folder


@pytest.fixture
def kit(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "kit"))


def ours(house: House, kit: Path) -> str:
    from teraferry.builder.kit import locate_kit

    try:
        house.judge(locate_kit(kit), now=now_utc())
    except TeraFerryError as error:
        return error.reference
    return "accepted"


@pytest.mark.parametrize("target", ["demo-1.0.0.tar.gz", "teraferry-installer", "START-HERE.html"])
def test_ngclient_accepts_a_kit_and_every_file_in_it(house: House, kit: Path, target: str) -> None:
    assert ask_ngclient(kit, house.root, target=target) == "accepted"
    assert ours(house, kit) == "accepted"


def test_ngclient_follows_our_chain_of_roots(house: House, tmp_path: Path) -> None:
    rotated = House(tmp_path).open(now=now_utc())
    rotated.publish_root(rotated.sign_root(rotated.next_root(), "root-1", "root-3"), 2)
    kit = rotated.kit(now=now_utc()).folder

    assert ask_ngclient(kit, rotated.root, target="demo-1.0.0.tar.gz") == "accepted"
    assert ours(rotated, kit) == "accepted"


def edit(name: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(kit: Path) -> None:
        path = kit / "metadata" / name
        document = json.loads(path.read_bytes())
        change(document)
        path.write_text(json.dumps(document))

    return apply


def drop_signature(document: dict[str, Any]) -> None:
    document["signatures"].pop()


def double_signature(document: dict[str, Any]) -> None:
    document["signatures"].append(document["signatures"][0])


def one_signature_twice(document: dict[str, Any]) -> None:
    document["signatures"][1]["sig"] = document["signatures"][0]["sig"]


def raise_version(document: dict[str, Any]) -> None:
    document["signed"]["version"] += 1


def later_expiry(document: dict[str, Any]) -> None:
    document["signed"]["expires"] = "2099-01-01T00:00:00Z"


def remove(name: str) -> Callable[[Path], None]:
    return lambda kit: (kit / "metadata" / name).unlink()


def cut(name: str) -> Callable[[Path], None]:
    def apply(kit: Path) -> None:
        path = kit / "metadata" / name
        path.write_bytes(path.read_bytes()[:-20])

    return apply


MUTATIONS = {
    "one signature of two": edit("targets.json", drop_signature),
    "no signature of the desk": edit("timestamp.json", drop_signature),
    "a signature doubled": edit("targets.json", double_signature),
    "one signature under two ids": edit("targets.json", one_signature_twice),
    "targets of a higher version": edit("targets.json", raise_version),
    "a timestamp of a higher version": edit("timestamp.json", raise_version),
    "a later expiry": edit("timestamp.json", later_expiry),
    "no timestamp": remove("timestamp.json"),
    "no snapshot": remove("snapshot.json"),
    "no targets": remove("targets.json"),
    "targets cut short": cut("targets.json"),
    "a timestamp above its limit": lambda kit: (kit / "metadata" / "timestamp.json").write_bytes(
        (kit / "metadata" / "timestamp.json").read_bytes() + b" " * 16 * 1024
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_what_ngclient_refuses_we_refuse(house: House, kit: Path, mutation: str) -> None:
    MUTATIONS[mutation](kit)  # type: ignore[no-untyped-call]

    assert ask_ngclient(kit, house.root) != "accepted"
    assert ours(house, kit) != "accepted"


def test_a_kit_of_strangers_is_refused_by_both(house: House, tmp_path: Path) -> None:
    stranger = House(tmp_path).open(now=now_utc()).kit(now=now_utc()).folder

    assert ask_ngclient(stranger, house.root) == "UnsignedMetadataError"
    assert ours(house, stranger) == "threshold-not-met"


def test_a_target_swapped_on_the_medium_is_refused_by_both(house: House, kit: Path) -> None:
    from teraferry.builder.kit import locate_kit

    (kit / "teraferry-installer").write_bytes(b"#!/bin/sh\necho evil one!\n")

    assert ask_ngclient(kit, house.root, target="teraferry-installer") == "LengthOrHashMismatchError"
    with pytest.raises(TeraFerryError) as caught:
        house.verify(locate_kit(kit), now=now_utc())
    assert (caught.value.exit_status, caught.value.reference) == (10, "file-differs")
