"""The real payload, as ``scripts/build-payload`` made it, behind the real stub."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from teraferry.builder.freeze import default_payload, freeze_installer
from teraferry.builder.payload import load_payload
from tests.lab.installer_file import Start, write_root

MAX_EXTRA_DISK_BYTES = 60_000_000
"""What the installer may take at a site, unpacked."""


@pytest.fixture(scope="module")
def installer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frozen")
    root = write_root(folder / "1.root.json")
    return freeze_installer(folder / "teraferry-installer", root=root, payload=default_payload()).path


@pytest.fixture(scope="module")
def start(installer: Path, tmp_path_factory: pytest.TempPathFactory) -> Start:
    return Start(installer, home=tmp_path_factory.mktemp("home"))


def test_frozen_installer_lists_its_commands(start: Start) -> None:
    done = start.run("--help")

    assert done.returncode == 0, done.stderr
    assert {"verify", "install", "status", "doctor"} <= set(done.stdout.split())


def test_second_start_says_nothing_of_its_own(start: Start) -> None:
    start.run("--help")

    assert start.run("--help").stderr == ""


def test_frozen_installer_refuses_with_a_status_and_a_result_line(start: Start, tmp_path: Path) -> None:
    done = start.run("verify", str(tmp_path / "no-kit"), "--state", str(tmp_path / "state"), "--json")

    line = json.loads(done.stdout.splitlines()[-1])
    assert (line["event"], line["command"], line["status"]) == ("result", "verify", done.returncode)
    assert done.returncode in {2, 10, 11, 24}, done.stderr


def test_frozen_installer_runs_from_a_noexec_medium_with_a_noexec_tmp(installer: Path) -> None:
    script = f"""
    mount -t tmpfs -o noexec tmpfs /mnt && cp {installer} /mnt/ && mount -t tmpfs tmpfs /var/lib &&
    mount -t tmpfs -o noexec,mode=1777 tmpfs /tmp && mount -t tmpfs -o noexec,mode=1777 tmpfs /var/tmp &&
    sh /mnt/{installer.name} --help
    """
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "install" in done.stdout.split()


def test_new_installer_starts_in_the_environment_of_an_old_one(start: Start, tmp_path: Path) -> None:
    start.run("--help")
    (old,) = start.trees()
    newer = freeze_installer(
        tmp_path / "newer", root=write_root(tmp_path / "2.root.json"), payload=default_payload()
    ).path
    # What the loader of a frozen program leaves to its children.
    inherited = {"LD_LIBRARY_PATH": str(old / "_internal"), "_PYI_APPLICATION_HOME_DIR": str(old / "_internal")}
    inherited |= {"_PYI_ARCHIVE_FILE": str(old / "teraferry-installer"), "_PYI_PARENT_PROCESS_LEVEL": "1"}

    done = Start(newer, home=tmp_path / "home", environment=inherited).run("--help")

    assert done.returncode == 0, done.stderr


def test_payload_has_no_hsm_package_and_nothing_of_the_builder() -> None:
    payload = load_payload(default_payload())
    names = [line[66:] for line in payload.digest_lines.decode().splitlines()]

    assert [name for name in names if "pkcs11" in name.lower() or "builder" in name] == []


def test_payload_knows_when_it_was_built() -> None:
    names = [line[66:] for line in load_payload(default_payload()).digest_lines.decode().splitlines()]

    assert "_internal/teraferry/installer/program/build-date" in names


def test_installer_takes_no_more_disk_than_promised(start: Start) -> None:
    start.run("--help")

    taken = sum(path.stat().st_size for tree in start.trees() for path in tree.rglob("*") if path.is_file())
    assert taken + start.file.stat().st_size <= MAX_EXTRA_DISK_BYTES
