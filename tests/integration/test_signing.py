"""The two commands of the signing room, typed as a person would, on real tokens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab.house import House
from tests.lab.softhsm import LabKey, SoftHsm

KINDS = {"root-1": "ed25519", "root-2": "p256", "release-1": "p256", "release-2": "p384", "release-3": "rsa"}


class Desk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hsm = SoftHsm(folder / "hsm").create()
        kinds = {**KINDS, "desk": "p256"}
        self.keys: dict[str, LabKey] = {name: self.hsm.token_with_key(name, kind) for name, kind in kinds.items()}
        self.trust = folder / "trust"

    def type(self, *arguments: str, environment: dict[str, str] | None = None) -> tuple[int, dict[str, Any], str]:
        done = subprocess.run(
            [sys.executable, "-m", "teraferry.builder.cli", *arguments, "--json"],
            env={**os.environ, **self.hsm.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=120,
        )
        lines = done.stdout.decode().splitlines()
        return done.returncode, json.loads(lines[-1]) if lines else {}, done.stderr.decode()

    def init(self, *more: str) -> tuple[int, dict[str, Any], str]:
        arguments = ["trust", "init", str(self.trust), "--product", "demo", "--root-threshold", "2"]
        for name in ("root-1", "root-2"):
            arguments += ["--root-key", self.keys[name].uri]
        for name in ("release-1", "release-2", "release-3"):
            arguments += ["--release-key", self.keys[name].uri]
        return self.type(*arguments, "--release-threshold", "2", "--desk-key", self.keys["desk"].uri, *more)

    def sign(self, kit: Path, *names: str, desk: bool = False) -> tuple[int, dict[str, Any], str]:
        arguments = ["sign", str(kit), "--trust", str(self.trust)]
        for name in names:
            arguments += ["--key", self.keys[name].uri]
        return self.type(*arguments, *(["--desk-key", self.keys["desk"].uri] if desk else []))

    def verify(self, kit: Path) -> tuple[int, dict[str, Any], str]:
        return self.type("verify", str(kit), "--root", str(self.trust / "1.root.json"))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    made = Desk(tmp_path_factory.mktemp("desk"))
    status, result, stderr = made.init("--production", "--expires", "timestamp=30")
    assert status == 0, stderr
    assert len(result["fingerprint"]) == 64
    return made


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    return House(tmp_path).build().folder


def test_init_shows_version_roles_and_fingerprint_and_show_says_the_same(desk: Desk) -> None:
    status, result, _ = desk.type("trust", "show", str(desk.trust))

    assert status == 0
    assert (result["version"], result["product"]) == (1, "demo")
    assert {name: role["threshold"] for name, role in result["roles"].items()} == {
        "root": 2,
        "targets": 2,
        "snapshot": 1,
        "timestamp": 1,
    }
    assert len(result["keys"]) == 6


def test_two_people_and_the_desk_make_a_kit_that_verifies(desk: Desk, kit: Path) -> None:
    status, result, stderr = desk.sign(kit, "release-1")
    assert status == 0, stderr
    assert result["missing"]["targets"] == {"have": 1, "need": 2}
    status, result, _ = desk.verify(kit)
    assert (status, result["reference"]) == (20, "threshold-not-met")

    status, result, stderr = desk.sign(kit, "release-3", desk=True)
    assert (status, result["missing"]) == (0, {}), stderr
    status, result, stderr = desk.verify(kit)

    assert status == 0, stderr
    assert (result["product"], result["version"], result["chunks"]) == ("demo", "1.0.0", 1)
    assert len(result["signers"]) == 2
    assert len(result["sha256"]) == 64


def test_a_bundle_file_names_its_kit(desk: Desk, kit: Path) -> None:
    assert desk.sign(kit / "demo-1.0.0.tar.gz", "release-1", "release-2", desk=True)[0] == 0
    assert desk.verify(kit / "demo-1.0.0.tar.gz")[0] == 0


def test_evidence_tells_flags_and_serial_of_the_token(desk: Desk, kit: Path) -> None:
    desk.sign(kit, "release-1")

    (path,) = (kit / "metadata" / "evidence").iterdir()
    signed = json.loads(path.read_bytes())["signed"]

    assert signed["kind"] == "pkcs11"
    assert signed["facts"]["token"] == "release-1"
    assert signed["facts"]["serial"]
    assert signed["flags"]["never_extractable"] is True


def test_one_pin_in_the_environment_opens_one_key(desk: Desk, kit: Path) -> None:
    key = desk.keys["release-1"]
    arguments = ["sign", str(kit), "--trust", str(desk.trust), "--key", key.uri_without_pin]

    assert desk.type(*arguments, environment={"TERAFERRY_PIN": key.pin})[0] == 0


def test_one_pin_in_the_environment_is_refused_for_several_keys(desk: Desk, kit: Path) -> None:
    arguments = ["sign", str(kit), "--trust", str(desk.trust)]
    for name in ("release-1", "release-2"):
        arguments += ["--key", desk.keys[name].uri_without_pin]

    status, result, _ = desk.type(*arguments, environment={"TERAFERRY_PIN": "123456"})

    assert (status, result["reference"]) == (2, "pin-for-several-keys")


def test_without_terminal_and_pin_it_says_what_to_do(desk: Desk, kit: Path) -> None:
    key = desk.keys["release-1"].uri_without_pin

    status, result, _ = desk.type("sign", str(kit), "--trust", str(desk.trust), "--key", key)

    assert (status, result["reference"]) == (2, "pin-needed")
    assert "pin-source" in result["hint"]


def test_a_wrong_pin_is_31_and_nowhere_printed(desk: Desk, kit: Path) -> None:
    key = desk.keys["release-1"].uri_without_pin
    arguments = ["sign", str(kit), "--trust", str(desk.trust), "--key", key]

    status, result, stderr = desk.type(*arguments, environment={"TERAFERRY_PIN": "canary-88"})

    assert (status, result["reference"]) == (31, "pin-wrong")
    assert "canary" not in json.dumps(result) + stderr
    assert not (kit / "SHA256SUMS").exists()


def test_a_production_root_is_not_made_with_a_key_that_was_imported(desk: Desk, tmp_path: Path) -> None:
    house = House(tmp_path / "house").open()
    der = tmp_path / "key.der"
    pem = house.uris["release-1"].removeprefix("file:")
    subprocess.run(["openssl", "pkey", "-in", pem, "-outform", "DER", "-out", str(der)], check=True)
    public = tmp_path / "public.der"
    subprocess.run(["openssl", "pkey", "-in", pem, "-pubout", "-outform", "DER", "-out", str(public)], check=True)
    desk.hsm.add_token("imported")
    for kind, path in (("privkey", der), ("pubkey", public)):
        desk.hsm.tool("imported", "--write-object", str(path), "--type", kind, "--label", "imported", "--id", "07")
    uri = desk.hsm.key("imported", "imported").uri
    arguments = ["trust", "init", str(tmp_path / "trust"), "--product", "demo", "--root-threshold", "1"]
    arguments += ["--root-key", uri, "--release-key", desk.keys["release-1"].uri, "--release-threshold", "1"]

    status, result, _ = desk.type(*arguments, "--desk-key", desk.keys["desk"].uri, "--production")

    assert (status, result["reference"]) == (31, "key-not-production")
    assert not (tmp_path / "trust").exists()


def test_no_key_is_a_usage_error(desk: Desk, kit: Path) -> None:
    status, result, _ = desk.type("sign", str(kit), "--trust", str(desk.trust))

    assert (status, result["reference"]) == (2, "key-needed")


@pytest.mark.parametrize("command", [["sign"], ["verify"], ["trust"], ["trust", "init"], ["trust", "show"]])
def test_every_command_has_help_with_an_example(desk: Desk, command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "teraferry.builder.cli", *command, "--help"], capture_output=True, check=False
    )

    assert done.returncode == 0
    assert b"Example: teraferry " in b" ".join(done.stdout.split())
