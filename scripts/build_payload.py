"""Freeze ``teraferry.installer`` with PyInstaller in a clean environment and pack it as a payload.

The environment holds what ``requirements-payload.lock`` names and nothing else: no HSM package,
no test tool, nothing of the builder. The result is a directory, not one self-extracting
executable, so that a site with a noexec /tmp can run it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from teraferry.builder.payload import EXECUTABLE_NAME, PayloadFacts, store_payload
from teraferry.bundles.system.clock import now_utc
from teraferry.installer.program.built import BUILD_DATE_FILE

REPOSITORY = Path(__file__).resolve().parent.parent
BUILD = REPOSITORY / "build"
OUTPUT = BUILD / "payload.tar"
STAMP = BUILD / "payload.stamp"
ENVIRONMENT = BUILD / "payload-venv"
LOCK = REPOSITORY / "requirements-payload.lock"
ENTRY = REPOSITORY / "scripts" / "installer_main.py"
PYTHON = "/usr/bin/python3"

INPUTS = ["bundles", "keys", "installer", "teraferry/__init__.py", "builder/payload.py", "pyproject.toml", LOCK.name]
INPUTS += ["scripts/build_payload.py", "scripts/installer_main.py"]

UNUSED = [
    *("teraferry.builder", "pkcs11", "tkinter", "unittest", "setuptools", "sqlite3", "curses", "readline", "pydoc"),
    *("pygments", "markdown_it", "_decimal", "lib2to3", "xmlrpc", "doctest", "pdb", "_bz2", "_lzma"),
    *("_codecs_jp", "_codecs_cn", "_codecs_hk", "_codecs_kr", "_codecs_tw", "_codecs_iso2022", "_multibytecodec"),
]
"""Modules that a library offers and the installer never runs: they would be a third of its size."""

GLIBC_LIBRARIES = re.compile(r"(lib(c|m|dl|rt|pthread|util|resolv|nsl|anl)\.so\.\d+|ld-linux[-\w]*\.so\.\d+)")
"""What every glibc machine has itself; anything else a file needs must be in the payload."""


def main() -> int:
    """Build unless nothing changed; print what was done."""
    parser = argparse.ArgumentParser(description="Build build/payload.tar, the program inside every installer file.")
    parser.add_argument("--if-stale", action="store_true", help="do nothing when no input changed since the last build")
    options = parser.parse_args()
    stamp = digest_of_inputs()
    if options.if_stale and OUTPUT.exists() and STAMP.exists() and STAMP.read_text() == stamp:
        print(f"payload: {OUTPUT.relative_to(REPOSITORY)} is up to date")
        return 0
    STAMP.unlink(missing_ok=True)
    make_environment()
    built = build_time()
    tree = freeze(built)
    facts = PayloadFacts(
        version=version(),
        machine=platform.machine(),
        glibc=newest_glibc(tree),
        built_utc=built.strftime("%Y-%m-%dT%H:%M:%SZ"),
        unpacked_bytes=0,
    )
    store_payload(tree, facts, OUTPUT)
    STAMP.write_text(stamp)
    unpacked = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    print(f"payload: {OUTPUT.relative_to(REPOSITORY)}, {OUTPUT.stat().st_size} bytes, {unpacked} unpacked")
    print(f"payload: needs {facts.machine} and glibc {facts.glibc}; built {facts.built_utc}")
    return 0


def digest_of_inputs() -> str:
    """Return a digest over every file that decides what the payload is."""
    digest = hashlib.sha256(platform.python_version().encode())
    for name in INPUTS:
        top = REPOSITORY / name
        files = [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())
        for path in files:
            if "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(REPOSITORY)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def make_environment() -> None:
    """Make the clean environment, unless it is there and made from the same lock."""
    made_from = ENVIRONMENT / "made-from"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if made_from.exists() and made_from.read_text() == wanted:
        return
    print("payload: making a clean environment", flush=True)
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    call(PYTHON, "-m", "venv", str(ENVIRONMENT))
    pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    call(*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(LOCK))
    made_from.write_text(wanted)


def freeze(built: datetime) -> Path:
    """Run PyInstaller and return the directory it made."""
    print("payload: freezing the installer", flush=True)
    work = BUILD / "payload-work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    date_file = work / BUILD_DATE_FILE
    date_file.write_text(f"{int(built.timestamp())}\n")
    options = ["--noconfirm", "--log-level", "WARN", "--onedir", "--strip", "--name", EXECUTABLE_NAME]
    options += ["--distpath", str(work / "dist"), "--workpath", str(work), "--specpath", str(work)]
    options += ["--paths", str(REPOSITORY), "--add-data", f"{date_file}:teraferry/installer/program"]
    options += ["--add-data", f"{REPOSITORY / 'installer/report/templates'}:teraferry/installer/report/templates"]
    for module in UNUSED:
        options += ["--exclude-module", module]
    call(str(ENVIRONMENT / "bin" / "pyinstaller"), *options, str(ENTRY))
    require_complete(work / EXECUTABLE_NAME / f"warn-{EXECUTABLE_NAME}.txt")
    tree = work / "dist" / EXECUTABLE_NAME
    call(str(tree / EXECUTABLE_NAME), "--help", quiet=True)
    return tree


def require_complete(warnings: Path) -> None:
    """Stop when a module of ours asks for one that the payload lacks.

    Heavy parts are imported inside functions, so the program would start and fail only at a site.
    """
    for line in warnings.read_text().splitlines():
        for importer, how in re.findall(r"(teraferry\.[\w.]+) \(([^)]*)\)", line):
            if "optional" not in how:
                raise SystemExit(f"payload: {line.split(' - ')[0]}, which {importer} imports")


def newest_glibc(tree: Path) -> str:
    """Return the oldest glibc that has every symbol version the files of ``tree`` ask for."""
    present = {path.name for path in tree.rglob("*")}
    versions: set[tuple[int, int]] = set()
    for path in sorted(tree.rglob("*")):
        if not path.is_file() or path.read_bytes()[:4] != b"\x7fELF":
            continue
        dump = subprocess.run(["objdump", "-p", "-T", str(path)], capture_output=True, text=True, check=True).stdout
        versions.update((int(major), int(minor)) for major, minor in re.findall(r"GLIBC_(\d+)\.(\d+)", dump))
        for needed in re.findall(r"NEEDED +(\S+)", dump):
            if needed not in present and not GLIBC_LIBRARIES.fullmatch(needed):
                raise SystemExit(f"{path.name} needs {needed}, which neither glibc nor the payload has")
    major, minor = max(versions)
    return f"{major}.{minor}"


def build_time() -> datetime:
    """Return SOURCE_DATE_EPOCH, or now."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(epoch), UTC) if epoch else now_utc()


def version() -> str:
    """Return the version in pyproject.toml."""
    found = re.search(r'^version = "([^"]+)"$', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit("pyproject.toml names no version")
    return found.group(1)


def call(*argv: str, quiet: bool = False) -> None:
    """Run a step and stop the build when it fails."""
    # The hash seed decides the order of sets that PyInstaller writes down.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(argv, env=environment, stdout=subprocess.DEVNULL if quiet else None, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{argv[0]} ended with {done.returncode}")


if __name__ == "__main__":
    sys.exit(main())
