"""The whole life of a production root, typed as a person would, on real tokens; a site follows from root 1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.lab.house import House
from tests.lab.oracle import ask_ngclient
from tests.lab.softhsm import LabKey, SoftHsm

KINDS = {"safe-1": "p256", "safe-2": "p384", "safe-3": "p256", "alice": "p256", "binh": "p384", "desk": "p256"}


@dataclass
class Ceremony:
    folder: Path
    keys: dict[str, LabKey] = field(default_factory=dict)

    def open(self) -> Ceremony:
        for name, kind in KINDS.items():
            self.add(name, kind)
        arguments = ["init", str(self.trust), "--product", "demo", "--root-threshold", "2", "--release-threshold", "2"]
        for role, names in {"root": ["safe-1", "safe-2"], "release": ["alice", "binh"], "desk": ["desk"]}.items():
            for name in names:
                arguments += [f"--{role}-key", self.keys[name].uri]
        status, result, stderr = self.type("trust", *arguments, "--production")
        assert (status, result["version"]) == (0, 1), stderr
        return self

    @property
    def trust(self) -> Path:
        return self.folder / "trust"

    @property
    def hsm(self) -> SoftHsm:
        folder = self.folder / "hsm"
        return SoftHsm(folder) if folder.exists() else SoftHsm(folder).create()

    def add(self, name: str, kind: str = "p256") -> None:
        self.keys[name] = self.hsm.token_with_key(name, kind)

    def type(self, *arguments: str) -> tuple[int, dict[str, Any], str]:
        done = subprocess.run(
            [sys.executable, "-m", "teraferry.builder.cli", *arguments, "--json"],
            env={**os.environ, **self.hsm.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=120,
        )
        lines = done.stdout.decode().splitlines()
        return done.returncode, json.loads(lines[-1]) if lines else {}, done.stderr.decode()

    def change(self, command: str, *options: str, root_keys: tuple[str, ...]) -> dict[str, Any]:
        signers = [word for name in root_keys for word in ("--root-key", self.keys[name].uri)]
        status, result, stderr = self.type("trust", command, str(self.trust), *options, *signers)
        assert (status, result["command"]) == (0, f"trust {command}"), stderr
        return result

    def kit(self, *names: str, desk: str, version: str = "1.0.0") -> Path:
        kit = House(self.folder).build(version).folder
        signers = [word for name in names for word in ("--key", self.keys[name].uri)]
        arguments = ["sign", str(kit), "--trust", str(self.trust), *signers, "--desk-key", self.keys[desk].uri]
        status, result, stderr = self.type(*arguments)
        assert (status, result["missing"]) == (0, {}), stderr
        return kit


def id_of(shown: dict[str, Any], token: str) -> str:
    """Return the id of the key on ``token``, as a person would find it."""
    (found,) = [key["id"] for key in shown["keys"] if key["where"] == f"key {token} on token {token}"]
    return str(found)


@pytest.fixture(scope="module")
def ceremony(tmp_path_factory: pytest.TempPathFactory) -> Ceremony:
    return Ceremony(tmp_path_factory.mktemp("ceremony")).open()


def test_every_change_of_a_root_and_a_site_that_pinned_root_1_follows_them_all(ceremony: Ceremony) -> None:
    for name, kind in {"chi": "rsa", "dung": "ed25519", "desk-2": "p256"}.items():
        ceremony.add(name, kind)
    uri = {name: key.uri for name, key in ceremony.keys.items()}
    first = ceremony.type("trust", "show", str(ceremony.trust))[1]
    safe_1, binh, desk = (id_of(first, token) for token in ("safe-1", "binh", "desk"))

    # A third root key joins, two more people, and three of four sign from now on.
    ceremony.change("add-key", "--role", "root", "--new-key", uri["safe-3"], root_keys=("safe-1", "safe-2"))
    ceremony.change("add-key", "--role", "release", "--new-key", uri["chi"], root_keys=("safe-1", "safe-3"))
    ceremony.change("add-key", "--role", "release", "--new-key", uri["dung"], root_keys=("safe-2", "safe-3"))
    ceremony.change("threshold", "--role", "release", "--to", "3", root_keys=("safe-1", "safe-2"))
    # A token of the safe dies, the desk gets a new one, Binh leaves, and the root is renewed.
    ceremony.add("safe-4", "p384")
    options = ("--role", "root", "--old", safe_1[:8], "--new-key", ceremony.keys["safe-4"].uri)
    ceremony.change("rotate", *options, root_keys=("safe-2", "safe-3"))
    options = ("--role", "desk", "--old", desk, "--new-key", uri["desk-2"])
    ceremony.change("rotate", *options, root_keys=("safe-3", "safe-4"))
    options = ("--role", "release", "--key", binh[:8], "--threshold", "2")
    ceremony.change("remove-key", *options, root_keys=("safe-2", "safe-4"))
    result = ceremony.change("rotate", root_keys=("safe-2", "safe-3"))

    assert (result["version"], result["roles"]["targets"]["threshold"]) == (9, 2)
    assert result["roles"]["timestamp"]["keys"] != [desk]
    assert {key["where"].rpartition(" ")[2] for key in result["keys"]} == {
        *("safe-2", "safe-3", "safe-4", "alice", "chi", "dung", "desk-2")
    }
    pems = {path.stem for path in (ceremony.trust / "keys").iterdir()}
    assert pems == {key["id"][:8] for key in result["keys"]}
    assert {binh[:8], safe_1[:8], desk[:8]}.isdisjoint(pems)

    kit = ceremony.kit("chi", "dung", desk="desk-2")
    status, verified, stderr = ceremony.type("verify", str(kit), "--root", str(ceremony.trust / "1.root.json"))
    assert (status, verified["root_version"], verified["fingerprint"]) == (0, 9, result["fingerprint"]), stderr
    assert ask_ngclient(kit, (ceremony.trust / "1.root.json").read_bytes(), target="demo-1.0.0.tar.gz") == "accepted"


def test_too_few_root_keys_are_refused_by_name_and_nothing_is_written(ceremony: Ceremony) -> None:
    before = sorted(path.name for path in ceremony.trust.rglob("*"))
    alone = ("--root-key", ceremony.keys["safe-2"].uri)

    status, result, _ = ceremony.type("trust", "threshold", str(ceremony.trust), "--role", "root", "--to", "1", *alone)

    assert (status, result["reference"]) == (31, "root-signatures-missing")
    assert (result["old_have"], result["old_need"]) == (1, 2)
    assert sorted(path.name for path in ceremony.trust.rglob("*")) == before


def test_half_of_a_replacement_is_a_usage_error(ceremony: Ceremony) -> None:
    options = ("--role", "root", "--root-key", ceremony.keys["safe-2"].uri)

    status, result, _ = ceremony.type("trust", "rotate", str(ceremony.trust), *options)

    assert (status, result["reference"]) == (2, "usage")


@pytest.mark.parametrize("command", ["add-key", "remove-key", "threshold", "rotate"])
def test_every_change_has_help_with_an_example(ceremony: Ceremony, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "teraferry.builder.cli", "trust", command, "--help"], capture_output=True, check=False
    )

    assert done.returncode == 0
    assert b"Example: teraferry trust " in b" ".join(done.stdout.split())
