"""The ceremony of docs/openpgp.md: an OpenPGP key born on a token, made by the script, used by ``teraferry sign``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from teraferry.bundles.system.clock import now_utc
from teraferry.bundles.system.process import run
from teraferry.keys.openpgp.gpgv import load_openpgp_key, require_openpgp_signature
from tests.architecture.source_tree import REPOSITORY
from tests.lab.house import House
from tests.lab.nodes import wait_until
from tests.lab.softhsm import SoftHsm

PIN = "canary-pin-482"
USER = "TeraChat release <release@example.org>"


@dataclass
class Ceremony:
    hsm: SoftHsm
    home: Path
    fingerprint: str
    said: str

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.hsm.environment, "GNUPGHOME": str(self.home)}


def hold(hsm: SoftHsm, home: Path, *, pin_file: Path, key_id: str = "07") -> subprocess.CompletedProcess[str]:
    words = ["--home", str(home), "--module", hsm.module, "--token", "openpgp", "--id", key_id, "--user", USER]
    return subprocess.run(
        [str(REPOSITORY / "scripts/openpgp-token"), *words],
        env={**os.environ, **hsm.environment, "OPENPGP_PIN_FILE": str(pin_file)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def ceremony(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceremony]:
    hsm = SoftHsm(tmp_path_factory.mktemp("hsm") / "s").create()
    hsm.add_token("openpgp", pin=PIN)
    folder = Path(tempfile.mkdtemp(prefix="ot-"))
    done = hold(hsm, folder / "home", pin_file=hsm.folder / "openpgp.pin")
    assert done.returncode == 0, done.stderr
    yield Ceremony(hsm, folder / "home", done.stdout.strip(), done.stderr)
    shutil.rmtree(folder)


def sign(ceremony: Ceremony, house: House, kit: Path, uri: str) -> tuple[int, dict[str, Any], str]:
    trust = str(house.folder / "trust")
    argv = ["sign", str(kit), "--trust", trust, "--key", house.uris["release-1"], "--key", uri, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "teraferry.builder.cli", *argv],
        env=ceremony.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


def require_good(ceremony: Ceremony, kit: Path) -> None:
    key = load_openpgp_key(ceremony.home / "openpgp.asc", ceremony.fingerprint)
    content, signature = (kit / "SHA256SUMS").read_bytes(), (kit / "SHA256SUMS.asc").read_bytes()
    require_openpgp_signature(content, signature, key, now=now_utc(), proven_past=now_utc())


def processes_of(home: Path) -> list[str]:
    listed = run(["ps", "-eo", "stat,args"], timeout_seconds=30).text().splitlines()
    return [line for line in listed if str(home) in line and not line.startswith("Z")]


def test_private_key_was_born_on_the_token_and_the_home_holds_only_its_stub(ceremony: Ceremony) -> None:
    objects = run(
        ["pkcs11-tool", "--module", ceremony.hsm.module, "--token-label", "openpgp", "--login", "--pin", PIN, "-O"],
        timeout_seconds=60,
        environment=ceremony.hsm.environment,
    ).text()
    (stub,) = (ceremony.home / "private-keys-v1.d").iterdir()

    assert "sensitive, always sensitive, never extractable, local" in objects
    assert b"shadowed-private-key" in stub.read_bytes()
    assert PIN not in ceremony.said
    wait_until("no process of the home to be left", lambda: not processes_of(ceremony.home), seconds=10)


def test_kit_is_signed_on_the_token_with_the_pin_from_a_file(ceremony: Ceremony, tmp_path: Path) -> None:
    house = House(tmp_path / "house").open(now=now_utc())
    kit = house.build(openpgp=ceremony.fingerprint).folder
    uri = f"gpg:{ceremony.fingerprint}?pin-source=file:{ceremony.hsm.folder / 'openpgp.pin'}"

    status, result, said = sign(ceremony, house, kit, uri)

    assert (status, result["signed"][-1]) == (0, f"gpg:{ceremony.fingerprint}"), said
    require_good(ceremony, kit)
    assert PIN not in said
    wait_until("no process of the home to be left", lambda: not processes_of(ceremony.home), seconds=10)


def test_kit_is_signed_on_the_token_with_the_pin_from_a_pinentry(ceremony: Ceremony, tmp_path: Path) -> None:
    """The signer's own agent asks; nothing of the PIN passes through our process."""
    answers = 'while read -r word rest; do [ "$word" = GETPIN ] && echo "D $(cat "$PIN_FILE")"; echo OK; done'
    pinentry = tmp_path / "pinentry"
    pinentry.write_text(f"#!/bin/sh\nPIN_FILE={ceremony.hsm.folder / 'openpgp.pin'}\necho OK\n{answers}\n")
    pinentry.chmod(0o755)
    configuration = ceremony.home / "gpg-agent.conf"
    before = configuration.read_text()
    configuration.write_text(f"{before}pinentry-program {pinentry}\n")
    house = House(tmp_path / "house").open(now=now_utc())
    kit = house.build(openpgp=ceremony.fingerprint).folder

    status, _, said = sign(ceremony, house, kit, f"gpg:{ceremony.fingerprint}")
    configuration.write_text(before)

    assert status == 0, said
    require_good(ceremony, kit)


def test_wrong_pin_makes_no_signature(ceremony: Ceremony, tmp_path: Path) -> None:
    house = House(tmp_path / "house").open(now=now_utc())
    kit = house.build(openpgp=ceremony.fingerprint).folder
    (tmp_path / "pin").write_text("wrong-canary\n")

    status, result, said = sign(ceremony, house, kit, f"gpg:{ceremony.fingerprint}?pin-source=file:{tmp_path}/pin")

    assert (status, result["reference"]) == (31, "pin-wrong"), said
    assert "wrong-canary" not in said
    assert not (kit / "SHA256SUMS.asc").exists()


def test_home_that_is_there_already_is_left_alone(ceremony: Ceremony) -> None:
    done = hold(ceremony.hsm, ceremony.home, pin_file=ceremony.hsm.folder / "openpgp.pin", key_id="08")

    assert done.returncode == 2
    assert "is there already" in done.stderr
