"""The connected side for tests and the demo: real tokens, a trust folder, releases and signed kits.

Everything goes through the ``teraferry`` command, as a person would type it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.softhsm import LabKey, SoftHsm

PRODUCT = "terachat"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one command said."""

    status: int
    result: dict[str, Any]  # the last JSON line
    events: tuple[dict[str, Any], ...]
    stderr: str


def parse_answer(done: subprocess.CompletedProcess[bytes]) -> Answer:
    """Return what a command with ``--json`` said."""
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]
    result = lines[-1] if lines and lines[-1].get("event") == "result" else {}
    return Answer(done.returncode, result, tuple(lines), done.stderr.decode(errors="replace"))


class CommandFailedError(Exception):
    """A command of the connected side did not end with 0; the message is all it said."""


@dataclass
class Secops:
    """Tokens in ``folder/hsm``, trust in ``folder/trust``, projects and kits beside them."""

    folder: Path
    release_kinds: tuple[str, str] = ("p256", "p384")
    keys: dict[str, LabKey] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hsm = SoftHsm(self.folder / "hsm")
        self.trust = self.folder / "trust"
        self.fingerprint = ""

    @property
    def root(self) -> Path:
        """The first root."""
        return self.trust / "1.root.json"

    def open(self) -> Secops:
        """Make six tokens and found the trust: root 2 of 3, release 2 of 2, one desk key."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.hsm.create()
        kinds = {"root-1": "p384", "root-2": "p256", "root-3": "p256", "desk": "p256"}
        kinds |= {f"release-{number}": kind for number, kind in enumerate(self.release_kinds, start=1)}
        self.keys = {name: self.hsm.token_with_key(name, kind) for name, kind in kinds.items()}
        arguments = ["trust", "init", str(self.trust), "--product", PRODUCT, "--root-threshold", "2"]
        for number in (1, 2, 3):
            arguments += ["--root-key", self.keys[f"root-{number}"].uri]
        for number in (1, 2):
            arguments += ["--release-key", self.keys[f"release-{number}"].uri]
        arguments += ["--release-threshold", "2", "--desk-key", self.keys["desk"].uri, "--production"]
        self.fingerprint = str(self.teraferry(*arguments).result["fingerprint"])
        return self

    def teraferry(self, *arguments: str, check: bool = True, environment: dict[str, str] | None = None) -> Answer:
        """Run ``teraferry ... --json`` and return what it said."""
        program = Path(sys.executable).parent / "teraferry"
        done = subprocess.run(
            [str(program), *arguments, "--json"],
            capture_output=True,
            env={**os.environ, **self.hsm.environment, **(environment or {})},
            timeout=600,
        )
        answer = parse_answer(done)
        if check and answer.status != 0:
            raise CommandFailedError(f"teraferry {' '.join(arguments)}: {answer.status}\n{answer.stderr}")
        return answer

    def freeze(self) -> Path:
        """Return the installer file, with this trust's root in it."""
        installer = self.folder / "teraferry-installer"
        if not installer.exists():
            self.teraferry("freeze", "-o", str(installer), "--root", str(self.root))
        return installer

    def project(self, version: str, *, images: dict[str, str], files: dict[str, Path], extra: str = "") -> Path:
        """Write a project: image name -> source, file name -> file."""
        folder = self.folder / f"project-{version}"
        folder.mkdir()
        lines = ["[release]", f'product = "{PRODUCT}"', f'version = "{version}"', extra]
        for name, source in images.items():
            lines += ["[[image]]", f'name = "{name}"', f'source = "{source}"']
        for name, path in files.items():
            lines += ["[[file]]", f'name = "{name}"', f'source = "{path}"', 'mode = "0755"']
        (folder / "release.toml").write_text("\n".join(lines) + "\n")
        return folder

    def build(self, project: Path, kit: Path) -> Answer:
        """Lock and build ``project`` into ``kit``, with the frozen installer."""
        self.teraferry("lock", str(project))
        return self.teraferry("build", str(project), "-o", str(kit), "--installer", str(self.freeze()))

    def sign(self, kit: Path, *names: str, desk: bool = False) -> Answer:
        """Sign ``kit`` with the named release keys, and the desk key where asked."""
        arguments = ["sign", str(kit), "--trust", str(self.trust)]
        for name in names:
            arguments += ["--key", self.keys[name].uri]
        if desk:
            arguments += ["--desk-key", self.keys["desk"].uri]
        return self.teraferry(*arguments)

    def sign_fully(self, kit: Path) -> Answer:
        """Sign ``kit`` with both release keys and the desk key."""
        return self.sign(kit, "release-1", "release-2", desk=True)
