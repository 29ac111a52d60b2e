"""A kit that asks for an OpenPGP signature: signed by the command, read back, checked; each failure in words."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from teraferry.builder.kit import Kit
from teraferry.bundles.errors import BuildError
from teraferry.bundles.system.clock import now_utc
from teraferry.bundles.system.process import run
from teraferry.keys.openpgp.gpgv import OpenPgpKey, require_openpgp_signature
from teraferry.keys.signers.openpgp import sign_detached
from tests.lab.gnupg import GpgHome
from tests.lab.house import House

CANARY = "canary-passphrase-7f3a"
CONTENT = b"0123  START-HERE.html\n"


@pytest.fixture(scope="module")
def home() -> Iterator[GpgHome]:
    with GpgHome() as made:
        yield made


@pytest.fixture(scope="module")
def key(home: GpgHome) -> str:
    return home.make_key("release", passphrase=CANARY)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house")).open(now=now_utc())


def typed(
    home: GpgHome, *arguments: str, environment: Mapping[str, str] | None = None
) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-m", "teraferry.builder.cli", *arguments, "--json"],
        env={**os.environ, **home.environment, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=120,
    )
    lines = done.stdout.decode().splitlines()
    return done.returncode, json.loads(lines[-1]), done.stdout.decode() + done.stderr.decode()


def pin_file(folder: Path, secret: str) -> str:
    path = folder / "pin"
    path.write_text(f"{secret}\n")
    return f"file:{path}"


def sign(house: House, kit: Kit, home: GpgHome, *keys: str, **how: Any) -> tuple[int, dict[str, Any], str]:
    arguments = [word for key in keys for word in ("--key", house.uris.get(key, key))]
    trust = ["--trust", str(house.folder / "trust")]
    return typed(home, "sign", str(kit.folder), *trust, *arguments, *how.pop("more", ()), **how)


def verify(house: House, kit: Kit, home: GpgHome, *more: str) -> tuple[int, dict[str, Any], str]:
    root = str(house.folder / "trust" / "1.root.json")
    return typed(home, "verify", str(kit.folder), "--root", root, *more)


def test_kit_that_asks_for_openpgp_is_whole_once_that_key_has_signed(
    house: House, home: GpgHome, key: str, tmp_path: Path
) -> None:
    kit = house.build("2.0.0", openpgp=key)
    desk = ["--desk-key", house.uris["desk"]]
    uri = f"gpg:{key}?pin-source={pin_file(tmp_path, CANARY)}"
    public = tmp_path / "release.asc"
    public.write_bytes(home.export(key, armor=True))

    status, early, _ = sign(house, kit, home, uri)
    assert (status, early["signed"], early["missing"]["openpgp"]) == (0, [], {"have": 0, "need": 1})
    assert not (kit.folder / "SHA256SUMS.asc").exists()

    status, closed, _ = sign(house, kit, home, "release-1", "release-2", more=desk)
    assert (status, closed["missing"]) == (0, {"openpgp": {"have": 0, "need": 1}})
    status, unsigned, _ = verify(house, kit, home)
    assert (status, unsigned["reference"]) == (20, "openpgp-missing")

    status, whole, said = sign(house, kit, home, uri)
    assert (status, whole["signed"], whole["missing"]) == (0, [f"gpg:{key}"], {}), said
    assert CANARY not in said

    status, looked_at, said = verify(house, kit, home)
    assert (status, looked_at["openpgp"]) == (0, None)
    assert "was not checked" in said
    status, checked, _ = verify(house, kit, home, "--openpgp-key", str(public))
    assert (status, checked["openpgp"]) == (0, key)


def test_signature_is_one_that_stock_gpgv_takes_by_the_line_on_the_page(
    house: House, home: GpgHome, key: str, tmp_path: Path
) -> None:
    kit = house.build("2.1.0", openpgp=key)
    environment = {"TERAFERRY_PIN": CANARY}
    status, _, said = sign(house, kit, home, "release-1", f"gpg:{key}", environment=environment)
    assert status == 0, said
    page = (kit.folder / "START-HERE.html").read_text()
    (tmp_path / "release.asc").write_bytes(home.export(key, armor=True))
    block = re.search(r'<pre id="openpgp">(.*?)</pre>', page, re.S)
    assert block is not None
    lines = html.unescape(block.group(1))

    script = f'set -e; cd {tmp_path}; KEYS={tmp_path}; KIT={kit.folder}; cp "$KIT"/SHA256SUMS .; {lines}'
    done = run(["sh", "-c", script], timeout_seconds=60, environment=home.environment)

    assert done.status == 0, done.stderr
    assert b"Good signature" in done.stderr
    assert f"{key[:4]} {key[4:8]}" in page


def test_page_of_a_kit_without_openpgp_does_not_speak_of_it(house: House) -> None:
    page = (house.kit("2.2.0").folder / "START-HERE.html").read_text()

    assert "OpenPGP" not in page


def test_another_key_than_the_release_asks_for_is_refused(house: House, home: GpgHome, key: str) -> None:
    stranger = home.make_key("stranger")
    kit = house.build("2.3.0", openpgp=key)

    status, result, _ = sign(house, kit, home, "release-1", f"gpg:{stranger}")

    assert (status, result["reference"], result["expected"]) == (31, "openpgp-key-not-asked", key)


def test_two_openpgp_keys_are_refused(house: House, home: GpgHome, key: str) -> None:
    kit = house.build("2.4.0")

    status, result, _ = sign(house, kit, home, f"gpg:{key}", f"gpg:{key}")

    assert (status, result["reference"]) == (2, "openpgp-several-keys")


def test_pin_of_a_token_is_not_tried_on_an_openpgp_key(house: House, home: GpgHome, key: str) -> None:
    kit = house.build("2.5.0")
    token = "pkcs11:token=t;object=o?module-path=/usr/lib/none.so"

    status, result, _ = sign(house, kit, home, token, f"gpg:{key}", environment={"TERAFERRY_PIN": CANARY})

    assert (status, result["reference"]) == (2, "pin-for-several-keys")


def test_openpgp_key_signs_no_metadata(house: House, home: GpgHome, key: str) -> None:
    kit = house.build("2.6.0")

    status, result, _ = sign(house, kit, home, "release-1", more=["--desk-key", f"gpg:{key}"])

    assert (status, result["reference"]) == (2, "openpgp-key-not-here")


def refused(home: GpgHome, fingerprint: str, monkeypatch: pytest.MonkeyPatch, **how: Any) -> BuildError:
    monkeypatch.setenv("GNUPGHOME", how.pop("folder", str(home.folder)))
    with pytest.raises(BuildError) as caught:
        sign_detached(CONTENT, fingerprint, passphrase=how.pop("passphrase", CANARY), now=now_utc())
    assert caught.value.exit_status == 31
    assert caught.value.hint
    return caught.value


def test_wrong_passphrase_is_told_and_not_repeated(home: GpgHome, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    home.end_agent()  # it may still know the right one

    error = refused(home, key, monkeypatch, passphrase="wrong-canary")

    assert error.reference == "pin-wrong"
    assert "wrong-canary" not in error.message + error.hint + str(error.facts)


def test_key_that_is_not_in_the_home_is_told(home: GpgHome, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(home, "A" * 40, monkeypatch).reference == "openpgp-key-absent"


def test_public_key_without_its_secret_half_is_told_though_other_keys_are_there(
    home: GpgHome, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gpg --default-key would sign with whatever other key it finds."""
    with GpgHome() as other:
        other.gpg("--import", stdin=home.export(key))
        other.make_key("bystander")

        assert refused(other, key, monkeypatch).reference == "openpgp-key-absent"


def test_expired_key_signs_nothing(home: GpgHome, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = now_utc().replace(year=now_utc().year - 2)
    expired = home.make_key("expired", expires=f"{begin.year + 1}-01-01", at=begin)

    assert refused(home, expired, monkeypatch, passphrase=None).reference == "openpgp-key-absent"


def test_home_whose_name_is_too_long_for_a_socket_is_told(
    home: GpgHome, key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir(mode=0o700)

    assert refused(home, key, monkeypatch, folder=str(long)).reference == "gpg-home-too-long"


def test_home_that_is_not_there_is_told_and_not_made(home: GpgHome, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = home.folder / "none"

    assert refused(home, key, monkeypatch, folder=str(missing)).reference == "openpgp-key-absent"
    assert not missing.exists()


def test_machine_without_gpg_is_told(home: GpgHome, key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        error = refused(home, key, patch)

    assert error.reference == "gpg-missing"


def test_agent_that_was_started_for_a_signature_is_ended_and_one_that_ran_before_goes_on(
    home: GpgHome, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNUPGHOME", str(home.folder))
    home.end_agent()
    while home.agent_id() is not None:
        pass

    signature = sign_detached(CONTENT, key, passphrase=CANARY, now=now_utc())
    while home.agent_id() is not None:
        pass
    public = OpenPgpKey(key, home.export(key))
    require_openpgp_signature(CONTENT, signature, public, now=now_utc(), proven_past=now_utc())

    home.gpg("--list-secret-keys")
    run(["gpgconf", "--homedir", str(home.folder), "--launch", "gpg-agent"], timeout_seconds=30)
    before = home.agent_id()
    sign_detached(CONTENT, key, passphrase=CANARY, now=now_utc())
    assert before is not None
    assert home.agent_id() == before


def test_passphrase_is_in_no_command_line_and_no_environment_of_a_child(
    home: GpgHome, key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "children"
    for tool in ("gpg", "gpgv", "gpgconf", "gpg-connect-agent"):
        real = shutil.which(tool)
        shim = tmp_path / tool
        shim.write_text(f'#!/bin/sh\n{{ echo "{tool} $*"; cat /proc/$$/environ; echo; }} >> {log}\nexec {real} "$@"\n')
        shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("GNUPGHOME", str(home.folder))
    monkeypatch.setenv("TERAFERRY_PIN", CANARY)

    sign_detached(CONTENT, key, passphrase=CANARY, now=now_utc())

    told = log.read_bytes()
    assert {b"gpg", b"gpgv", b"gpg-connect-agent"} <= {line.split(b" ")[0] for line in told.splitlines()}
    assert CANARY.encode() not in told
