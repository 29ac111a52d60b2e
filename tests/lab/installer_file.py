"""An installer file with a tiny program in it, and ways to start it as a site would.

The program is a shell script that prints what it was given, so the stub is tested in
milliseconds; the tests of the real payload are few.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ed25519
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Role, Root

from teraferry.builder.freeze import freeze_installer
from teraferry.builder.payload import PayloadFacts, store_payload

TINY_PROGRAM = """#!/bin/sh
[ "$*" != --help ] || exit 0
echo "root=$TERAFERRY_EMBEDDED_ROOT"
echo "file=$TERAFERRY_INSTALLER_FILE"
echo "libraries=${LD_LIBRARY_PATH-none}"
echo "program=$0"
for argument; do echo "argument=$argument"; done
exit 5
"""
TINY_STATUS = 5
"""Exit status of the tiny program: no status of the stub's."""

FACTS = PayloadFacts(
    version="0.1.0", machine="x86_64", glibc="2.17", built_utc="2026-01-02T03:04:05Z", unpacked_bytes=0
)


def write_root(path: Path, *, signed: bool = True) -> Path:
    """Write root metadata of one new key."""
    signer = CryptoSigner(ed25519.Ed25519PrivateKey.generate())
    key = signer.public_key
    root = Root(
        version=1,
        expires=datetime(2090, 1, 1, tzinfo=UTC),
        consistent_snapshot=False,
        keys={key.keyid: key},
        roles={role: Role([key.keyid], 1) for role in ("root", "targets", "snapshot", "timestamp")},
        unrecognized_fields={"teraferry": {"product": "terachat"}},
    )
    metadata = Metadata(root)
    if signed:
        metadata.sign(signer)
    path.write_bytes(metadata.to_bytes())
    return path


def write_tree(tree: Path, *, program: str = TINY_PROGRAM, ballast_bytes: int = 300_000) -> Path:
    """Write a program's directory: the executable, a library, and files in a folder with a dot in its name."""
    (tree / "_internal" / "lib.d").mkdir(parents=True)
    executable = tree / "teraferry-installer"
    executable.write_text(program)
    executable.chmod(0o755)
    (tree / "_internal" / "lib.d" / "a.so").write_bytes(os.urandom(ballast_bytes))
    (tree / "_internal" / "lib-b.txt").write_text("b\n")
    return tree


def make_installer(folder: Path, *, program: str = TINY_PROGRAM, ballast_bytes: int = 300_000) -> Path:
    """Return an installer file with a tiny program."""
    folder.mkdir(parents=True, exist_ok=True)
    payload = folder / "payload.tar"
    store_payload(write_tree(folder / "tree", program=program, ballast_bytes=ballast_bytes), FACTS, payload)
    return freeze_installer(
        folder / "teraferry-installer", root=write_root(folder / "1.root.json"), payload=payload
    ).path


@dataclass(frozen=True, slots=True)
class Start:
    """How an installer file is started."""

    file: Path
    home: Path | None = None  # TERAFERRY_HOME
    shell: tuple[str, ...] = ("sh",)
    tools: Path | None = None  # a folder that comes first in PATH
    environment: dict[str, str] = field(default_factory=dict)

    def argv(self, *arguments: str) -> list[str]:
        """Return the command line."""
        return [*self.shell, str(self.file), *arguments]

    def variables(self) -> dict[str, str]:
        """Return the environment: the machine's tools and nothing else of this process."""
        path = "/usr/sbin:/usr/bin:/sbin:/bin"
        variables = {"PATH": f"{self.tools}:{path}" if self.tools else path}
        if self.home is not None:
            variables["TERAFERRY_HOME"] = str(self.home)
        return {**variables, **self.environment}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Start it in a process group of its own and wait for its end."""
        return subprocess.run(
            self.argv(*arguments),
            env=self.variables(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            start_new_session=True,
        )

    def trees(self) -> list[Path]:
        """Return what lies in the home: unpacked programs and parts."""
        if self.home is None or not self.home.exists():
            return []
        return sorted(path for path in self.home.iterdir() if path.name != ".lock")


def fake_tool(folder: Path, name: str, script: str) -> Path:
    """Put a tool of our own into ``folder``, to come first in PATH, and return the folder."""
    folder.mkdir(exist_ok=True)
    tool = folder / name
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    return folder


def flip_byte(path: Path, offset: int) -> None:
    """Invert one byte; a negative offset counts from the end."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(bytes(content))
