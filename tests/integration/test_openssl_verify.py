"""The first visit: what START-HERE.html tells a person to type works with stock tools, for every kind of key."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path

import pytest

from teraferry.bundles.system.process import Completed, run
from tests.lab.house import House

KINDS = ("p256", "p384", "rsa", "ed25519")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house"), release_kinds=KINDS, release_threshold=3).open()


@pytest.fixture(scope="module")
def signed(house: House) -> Path:
    kit = house.build()
    house.sign(kit, "release-1", "release-2", "release-3", "release-4")
    return kit.folder


@pytest.fixture
def kit(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "medium"))


def lines_of(page: str, block: str) -> list[str]:
    """Return the commands in the page's block of this id or class."""
    found = re.findall(rf'<pre (?:class="\w+" )?id="{block}">(.*?)</pre>', page, re.S)
    return [line for text in found for line in html.unescape(text).strip().splitlines()]


def typed(house: House, kit: Path, work: Path, *blocks: str) -> Completed:
    """Type the page's lines into a shell, with the reader's own folders put in."""
    page = (kit / "START-HERE.html").read_text()
    script = [line for block in blocks for line in lines_of(page, block)]
    text = "\n".join(script)
    text = re.sub(r"^KIT=.*$", f"KIT={kit}", text, flags=re.M)
    text = re.sub(r"^KEYS=.*$", f"KEYS={house.folder / 'trust' / 'keys'}", text, flags=re.M)
    text = text.replace("/root/", f"{work}/")
    return run(["sh", "-e", "-c", text], timeout_seconds=60)


def test_every_kind_of_key_is_checked_by_its_printed_line(house: House, kit: Path, tmp_path: Path) -> None:
    done = typed(house, kit, tmp_path, "copy", "keys", r"verify-\w+", "sums")

    assert done.status == 0, done.stderr
    assert done.text().count("Verified OK") == 3
    assert done.text().count("Signature Verified Successfully") == 1
    assert done.text().count(": OK") == 2


def test_printed_fingerprints_are_those_the_page_shows(house: House, kit: Path, tmp_path: Path) -> None:
    page = (kit / "START-HERE.html").read_text()

    digests = re.findall(r"^[0-9a-f]{64}", typed(house, kit, tmp_path, "keys").text(), re.M)

    assert len(digests) == 4
    assert all(digest in page for digest in digests)


@pytest.mark.parametrize("number", range(4))
def test_each_printed_line_refuses_a_changed_file(house: House, kit: Path, tmp_path: Path, number: int) -> None:
    page = (kit / "START-HERE.html").read_text()
    with (kit / "SHA256SUMS").open("ab") as file:
        file.write(b"\n")
    block = re.findall(r'id="(verify-\w+)"', page)[number]

    assert typed(house, kit, tmp_path, "copy", "keys", block).status != 0


def test_a_changed_installer_is_refused_by_sha256sum(house: House, kit: Path, tmp_path: Path) -> None:
    (kit / "teraferry-installer").write_bytes(b"#!/bin/sh\necho evil\n")

    done = typed(house, kit, tmp_path, "copy", "sums")

    assert done.status != 0
    assert "teraferry-installer: FAILED" in done.text()


def test_sha256sum_checks_the_whole_kit(kit: Path) -> None:
    done = run(["sh", "-c", f"cd {kit} && sha256sum -c SHA256SUMS"], timeout_seconds=60)

    assert done.status == 0
    assert done.text().count(": OK") == 3


def test_the_page_links_to_nothing_and_runs_nothing(kit: Path) -> None:
    page = (kit / "START-HERE.html").read_text()

    assert not re.search(r"<script|https?:|src=|url\(|@import", page)
    assert set(re.findall(r'href="([^"]*)"', page)) == {"#first", "#later"}


def test_the_page_is_the_same_for_every_signer_and_day(house: House, signed: Path, tmp_path: Path) -> None:
    again = house.build(name="again")

    house.sign(again, "release-2", now=house.trust.load_root().signed.expires)

    assert (again.folder / "START-HERE.html").read_bytes() == (signed / "START-HERE.html").read_bytes()
