"""Freezing: a stub before the payload, a root behind it, and the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from teraferry.builder import cli_freeze
from teraferry.builder.freeze import STUB_BYTES, freeze_installer
from teraferry.builder.payload import PayloadFacts, load_payload, store_payload
from teraferry.bundles.errors import BuildError, TeraFerryError, TrustError, UsageError
from tests.lab.installer_file import FACTS, write_root, write_tree


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    store_payload(write_tree(tmp_path / "tree"), FACTS, tmp_path / "payload.tar")
    return tmp_path / "payload.tar"


def test_same_payload_and_root_give_the_same_file(tmp_path: Path, payload: Path) -> None:
    root = write_root(tmp_path / "1.root.json")

    first = freeze_installer(tmp_path / "a", root=root, payload=payload)
    second = freeze_installer(tmp_path / "b", root=root, payload=payload)

    assert first.sha256 == second.sha256
    assert first.sha256 == hashlib.sha256((tmp_path / "b").read_bytes()).hexdigest()
    assert first.size_bytes == (tmp_path / "b").stat().st_size


def test_another_root_makes_another_program_directory(tmp_path: Path, payload: Path) -> None:
    stubs = []
    for name in ("a", "b"):
        freeze_installer(tmp_path / name, root=write_root(tmp_path / f"{name}.json"), payload=payload)
        stub = (tmp_path / name).read_bytes()[:STUB_BYTES].decode()
        stubs.append(next(line for line in stub.splitlines() if line.startswith("LIST_SHA256=")))

    assert stubs[0] != stubs[1]


def test_file_is_stub_program_list_and_root_and_nothing_else(tmp_path: Path, payload: Path) -> None:
    root = write_root(tmp_path / "1.root.json")

    made = freeze_installer(tmp_path / "installer", root=root, payload=payload)

    content, program = made.path.read_bytes(), load_payload(payload).program
    assert content[STUB_BYTES : STUB_BYTES + len(program)] == program
    assert content.endswith(root.read_bytes())
    lines = content[STUB_BYTES + len(program) : -len(root.read_bytes())].decode().splitlines()
    assert f"{hashlib.sha256(root.read_bytes()).hexdigest()}  root.json" in lines
    assert lines == sorted(lines, key=lambda line: line[66:])


def test_stub_has_every_value_filled_in(tmp_path: Path, payload: Path) -> None:
    made = freeze_installer(tmp_path / "installer", root=write_root(tmp_path / "1.root.json"), payload=payload)

    stub = made.path.read_bytes()[:STUB_BYTES].decode("ascii")
    assert re.findall(r"@\w+@", stub) == []
    assert subprocess.run(["dash", "-n"], input=stub, text=True, check=False).returncode == 0


def test_root_that_its_own_keys_did_not_sign_is_refused(tmp_path: Path, payload: Path) -> None:
    root = write_root(tmp_path / "1.root.json", signed=False)

    with pytest.raises(TrustError) as caught:
        freeze_installer(tmp_path / "installer", root=root, payload=payload)

    assert (caught.value.reference, caught.value.exit_status) == ("threshold-not-met", 20)
    assert not (tmp_path / "installer").exists()


@pytest.mark.parametrize(
    ("content", "error", "reference"),
    [(None, UsageError, "root-file-unreadable"), (b"{}", TrustError, "metadata-unreadable")],
)
def test_file_that_is_no_root_is_refused(
    tmp_path: Path, payload: Path, content: bytes | None, error: type[TeraFerryError], reference: str
) -> None:
    root = tmp_path / "1.root.json"
    if content is not None:
        root.write_bytes(content)

    with pytest.raises(error) as caught:
        freeze_installer(tmp_path / "installer", root=root, payload=payload)

    assert caught.value.reference == reference


def test_place_that_cannot_be_written_is_named(tmp_path: Path, payload: Path) -> None:
    with pytest.raises(BuildError) as caught:
        freeze_installer(tmp_path / "no" / "installer", root=write_root(tmp_path / "1.root.json"), payload=payload)

    assert caught.value.reference == "installer-not-written"


@pytest.mark.parametrize("version", ["1'; rm -rf /; '", "1\n2", "", "é"])
def test_fact_that_would_be_shell_code_is_refused(tmp_path: Path, version: str) -> None:
    facts = PayloadFacts(version=version, machine="x86_64", glibc="2.36", built_utc="", unpacked_bytes=0)
    store_payload(write_tree(tmp_path / "tree"), facts, tmp_path / "payload.tar")

    with pytest.raises(BuildError) as caught:
        freeze_installer(
            tmp_path / "installer", root=write_root(tmp_path / "1.root.json"), payload=tmp_path / "payload.tar"
        )

    assert caught.value.reference == "payload-unusable"


def test_command_prints_digest_and_size_for_scripts(tmp_path: Path, payload: Path) -> None:
    group = click.Group("teraferry")
    cli_freeze.register(group)
    arguments = ["freeze", "-o", str(tmp_path / "installer"), "--root", str(write_root(tmp_path / "1.root.json"))]

    done = CliRunner().invoke(group, [*arguments, "--payload", str(payload), "--json"])

    result = json.loads(done.stdout.splitlines()[-1])
    content = (tmp_path / "installer").read_bytes()
    assert (result["status"], result["size_bytes"]) == (0, len(content))
    assert result["sha256"] == hashlib.sha256(content).hexdigest()
