"""What the end-to-end tests share: one trust on tokens, three kits, one site. Made once a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.room import Room, build_kit
from tests.lab.gateway import GatewayLab
from tests.lab.gnupg import GpgHome
from tests.lab.pair_site import PairLab
from tests.lab.secops import Secops
from tests.lab.site import STATE, LabSite
from tests.lab.weed import weed_binary

OLD_WEED, NEW_WEED = "4.47", "4.48"


@pytest.fixture(scope="session")
def secops(tmp_path_factory: pytest.TempPathFactory) -> Secops:
    """Tokens and a trust folder: two of two release keys, one desk key."""
    return Secops(tmp_path_factory.mktemp("secops")).open()


@pytest.fixture(scope="session")
def openpgp() -> Iterator[GpgHome]:
    """A GnuPG home with the release's OpenPGP key."""
    with GpgHome() as home:
        home.make_key("release")
        yield home


@pytest.fixture(scope="session")
def kits(secops: Secops, openpgp: GpgHome, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Signed kits in the order of their releases: one with a real program, then two small ones.

    The last one carries an OpenPGP signature as well.
    """
    key = openpgp.fingerprint("release")
    folder = tmp_path_factory.mktemp("releases")
    small = folder / "small-program"
    small.write_bytes(b"#!/bin/sh\nexit 0\n")
    made = {
        "rolling": build_kit(secops, folder, "4.2.0", program=weed_binary(NEW_WEED), layer_bytes=300_000),
        "older": build_kit(secops, folder, "4.2.1", program=small, layer_bytes=100_000),
        # Two chunks, so that a byte can be bad in one of them.
        "kit": build_kit(secops, folder, "4.2.2", program=small, layer_bytes=6_000_000, openpgp=key),
    }
    for kit in made.values():
        secops.sign_fully(kit)
    signing = ["sign", str(made["kit"]), "--trust", str(secops.trust), "--key", f"gpg:{key}"]
    secops.teraferry(*signing, environment=openpgp.environment)
    return made


@pytest.fixture(scope="session")
def room(secops: Secops, kits: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """The site, up and healthy, with the root pinned that reached it on paper."""
    folder = tmp_path_factory.mktemp("site")
    with LabSite(folder, weed=weed_binary(OLD_WEED)) as site:
        images = {"terachat/api": f"oci:{kits['kit'].parent.parent / 'images-4.2.2'}:api"}
        room = Room(
            folder=folder,
            secops=secops,
            site=site,
            rolling=kits["rolling"],
            older=kits["older"],
            kit=kits["kit"],
            images=images,
        )
        room.pin(STATE, secops.root, secops.fingerprint)
        yield room


@pytest.fixture(scope="module")
def pair(gateway_lab: GatewayLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PairLab]:
    """A tier 2 site whose replication is a program of its own."""
    with PairLab(gateway_lab, tmp_path_factory.mktemp("pair")) as lab:
        yield lab
